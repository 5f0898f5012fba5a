"""The copy of what runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nodebalancer.control.last_good import LastGood, last_good_of, stranger
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.model import Service, Settings
from nodebalancer.settings.reading import load
from nodebalancer.testing.builders import nodebalancer, settings

FILE = SettingsFile("/etc/lb.ini")
OTHER = SettingsFile("/etc/other.ini")
HEADER = "# what ran last of the settings in /etc/lb.ini\n"


def running(directory: Path) -> Settings:
    return settings(nodebalancer("www"), service=Service(state_dir=str(directory)))


def text_of(directory: Path) -> str:
    return f"# ours\n[service]\nstate_dir = {directory}\n[nodebalancer www]\n"


def test_the_file_is_kept_to_the_byte_and_for_its_owner_only(tmp_path: Path) -> None:
    LastGood().keep(running(tmp_path), FILE, text_of(tmp_path))
    file = tmp_path / "last-good.ini"
    assert file.read_text() == HEADER + text_of(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("more", ["[nodebalancer two]\n", "[nonsense"])
def test_a_file_that_says_something_else_is_not_what_runs(tmp_path: Path, more: str) -> None:
    LastGood().keep(running(tmp_path), FILE, text_of(tmp_path) + more)
    assert load((tmp_path / "last-good.ini").read_text(), "f") == running(tmp_path)


def test_a_start_from_the_copy_leaves_its_comments_alone(tmp_path: Path) -> None:
    kept, file = LastGood(), tmp_path / "last-good.ini"
    kept.keep(running(tmp_path), FILE, text_of(tmp_path))
    for broken in ("[nonsense", "", text_of(tmp_path) + "[nodebalancer two]\n"):
        kept.keep(running(tmp_path), FILE, broken)
        assert file.read_text() == HEADER + text_of(tmp_path)
    file.write_text(text_of(tmp_path) + "[nodebalancer two]\n")
    kept.keep(running(tmp_path), FILE, "[nonsense")
    assert load(file.read_text(), "f") == running(tmp_path)


def test_a_copy_that_is_no_file_is_told_and_not_waited_for(tmp_path: Path, log_lines: list[str]) -> None:
    os.mkfifo(tmp_path / "last-good.ini")
    LastGood().keep(running(tmp_path), FILE, text_of(tmp_path))
    assert f"last-good.ini cannot be kept in {tmp_path}: it is no ordinary file" in log_lines[0]


def test_a_first_try_leaves_no_traces(tmp_path: Path) -> None:
    LastGood().keep(running(tmp_path / "none"), FILE, "")
    assert list(tmp_path.iterdir()) == []


def test_who_relies_on_it_gets_the_directory(tmp_path: Path) -> None:
    LastGood(make_directory=True).keep(running(tmp_path / "new/state"), FILE, "")
    assert (tmp_path / "new/state/last-good.ini").exists()
    assert stat.S_IMODE((tmp_path / "new/state").stat().st_mode) == 0o700


def test_a_copy_that_cannot_be_written_is_told_and_costs_nothing_else(tmp_path: Path, log_lines: list[str]) -> None:
    (tmp_path / "state").touch()
    LastGood(make_directory=True).keep(running(tmp_path / "state"), FILE, "")
    assert [line for line in log_lines if line.startswith("last-good.ini cannot be kept in")]


def test_a_broken_file_still_says_where_its_copy_is() -> None:
    assert last_good_of("[service]\nstate_dir = /s\n[nonsense").path == "/s/last-good.ini"
    default = os.path.join(Service().state_dir, "last-good.ini")
    for nothing in ("", "state_dir = /s", "[service]\n", "[service]\nstate_dir =\n"):
        assert last_good_of(nothing).path == default


def test_a_copy_belongs_to_the_file_that_it_was_made_from(tmp_path: Path) -> None:
    LastGood().keep(running(tmp_path), FILE, text_of(tmp_path))
    copy = SettingsFile(str(tmp_path / "last-good.ini"))
    assert (stranger(copy, FILE), stranger(copy, OTHER)) == ("", "/etc/lb.ini")


def test_a_copy_that_was_made_from_another_file_is_left_alone_and_told(tmp_path: Path, log_lines: list[str]) -> None:
    file = tmp_path / "last-good.ini"
    LastGood().keep(running(tmp_path), OTHER, text_of(tmp_path))
    before = file.read_text()
    LastGood().keep(running(tmp_path), FILE, "")
    assert file.read_text() == before
    [line] = log_lines
    assert line.startswith(f"{file} was made from /etc/other.ini, not from /etc/lb.ini, and is left alone")


def test_an_old_copy_that_does_not_say_whose_it_is_becomes_ours(tmp_path: Path) -> None:
    file = tmp_path / "last-good.ini"
    file.write_text(text_of(tmp_path))
    assert stranger(SettingsFile(str(file)), FILE) == ""
    LastGood().keep(running(tmp_path), FILE, "")
    assert file.read_text() == HEADER + text_of(tmp_path)


def test_a_name_with_a_line_end_stays_in_its_line(tmp_path: Path) -> None:
    odd = SettingsFile("/etc/\n[service]\udcff.ini")
    LastGood().keep(running(tmp_path), odd, text_of(tmp_path))
    copy = SettingsFile(str(tmp_path / "last-good.ini"))
    assert copy.text().splitlines()[0].endswith(r" /etc/\x0a[service]\xff.ini")
    assert stranger(copy, odd) == ""
