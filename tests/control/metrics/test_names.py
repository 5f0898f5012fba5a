"""The list of metrics keeps to Prometheus' conventions."""

from __future__ import annotations

import re

import pytest

from nodebalancer.control.metrics.names import CLASSES, FAMILIES, MODES, OUTCOMES, STATUSES, Family

ALL = [family for families in FAMILIES.values() for family in families]


@pytest.mark.parametrize("family", ALL, ids=lambda family: family.name)
def test_a_name_says_what_it_counts_and_in_which_unit(family: Family) -> None:
    assert re.fullmatch(r"(nodebalancer|process)(_[a-z]+)+", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert family.name.endswith("_info") == (family.kind == "info")
    if family.kind == "histogram":
        assert family.name.endswith("_seconds")
    assert re.fullmatch(r"[A-Z0-9].*[.]", family.meaning)


def test_names_are_used_once() -> None:
    assert len({family.name for family in ALL}) == len(ALL)


def test_the_words_of_labels_are_the_houses() -> None:
    assert OUTCOMES[:2] == ("served", "no_node")
    assert (STATUSES, MODES) == (("UP", "DOWN", "Unknown"), ("accept", "reject", "drain", "backup"))
    assert len(CLASSES) == 5
