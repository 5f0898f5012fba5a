"""A settings file that cannot be read is told in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodebalancer.errors import SettingsError
from nodebalancer.process.settings_file import read_bytes


def told(path: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        read_bytes(str(path))
    [problem] = refused.value.problems
    return str(problem)


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.ini"
    file.write_bytes(b"\xffa\r\n")
    assert read_bytes(str(file)) == b"\xffa\r\n"


def test_a_missing_file_is_named_with_the_ways_out(tmp_path: Path) -> None:
    path = tmp_path / "none.ini"
    assert f"{path}: there is no such file; name yours with --config FILE, or try --demo, which needs none" == told(
        path
    )


def test_a_directory_is_told(tmp_path: Path) -> None:
    assert f"{tmp_path}: cannot be read: is a directory" == told(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_the_right_to_read_it_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.ini"
    file.touch(mode=0)
    assert f"{file}: cannot be read: permission denied" == told(file)
