"""Where lines go: what stands still, is full or is missing costs lines, and nobody waits."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pwd
import re
import select
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.process.servicelog.outlets import File, Outlet, Stream, Syslog, outlet_of

INFO, WARN = 6, 4

Closing = Callable[[Any], Any]


@pytest.fixture
def closing() -> Iterator[Closing]:
    """Closes what goes through it in the end; outlets stay open as long as the process."""
    with contextlib.ExitStack() as stack:

        def keep(outlet: Any) -> Any:
            stack.callback(lambda: os.close(outlet._fd) if isinstance(outlet, Stream) else outlet._socket.close())
            return outlet

        yield keep


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """The two ends of a pipe that holds a page."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def test_lines_are_written_at_once(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    outlet = Stream(writer)
    assert outlet.timed
    outlet.write(INFO, ["one – ", "\ttwo"])
    assert os.read(reader, 1000).decode() == "one – \n\ttwo\n"
    outlet.reopen()  # there is nothing to be opened


def test_the_journal_gets_the_priority_of_every_line(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    outlet = Stream(writer, journal=True)
    assert not outlet.timed
    outlet.write(WARN, ["one", "\ttwo"])
    assert os.read(reader, 1000) == b"<4>one\n<4>\ttwo\n"


def test_a_reader_that_stands_still_costs_lines_and_tears_none(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    outlet = Stream(writer)
    long = "x" * 3000
    outlet.write(INFO, [f"1{long}"])
    outlet.write(INFO, [f"2{long}"])  # the pipe takes none of it, as it is no whole page that is free
    for _ in range(3):
        with pytest.raises(BlockingIOError, match="nobody reads it"):
            outlet.write(INFO, ["lost"])
    assert os.read(reader, 100_000).decode() == f"1{long}\n"
    outlet.write(INFO, ["3"])
    assert os.read(reader, 100_000).decode() == f"2{long}\n"
    outlet.write(INFO, ["4"])
    assert os.read(reader, 100_000).decode() == "3\n"
    outlet.write(INFO, ["5"])
    assert os.read(reader, 100_000).decode() == "4\n"


def test_an_event_larger_than_the_pipe_is_written_as_it_is_read(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    outlet = Stream(writer)
    lines = [f"{number}: {'x' * 100}" for number in range(200)]
    outlet.write(INFO, lines)
    got, lost = b"", 0
    while b"end\n" not in got:
        got += os.read(reader, 100_000)
        try:
            outlet.write(INFO, ["end"])
        except BlockingIOError:
            lost += 1
    assert got.decode().splitlines()[: len(lines) + 1] == [*lines, "end"]
    assert lost == 4  # 22,090 bytes are five pages and a bit, one of which was in the pipe already


def test_a_reader_that_is_gone_costs_lines(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    gone = os.dup(writer)
    outlet = Stream(gone)
    os.close(reader)
    outlet.write(INFO, ["pending"])
    with pytest.raises(BrokenPipeError):
        outlet.write(INFO, ["lost"])
    os.close(gone)
    os.open(os.devnull, os.O_RDONLY)  # takes the reader's number, for the fixture to close


def test_a_file_is_appended_to_and_not_for_everybody(tmp_path: Path, closing: Closing) -> None:
    path = tmp_path / "service.log"
    closing(File(str(path))).write(INFO, ["one"])
    assert path.stat().st_mode & 0o777 == 0o640 & ~_umask()
    path.chmod(0o600)
    closing(File(str(path))).write(INFO, ["two"])
    assert path.read_text() == "one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o600


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_a_file_that_was_moved_away_is_left_by_the_next_line_and_by_reopening(tmp_path: Path, closing: Closing) -> None:
    path = tmp_path / "service.log"
    outlet = closing(File(str(path)))
    outlet.write(INFO, ["one"])
    path.rename(tmp_path / "first")
    outlet.write(INFO, ["two"])
    path.rename(tmp_path / "second")
    outlet.reopen()
    assert path.read_text() == ""
    outlet.write(INFO, ["three"])
    assert [(tmp_path / name).read_text() for name in ("first", "second", "service.log")] == [
        "one\n",
        "two\n",
        "three\n",
    ]


def test_a_file_that_cannot_be_opened_anew_goes_on_as_it_is(tmp_path: Path, closing: Closing) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    path = directory / "service.log"
    outlet = closing(File(str(path)))
    directory.rename(tmp_path / "old")
    with pytest.raises(FileNotFoundError):
        outlet.reopen()
    outlet.write(INFO, ["one"])
    assert (tmp_path / "old/service.log").read_text() == "one\n"


def test_a_full_disk_costs_lines_until_there_is_room_and_what_was_begun_there_ends_there(
    tmp_path: Path, closing: Closing
) -> None:
    path = tmp_path / "service.log"
    path.symlink_to("/dev/full")
    outlet = closing(File(str(path)))
    outlet.write(INFO, ["pending"])
    with pytest.raises(OSError, match="No space left") as raised:
        outlet.write(INFO, ["lost"])
    assert raised.value.errno == errno.ENOSPC
    path.unlink()
    outlet.reopen()
    outlet.write(INFO, ["one"])
    assert path.read_text() == "one\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_file_that_root_makes_belongs_to_whom_we_become_and_an_older_one_to_whom_it_did(
    tmp_path: Path, closing: Closing
) -> None:
    nobody = pwd.getpwnam("nobody")
    made, older = tmp_path / "made", tmp_path / "older"
    older.touch()
    for path in (made, older):
        closing(File(str(path), nobody.pw_uid))
    assert [path.stat().st_uid for path in (made, older)] == [nobody.pw_uid, 0]
    assert made.stat().st_gid == 0
    closing(File(str(tmp_path / "grouped"), nobody.pw_uid, nobody.pw_gid))
    assert (tmp_path / "grouped").stat().st_gid == nobody.pw_gid


class Daemon:
    """A syslog daemon."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(5)

    def hear(self) -> str:
        return self._socket.recv(100_000).decode()

    def end(self) -> None:
        self._socket.close()


def test_syslog_gets_a_datagram_a_line_with_its_priority(tmp_path: Path, closing: Closing) -> None:
    daemon = Daemon(tmp_path / "log")
    outlet = closing(Syslog("nb", str(tmp_path / "log")))
    assert not outlet.timed
    outlet.reopen()  # there is nothing to be opened
    outlet.write(WARN, ["one –", "\ttwo"])
    heard = rf"<28>[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d nb\[{os.getpid()}\]: "
    assert re.fullmatch(heard + "one –", daemon.hear())
    assert re.fullmatch(heard + "\ttwo", daemon.hear())
    daemon.end()


def test_a_syslog_that_is_missing_costs_lines_until_it_comes_and_may_be_started_anew(
    tmp_path: Path, closing: Closing
) -> None:
    path = tmp_path / "log"
    outlet = closing(Syslog("nb", str(path)))
    with pytest.raises(FileNotFoundError):
        outlet.write(INFO, ["lost"])
    daemon = Daemon(path)
    outlet.write(INFO, ["one"])
    assert daemon.hear().endswith("one")
    daemon.end()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        outlet.write(INFO, ["lost"])
    daemon = Daemon(path)
    outlet.write(INFO, ["two"])
    assert daemon.hear().endswith("two")
    daemon.end()


def test_a_syslog_that_stands_still_costs_lines(tmp_path: Path, closing: Closing) -> None:
    daemon = Daemon(tmp_path / "log")
    outlet = closing(Syslog("nb", str(tmp_path / "log")))
    with pytest.raises(BlockingIOError):
        write_for_ever(outlet)
    daemon.hear()
    outlet.write(INFO, ["y"])
    daemon.end()


def write_for_ever(outlet: Syslog) -> None:
    while True:
        outlet.write(INFO, ["x"])


class TestChoice:
    """twistd's options, as twistd understands them."""

    @pytest.mark.parametrize("file", [None, "", "-"])
    def test_in_the_foreground_it_is_standard_output(self, file: str | None, capfd: pytest.CaptureFixture[str]) -> None:
        outlet_of({"nodaemon": True, "logfile": file}, {}).write(INFO, ["one"])
        assert capfd.readouterr().out == "one\n"

    def test_standard_output_may_be_the_journals(self, capfd: pytest.CaptureFixture[str]) -> None:
        there = os.fstat(sys.stdout.fileno())
        for stream in (f"{there.st_dev}:{there.st_ino}", "8:1", ""):
            outlet_of({"nodaemon": True}, {"JOURNAL_STREAM": stream}).write(INFO, ["one"])
        assert capfd.readouterr().out == "<6>one\none\none\n"

    def test_standard_output_may_be_closed(self, monkeypatch: pytest.MonkeyPatch, closing: Closing) -> None:
        monkeypatch.setattr(sys, "stdout", None)
        outlet = closing(outlet_of({"nodaemon": True}, {}))
        for _ in range(2):
            outlet.write(INFO, ["one"])

    def test_a_daemon_has_no_standard_output(self) -> None:
        with pytest.raises(ValueError, match="a daemon has no standard output"):
            outlet_of({"logfile": "-"})

    @pytest.mark.parametrize("nodaemon", [True, False])
    def test_a_file_that_was_named(self, tmp_path: Path, nodaemon: bool, closing: Closing) -> None:
        outlet = closing(outlet_of({"logfile": str(tmp_path / "service.log"), "nodaemon": nodaemon}))
        self.writes(outlet, tmp_path / "service.log")

    def test_a_daemon_without_one_has_twistds(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closing: Closing
    ) -> None:
        monkeypatch.chdir(tmp_path)
        outlet = closing(outlet_of({}))
        monkeypatch.chdir("/")
        self.writes(outlet, tmp_path / "twistd.log")

    def writes(self, outlet: Outlet, path: Path) -> None:
        assert isinstance(outlet, File)
        outlet.write(INFO, ["one"])
        assert path.read_text() == "one\n"
        assert outlet.path == str(path)

    def test_syslog_comes_before_a_file(self) -> None:
        assert isinstance(outlet_of({"syslog": True, "prefix": "nb", "logfile": "/nowhere/x"}), Syslog)
