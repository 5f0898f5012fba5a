"""Every source file has its test file, in the same place."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]

WITHOUT_TEST = {
    "interfaces.py": "declarations only; its implementations are tested",
    "transport/engine.py": "declarations only; tests/contracts holds every engine to them",
}
"""Files of nodebalancer/ that need no test file of their own, and why."""

NO_ROOM = {"contracts", "house", "integration", "proof", "scenarios"}
"""Directories of tests/ that are about more than one room."""


def sources() -> Iterable[Path]:
    below = ROOT / "nodebalancer"
    return (path.relative_to(below) for path in below.rglob("*.py") if path.name != "__init__.py")


def test_every_source_file_has_its_test_file() -> None:
    expected = {path.with_name(f"test_{path.name}") for path in sources() if str(path) not in WITHOUT_TEST}
    assert [str(path) for path in sorted(expected) if not (ROOT / "tests" / path).exists()] == []


def test_every_directory_of_tests_mirrors_a_room() -> None:
    """A file may have several test files, but they lie with its room."""
    rooms = {path.name for path in (ROOT / "nodebalancer").iterdir() if path.is_dir()}
    found = {path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").glob("*/**/test_*.py")}
    assert found - rooms - NO_ROOM == set()


def test_exceptions_from_the_mirror_are_files_that_exist() -> None:
    assert [name for name in WITHOUT_TEST if not (ROOT / "nodebalancer" / name).exists()] == []


def test_tests_are_no_package_so_that_equal_names_in_two_rooms_do_not_clash() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []
