"""The copy of what runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nodebalancer.control.last_good import LastGood, last_good_of
from nodebalancer.model import Service, Settings
from nodebalancer.settings.reading import load
from nodebalancer.testing.builders import nodebalancer, settings


def running(directory: Path) -> Settings:
    return settings(nodebalancer("www"), service=Service(state_dir=str(directory)))


def text_of(directory: Path) -> str:
    return f"# ours\n[service]\nstate_dir = {directory}\n[nodebalancer www]\n"


def test_the_file_is_kept_to_the_byte_and_for_its_owner_only(tmp_path: Path) -> None:
    LastGood().keep(running(tmp_path), text_of(tmp_path))
    file = tmp_path / "last-good.ini"
    assert file.read_text() == text_of(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("more", ["[nodebalancer two]\n", "[nonsense"])
def test_a_file_that_says_something_else_is_not_what_runs(tmp_path: Path, more: str) -> None:
    LastGood().keep(running(tmp_path), text_of(tmp_path) + more)
    assert load((tmp_path / "last-good.ini").read_text(), "f") == running(tmp_path)


def test_a_first_try_leaves_no_traces(tmp_path: Path) -> None:
    LastGood().keep(running(tmp_path / "none"), "")
    assert list(tmp_path.iterdir()) == []


def test_who_relies_on_it_gets_the_directory(tmp_path: Path) -> None:
    LastGood(make_directory=True).keep(running(tmp_path / "new/state"), "")
    assert (tmp_path / "new/state/last-good.ini").exists()
    assert stat.S_IMODE((tmp_path / "new/state").stat().st_mode) == 0o700


def test_a_copy_that_cannot_be_written_is_told_and_costs_nothing_else(tmp_path: Path, log_lines: list[str]) -> None:
    (tmp_path / "state").touch()
    LastGood(make_directory=True).keep(running(tmp_path / "state"), "")
    assert [line for line in log_lines if line.startswith("last-good.ini cannot be kept in")]


def test_a_broken_file_still_says_where_its_copy_is() -> None:
    assert last_good_of("[service]\nstate_dir = /s\n[nonsense").path == "/s/last-good.ini"
    default = os.path.join(Service().state_dir, "last-good.ini")
    assert last_good_of("state_dir = /s").path == last_good_of("[service]\n").path == last_good_of(None).path == default
