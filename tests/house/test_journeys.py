"""The page of journeys names what is there."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import nodebalancer
from nodebalancer.balancing.outcome import Outcome

ROOT = Path(nodebalancer.__file__).parent
TEXT = (Path(__file__).parents[2] / "docs/journeys.rst").read_text()
ROOMS = {path.stem for path in ROOT.iterdir() if path.is_dir() or path.suffix == ".py"}


def cited() -> list[str]:
    """Every name below the package: ``proxy.gate.Gate.admits``."""
    return [name for name in re.findall(r"``([a-z_]\w*(?:\.\w+)+)``", TEXT) if name.partition(".")[0] in ROOMS]


def test_every_name_of_the_code_exists() -> None:
    assert len(cited()) > 60
    assert [name for name in cited() if _missing(name)] == []


def _missing(name: str) -> bool:
    try:
        pkgutil.resolve_name(f"nodebalancer.{name}")
    except (AttributeError, ImportError):
        return True
    return False


def test_every_journey_is_told() -> None:
    titles = re.findall(r"^(.+)\n-+$", TEXT, re.MULTILINE)
    assert titles == ["A TCP connection", "An HTTP request", "HTTPS", "A probe", "A reload", "A stop"]


def test_every_outcome_is_met_on_the_way() -> None:
    assert [outcome.word for outcome in Outcome if f"``{outcome.word}``" not in TEXT] == []
