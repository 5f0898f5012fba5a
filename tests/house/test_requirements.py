"""The rows and the tests that hold them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE, _, HELD = (ROOT / "docs/requirements.rst").read_text().partition("Where they are held")

NOT_BUILT = {"R31": "REST API", "R32": "the page"}
"""Rows without tests, and the words in which the page of limits says so."""


def rows() -> list[str]:
    """P and R rows of the page, in its order."""
    return re.findall(r"^   \* - ([PR]\d+)$", PAGE, re.MULTILINE)


def held() -> dict[str, str]:
    """The tests of each row, as the page has them."""
    found = {}
    for first, last, files in re.findall(r"^   \* - ([PR]\d+)(?: to R(\d+))?\n     - (.+)$", HELD, re.MULTILINE):
        for number in range(int(first[1:]), int(last or first[1:]) + 1):
            found[f"{first[0]}{number}"] = files
    return found


def test_all_rows_are_there() -> None:
    assert rows() == [*(f"P{n}" for n in range(1, 4)), *(f"R{n}" for n in range(1, 34))]


def test_every_row_that_is_built_names_its_tests() -> None:
    assert sorted(held().keys() | NOT_BUILT.keys()) == sorted(rows())
    assert held().keys() & NOT_BUILT.keys() == set()


def test_rows_that_are_not_built_are_among_the_limits() -> None:
    limits = (ROOT / "docs/limits.rst").read_text()
    assert [row for row, words in NOT_BUILT.items() if words not in limits or row not in HELD] == []


def test_the_tests_that_hold_a_row_are_there() -> None:
    files = {file for named in held().values() for file in re.findall(r"``(\S+\.py)``", named)}
    assert len(files) > 40
    assert [file for file in sorted(files) if "def test_" not in (ROOT / "tests" / file).read_text()] == []
