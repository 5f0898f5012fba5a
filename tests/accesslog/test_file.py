"""The access log's file: moved away, full, or not there."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodebalancer.accesslog.file import LogFile
from nodebalancer.errors import LinesLostError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def file(path: Path) -> Iterator[LogFile]:
    file = LogFile(str(path))
    yield file
    file.close()


@contextmanager
def at_most_ten_bytes() -> Iterator[None]:
    """No file of this process may grow beyond that: as a disk that is full in the middle of a line."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_lines_are_added_to_what_there_is(path: Path) -> None:
    path.write_bytes(b"before\n")
    file = LogFile(str(path))
    file.append(b"one\ntwo\n")
    file.append(b"three\n")
    file.close()
    assert path.read_bytes() == b"before\none\ntwo\nthree\n"


def test_a_file_that_is_made_is_not_for_everybody(file: LogFile, path: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o640 & ~umask


def test_after_a_rename_lines_go_to_the_old_file_until_it_is_opened_anew(file: LogFile, path: Path) -> None:
    assert not file.moved()
    old = path.rename(path.with_suffix(".1"))
    file.append(b"old\n")
    assert file.moved()
    file.reopen()
    file.append(b"new\n")
    assert not file.moved()
    assert (old.read_bytes(), path.read_bytes()) == (b"old\n", b"new\n")


def test_where_it_cannot_be_opened_anew_the_old_one_is_gone_on_with(file: LogFile, path: Path) -> None:
    old = path.rename(path.with_suffix(".1"))
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        file.reopen()
    file.append(b"still\n")
    assert old.read_bytes() == b"still\n"


def test_a_full_disk_costs_the_lines_that_do_not_fit_and_tears_at_most_one(file: LogFile, path: Path) -> None:
    with at_most_ten_bytes(), pytest.raises(LinesLostError) as lost:
        file.append(b"1234567\nabcdef\nghi\n")
    assert (lost.value.count, lost.value.reason) == (2, "File too large")
    assert path.read_bytes() == b"1234567\nab"
    with at_most_ten_bytes(), pytest.raises(LinesLostError) as lost:
        file.append(b"jkl\n")
    assert lost.value.count == 1
    file.append(b"mno\n")
    file.append(b"pqr\n")
    assert path.read_bytes() == b"1234567\nab\nmno\npqr\n"


def test_a_file_that_was_emptied_begins_with_a_line(file: LogFile, path: Path) -> None:
    with at_most_ten_bytes(), pytest.raises(LinesLostError):
        file.append(b"1234567\nabcdef\n")
    path.write_bytes(b"")
    file.append(b"mno\n")
    assert path.read_bytes() == b"mno\n"


def test_a_disk_that_is_full_at_the_end_of_a_line_tears_none(file: LogFile, path: Path) -> None:
    with at_most_ten_bytes(), pytest.raises(LinesLostError):
        file.append(b"123456789\nabc\n")
    path.write_bytes(b"")
    file.append(b"def\n")
    assert path.read_bytes() == b"def\n"


def test_nothing_can_be_written_to_a_full_device() -> None:
    file = LogFile("/dev/full")
    with pytest.raises(LinesLostError) as lost:
        file.append(b"a\nb\n")
    assert (lost.value.count, lost.value.reason) == (2, "No space left on device")
    file.close()


def test_a_fifo_that_nobody_reads_is_refused_instead_of_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(OSError, match="No such device"):
        LogFile(str(path))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = LogFile(str(path))
    file.append(b"read\n")
    assert os.read(reader, 10) == b"read\n"
    file.close()
    os.close(reader)


def test_standard_output_is_where_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    file = LogFile("-")
    assert not file.moved()
    file.reopen()
    file.append(b"one\n")
    file.close()
    assert capfd.readouterr().out == "one\n"
    os.fstat(1)
