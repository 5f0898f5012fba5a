"""Regular expressions that mean the same on every Python we run on."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHARACTER_CLASS = re.compile(r"\[(?:\\.|[^\]\\\n])*\]")
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[0-9,]*\})\+|\(\?>")


def test_no_group_is_possessive() -> None:
    """Python before 3.11.5, so Debian 12's own, takes what is forbidden: ``(?:ab++)?+c`` matches ``ac`` there.

    A possessive character or class, ``[a-z]++``, is right everywhere, and plain groups of such cost the same.
    """
    found = []
    for path in sorted((ROOT / "nodebalancer").rglob("*.py")):
        for line in CHARACTER_CLASS.sub("[]", path.read_text()).splitlines():
            if POSSESSIVE_GROUP.search(line):
                found.append(f"{path.relative_to(ROOT)}: {line.strip()}")
    assert found == []
