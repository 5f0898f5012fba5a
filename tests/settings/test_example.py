"""``etc/nodebalancer.ini``: the file that an operator copies."""

from __future__ import annotations

import pathlib
import re

import pytest

from nodebalancer.fields import keys_of
from nodebalancer.settings.document import tokenize
from nodebalancer.settings.reading import read
from nodebalancer.settings.sections import SORTS

FILE = pathlib.Path(__file__).parents[2] / "etc" / "nodebalancer.ini"
PREPARED = re.compile(r"^#: ", re.MULTILINE)


@pytest.fixture(scope="module")
def text() -> str:
    return FILE.read_text("utf-8")


def test_the_example_loads_without_a_problem_or_a_warning(text: str) -> None:
    loaded = read(text, str(FILE))
    assert loaded.warnings == ()
    assert {name: list(nb.configs) for name, nb in loaded.settings.nodebalancers.items()} == {
        "www": ["plain", "secure"],
        "db": ["postgresql"],
    }
    for nodebalancer in loaded.settings.nodebalancers.values():
        assert all(config.nodes for config in nodebalancer.configs.values())


def test_what_is_prepared_in_comments_is_well_formed_and_known(text: str) -> None:
    """Each line that begins with ``#:`` can be uncommented once its feature is there, so its keys exist and can be read."""
    document = tokenize(PREPARED.sub("", text))
    assert [fault.message for fault in document.faults if "already" not in fault.message] == []
    for section in document.sections:
        sort = SORTS[section.name.partition(" ")[0]]
        for entry in section.entries if sort.model else []:
            _, key = keys_of(sort.model)[entry.key]  # type: ignore[arg-type]
            key.kind.read("\n".join(piece.text for piece in entry.pieces))


def test_every_sort_of_section_is_shown(text: str) -> None:
    sections = tokenize(PREPARED.sub("", text)).sections
    assert {section.name.partition(" ")[0] for section in sections} == set(SORTS)
