"""What the docs tell of an exchange is what the code does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.proxy import tcp
from nodebalancer.proxy.connection import HAPPENINGS
from nodebalancer.proxy.http import client
from nodebalancer.testing.nodes import ROOT

PAGE = ROOT / "docs/exchange.rst"


def extension() -> Any:
    spec = importlib.util.spec_from_file_location("exchange_states", Path(ROOT, "docs/_ext/exchange_states.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_outcome_is_in_the_table_of_who_sees_what() -> None:
    told = set(re.findall(r"^     - ``(\w+)``$", PAGE.read_text(), re.MULTILINE))
    assert told == {outcome.word for outcome in Outcome}


def test_every_word_of_trouble_is_in_the_page_for_it() -> None:
    text = (ROOT / "docs/troubleshooting.rst").read_text()
    code = "".join(path.read_text() for path in (ROOT / "nodebalancer/proxy/http").glob("*.py"))
    errors = set(re.findall(r'answer_client\(.*"(\w+)"\)', code))
    assert len(errors) > 4
    assert [word for word in sorted(errors) if f"``{word}``" not in text] == []
    assert [one.word for one in Outcome if one is not Outcome.SERVED and f"``{one.word}``" not in text] == []


def test_every_state_is_described_with_all_that_can_happen_in_it() -> None:
    text = extension().states_text()
    sections = dict(re.findall(r"^\*\*(.+?)\*\*: .+\n\n((?:\* .+\n)+)", text, re.MULTILINE))
    assert list(sections) == [name.replace("_", " ") for name in client.STATES]
    for section in sections.values():
        told, _, impossible = section.partition("* impossible: ")
        happenings = [*re.findall(r"^\* (.+?):", told, re.MULTILINE), *filter(None, impossible.strip().split(", "))]
        assert sorted(happenings) == sorted(name.replace("_", " ") for name in HAPPENINGS)


def test_a_handler_is_told_by_its_name() -> None:
    text = extension().states_text()
    assert "**reading**: The request head is being read; no node is involved.\n\n* client sent: read request\n" in text
    assert "* client finished: *nothing*\n" in text


def test_states_of_tcp_are_described_too() -> None:
    described = extension().descriptions(tcp)
    assert set(tcp.STATES) <= set(described)
