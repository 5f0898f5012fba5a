"""Log files: whose they are, and when they are gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodebalancer.appending import MODE, moved, open_to_append

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def test_a_file_is_made_and_one_that_is_there_is_gone_on_with(path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        fd = open_to_append(str(path))
        os.write(fd, line)
        os.close(fd)
    assert path.read_bytes() == b"one\ntwo\n"
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == MODE & ~umask


@as_root
def test_what_root_makes_can_be_given_to_who_we_will_be(path: Path) -> None:
    os.close(open_to_append(str(path), NOBODY, NOBODY))
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)
    other = path.with_suffix(".2")
    os.close(open_to_append(str(other), NOBODY))
    assert (other.stat().st_uid, other.stat().st_gid) == (NOBODY, os.getegid())


@as_root
def test_what_is_there_keeps_its_owner(path: Path) -> None:
    path.touch()
    os.close(open_to_append(str(path), NOBODY, NOBODY))
    assert path.stat().st_uid == 0


@as_root
@pytest.mark.parametrize("there", [True, False])
def test_root_follows_no_link_into_which_another_user_may_have_made_its_file(path: Path, there: bool) -> None:
    target = path.with_suffix(".target")
    if there:
        target.touch()
    path.symlink_to(target)
    with pytest.raises(OSError, match="a symbolic link, which root does not follow for another user"):
        open_to_append(str(path), NOBODY, NOBODY)
    assert target.exists() is there


def test_who_opens_for_himself_may_use_links(path: Path) -> None:
    target = path.with_suffix(".target")
    target.touch()
    path.symlink_to(target)
    os.close(open_to_append(str(path)))


def test_a_fifo_that_nobody_reads_is_an_error(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        open_to_append(str(path))


def test_a_file_is_moved_when_its_path_leads_elsewhere_or_nowhere(path: Path) -> None:
    fd = open_to_append(str(path))
    assert not moved(fd, str(path))
    path.rename(path.with_suffix(".1"))
    assert moved(fd, str(path))
    path.touch()
    assert moved(fd, str(path))
    path.with_suffix(".1").replace(path)
    assert not moved(fd, str(path))
    os.close(fd)


def test_a_pipe_is_never_moved(path: Path) -> None:
    reader, writer = os.pipe()
    assert not moved(writer, str(path))
    os.close(reader)
    os.close(writer)
