"""The rows and the tests that hold them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_tests_that_hold_a_row_are_there() -> None:
    _, _, held = (ROOT / "docs/requirements.rst").read_text().partition("Where they are held")
    files = re.findall(r"``(\S+\.py)``", held)
    assert len(files) > 20
    assert [file for file in files if not (ROOT / "tests" / file).exists()] == []
