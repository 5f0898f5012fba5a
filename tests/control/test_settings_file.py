"""The settings file: read whole, replaced whole."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from nodebalancer.control.settings_file import SettingsFile, read_bytes, replace
from nodebalancer.errors import SettingsError


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


def test_what_is_no_text_is_told_with_the_name_that_the_operator_knows(tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_bytes(b"[x]\n\xff")
    with pytest.raises(SettingsError, match=r"^lb\.ini:2: byte 0xff is not UTF-8"):
        SettingsFile(str(tmp_path / "a.ini"), "lb.ini").text()


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "a.ini"
    file.write_text("old")
    file.chmod(0o640)
    SettingsFile(str(file)).replace("new é\r\n")
    assert file.read_bytes() == "new é\r\n".encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["a.ini"]


def test_a_symlink_goes_on_leading_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "real.ini"
    file.write_text("old")
    link = tmp_path / "etc/a.ini"
    link.symlink_to("../real.ini")
    SettingsFile(str(link)).replace("new")
    assert link.is_symlink()
    assert file.read_text() == "new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_stays_who_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.ini"
    file.write_text("old")
    os.chown(file, 12, 34)
    SettingsFile(str(file)).replace("new")
    assert (file.stat().st_uid, file.stat().st_gid) == (12, 34)


def test_a_new_file_is_for_its_owner_only(tmp_path: Path) -> None:
    replace(str(tmp_path / "new"), b"x")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_stays_as_it_was_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "a.ini"
    file.write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsError, match="cannot be written: no space left on device; nothing was changed"):
        SettingsFile(str(file)).replace("new")
    assert file.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.ini"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_is_write_protected_is_respected(tmp_path: Path) -> None:
    file = tmp_path / "a.ini"
    file.write_text("old")
    file.chmod(0o400)
    with pytest.raises(SettingsError, match="permission denied"):
        SettingsFile(str(file)).replace("new")
