"""The settings file: read whole, replaced whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nodebalancer.control.settings_file import BYTES_MAX, SettingsFile, kept_from_us, read_bytes, replace
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


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.ini")
    assert f"{tmp_path}/a.ini: is no ordinary file" == told(tmp_path / "a.ini")
    with pytest.raises(SettingsError, match="cannot be written: it is no ordinary file; nothing was changed"):
        SettingsFile(str(tmp_path / "a.ini")).replace("new")


def test_what_is_far_too_large_to_be_settings_is_told(tmp_path: Path) -> None:
    with (tmp_path / "a.ini").open("wb") as file:
        file.truncate(BYTES_MAX + 1)
    assert f"{tmp_path}/a.ini: has more than 16777216 bytes" == told(tmp_path / "a.ini")


def test_of_a_broken_file_remains_what_can_be_read(tmp_path: Path) -> None:
    file = SettingsFile(str(tmp_path / "a.ini"))
    assert file.remains() == ""
    (tmp_path / "a.ini").write_bytes(b"[x]\n# caf\xe9\na = 1")
    assert file.remains() == "[x]\n# caf\ufffd\na = 1"


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


@contextmanager
def as_user(uid: int, gid: int) -> Iterator[None]:
    """Be somebody else who is in no other group."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes others")
@pytest.mark.parametrize(("group", "setgid", "kept"), [(12, False, True), (34, False, False), (34, True, True)])
def test_a_group_that_cannot_be_kept_is_named_beforehand_and_then(group: int, setgid: bool, kept: bool) -> None:
    with TemporaryDirectory() as directory:
        file = Path(directory, "a.ini")
        file.write_text("old")
        for path in (directory, str(file)):
            os.chown(path, 12, group)
        os.chmod(directory, 0o2775 if setgid else 0o775)
        reason = "" if kept else "it belongs to user 12 and group 34, which user 12 cannot give a file to"
        with as_user(12, 12):
            assert kept_from_us(str(file)) == reason
            if kept:
                SettingsFile(str(file)).replace("new")
            else:
                with pytest.raises(SettingsError, match=f"cannot be written: {reason}; nothing was changed"):
                    SettingsFile(str(file)).replace("new")
        assert file.read_text() == ("new" if kept else "old")
        assert (file.stat().st_uid, file.stat().st_gid) == (12, group)
        assert os.listdir(directory) == ["a.ini"]


def test_where_there_is_no_file_nothing_has_to_be_kept(tmp_path: Path) -> None:
    assert kept_from_us(str(tmp_path / "none")) == ""


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
