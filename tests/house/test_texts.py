"""What must not stand in a file of this project."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = (
    *("nodebalancer", "tests", "twisted", "docs", "etc", "benchmarks", "newsfragments", ".ci"),
    *("Makefile", "README.rst", "CONTRIBUTING.rst", "NEWS.rst", "setup.cfg", "pyproject.toml", "requirements-dev.txt"),
)
SUFFIXES = {"", ".py", ".rst", ".ini", ".cfg", ".toml", ".txt", ".md", ".service", ".json"}

LINES_MOST = 400
LONGER = {"nodebalancer/model.py": "declarations only, and one vocabulary: to be read as a list"}
"""Files that may have more lines, and why they are not split."""


def texts() -> Iterable[tuple[str, str]]:
    """Every text of the project except this one: path and contents."""
    for place in PLACES:
        top = ROOT / place
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            made_here = {"__pycache__", "_build"} & set(path.relative_to(ROOT).parts)
            if path.is_file() and path.suffix in SUFFIXES and not made_here and path != Path(__file__):
                yield str(path.relative_to(ROOT)), path.read_text()


def having(pattern: str, of: tuple[str, ...] = ("",)) -> list[str]:
    return [
        f"{name}: {found[0]}" for name, text in texts() if name.startswith(of) and (found := re.search(pattern, text))
    ]


def test_no_path_of_somebodys_machine() -> None:
    assert having(r"/work/|/tmp/v\b|/root/|/home/\w+/|\.pyenv") == []


def test_texts_cite_names_and_not_lines_which_move() -> None:
    assert having(r"\w+\.(py|rst|cfg|toml):\d+", of=("docs", "README", "CONTRIBUTING", "nodebalancer")) == []


def test_nothing_is_left_to_be_done_later() -> None:
    assert having(r"\b(TODO|FIXME|XXX|HACK)\b") == []


def test_every_news_fragment_is_of_a_known_type() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    types = "|".join(kind["directory"] for kind in tool["type"])
    names = {path.name for path in (ROOT / "newsfragments").iterdir()} - {"README.rst"}
    assert [name for name in sorted(names) if not re.fullmatch(rf"\+[a-z0-9-]+\.({types})\.rst", name)] == []


def test_a_file_of_code_is_split_before_it_is_too_long_to_read() -> None:
    counted = ((name, text.count("\n")) for name, text in texts() if name.endswith(".py") and name not in LONGER)
    assert [(name, lines) for name, lines in counted if lines > LINES_MOST] == []
