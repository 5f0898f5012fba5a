"""The queue and the thread: lines are lost and counted before anything waits for them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from twisted.logger import LogEvent

from nodebalancer.accesslog import writer
from nodebalancer.accesslog.entry import Entry
from nodebalancer.accesslog.file import LogFile
from nodebalancer.accesslog.writer import AccessLog, Writer
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.model import Protocol

LoggedErrors = Callable[[], list[LogEvent]]

PATIENCE_SECONDS = 20


def numbered(number: int, lines: bytes = b"") -> Entry:
    return Entry(float(number), "", Protocol.HTTP, "", 0, 0, None, Outcome.SERVED, 0, None, None, 0.0, lines=lines)


def number_of(entry: Entry) -> bytes:
    return b"%d\n" % entry.at


def writer_of(log: AccessLog) -> Writer:
    assert log._writer is not None
    return log._writer


def until(condition: Callable[[], object]) -> None:
    """Wait for the other thread."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.005)


class Told:
    """What the operator hears, and from which thread."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []

    def __call__(self, count: int, reason: str) -> None:
        self.lines.append((count, reason))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def log(told: Told) -> Iterator[AccessLog]:
    log = AccessLog(tell=told)
    log._quiet_until = 0.0
    yield log
    log.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def test_all_lines_are_written_in_their_order(log: AccessLog, path: Path) -> None:
    assert not log.on
    log.lead_to(LogFile(str(path)), number_of)
    assert log.on
    for number in range(1000):
        log.note(numbered(number))
    log.close()
    assert path.read_bytes() == b"".join(b"%d\n" % number for number in range(1000))
    assert log.lost == 0


def test_a_line_is_written_soon_though_nothing_follows_it(log: AccessLog, path: Path) -> None:
    log.lead_to(LogFile(str(path)), number_of)
    for number in range(3):
        log.note(numbered(number))
        line = number_of(numbered(number))
        until(partial(lambda line: path.read_bytes().endswith(line), line))


def test_without_a_file_there_is_no_thread(path: Path) -> None:
    before = threading.active_count()
    log = AccessLog()
    log.lead_to(None, number_of)
    assert threading.active_count() == before
    log.close()


def test_another_file_gets_what_ends_after_the_change(log: AccessLog, path: Path) -> None:
    other = path.with_name("other.log")
    log.lead_to(LogFile(str(path)), number_of)
    log.note(numbered(1))
    log.lead_to(LogFile(str(other)), number_of)
    log.note(numbered(2))
    log.lead_to(None, number_of)
    assert not log.on
    log.close()
    assert (path.read_bytes(), other.read_bytes()) == (b"1\n", b"2\n")


def test_the_file_of_before_is_closed(log: AccessLog, path: Path) -> None:
    def open_files() -> list[str]:
        return [
            target
            for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}") and (target := os.readlink(f"/proc/self/fd/{fd}")) == str(path)
        ]

    log.lead_to(LogFile(str(path)), number_of)
    until(lambda: len(open_files()) == 1)
    log.lead_to(None, number_of)
    until(lambda: not open_files())


def test_reopened_lines_of_before_stay_in_the_old_file(log: AccessLog, path: Path) -> None:
    log.lead_to(LogFile(str(path)), number_of)
    log.note(numbered(1))
    until(path.read_bytes)
    old = path.rename(path.with_suffix(".1"))
    writer_of(log)._look_at = float("inf")  # that it would see by itself is another test's
    log.note(numbered(2))
    log.reopen()
    log.note(numbered(3))
    log.close()
    assert (old.read_bytes(), path.read_bytes()) == (b"1\n2\n", b"3\n")


def test_a_file_that_was_moved_is_noticed_without_a_word(
    log: AccessLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOOK_SECONDS", 0.0)
    log.lead_to(LogFile(str(path)), number_of)
    log.note(numbered(1))
    until(path.read_bytes)
    old = path.rename(path.with_suffix(".1"))
    log.note(numbered(2))
    log.close()
    assert (old.read_bytes(), path.read_bytes()) == (b"1\n", b"2\n")


def test_reopening_where_there_is_no_file_is_nothing(log: AccessLog) -> None:
    log.reopen()
    log.close()


def test_a_file_that_does_not_keep_up_costs_lines_and_no_time(log: AccessLog, told: Told, path: Path) -> None:
    """A fifo that is not read: the thread hangs in the middle of a write, and the queue fills."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log.lead_to(LogFile(str(path)), number_of)
    big = b"x" * 16000
    count = 3 * writer.QUEUE_BYTES_MAX // len(big)
    # Lines of the thread's are small; it takes many to fill the pipe.
    for number in range(count):
        log.note(numbered(number, big))
    assert 0 < log.lost < count
    assert told.lines == [(1, "the file does not keep up")], "told at once, by who does not hang"
    assert writer_of(log)._put - writer_of(log)._taken <= writer.QUEUE_BYTES_MAX + 2 * len(big) + writer.ENTRY_BYTES
    os.set_blocking(reader, True)
    received = b""
    while received.count(b"\n") < count - log.lost:
        received += os.read(reader, 65536)
    os.close(reader)


def test_a_full_disk_costs_lines_and_is_told_now_and_then(log: AccessLog, told: Told) -> None:
    log.lead_to(LogFile("/dev/full"), number_of)
    for number in range(100):
        log.note(numbered(number))
    until(lambda: log.lost == 100)
    log.close()
    assert len(told.lines) == 1
    assert 0 < told.lines[0][0] <= 100
    assert told.lines[0][1] == "No space left on device"


def test_all_losses_are_told_in_the_end_though_nothing_follows(
    log: AccessLog, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "QUIET_SECONDS", 0.2)
    log.lead_to(LogFile("/dev/full"), number_of)
    for number in range(100):
        log.note(numbered(number))
    until(lambda: sum(count for count, _ in told.lines) == 100)
    assert len(told.lines) <= 3


def test_where_it_cannot_be_opened_anew_the_operator_hears_it(log: AccessLog, told: Told, path: Path) -> None:
    log.lead_to(LogFile(str(path)), number_of)
    log.note(numbered(1))
    until(path.read_bytes)
    old = path.rename(path.with_suffix(".1"))
    path.mkdir()
    log.reopen()
    log.note(numbered(2))
    until(lambda: old.read_bytes() == b"1\n2\n")
    log.close()
    assert told.lines == [(0, "it cannot be opened again: Is a directory")]


def test_a_fault_of_ours_costs_some_lines_and_not_all_that_follow(
    log: AccessLog, path: Path, logged_errors: LoggedErrors
) -> None:
    def line(entry: Entry) -> bytes:
        if entry.at == 1:
            raise ZeroDivisionError
        return number_of(entry)

    log.lead_to(LogFile(str(path)), line)
    log.note(numbered(1))
    until(lambda: not writer_of(log).waiting)
    log.note(numbered(2))
    log.close()
    assert path.read_bytes() == b"2\n"
    assert writer_of(log)._put == writer_of(log)._taken, "what failed does not wait for ever"
    assert len(logged_errors()) == 1


def test_the_end_of_the_process_does_not_wait_for_a_file_that_hangs(
    told: Told, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "CLOSE_SECONDS", 0.05)
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = AccessLog(tell=told)
    log.lead_to(LogFile(str(path)), lambda entry: b"x" * 1_000_000 + b"\n")
    log.note(numbered(1))
    until(lambda: not writer_of(log).waiting)
    log.note(numbered(2))
    log.close()
    thread = writer_of(log).thread
    assert thread.is_alive()
    assert thread.daemon
    assert told.lines == [(1, "the file hangs, and the process ends")]
    os.set_blocking(reader, True)
    while thread.is_alive():
        os.read(reader, 1 << 20)
    os.close(reader)


def test_a_file_that_hangs_does_not_keep_another_from_being_written(log: AccessLog, path: Path) -> None:
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log.lead_to(LogFile(str(path)), lambda entry: b"x" * 1_000_000 + b"\n")
    log.note(numbered(1))
    hanging = writer_of(log)
    until(lambda: not hanging.waiting)
    other = path.with_name("other.log")
    log.lead_to(LogFile(str(other)), number_of)
    log.note(numbered(2))
    until(lambda: other.read_bytes() == b"2\n")
    assert hanging.thread.is_alive()
    os.set_blocking(reader, True)
    while hanging.thread.is_alive():
        os.read(reader, 1 << 20)
    os.close(reader)


def test_what_was_lost_before_another_file_is_remembered(log: AccessLog, told: Told, path: Path) -> None:
    log.lead_to(LogFile("/dev/full"), number_of)
    log.note(numbered(1))
    log.lead_to(LogFile(str(path)), number_of)
    until(lambda: log.lost == 1)
    until(lambda: told.lines)
    log.note(numbered(2))
    until(path.read_bytes)
    assert log.lost == 1
    assert told.lines == [(1, "No space left on device")]


def test_another_format_begins_with_the_entries_that_come_after_it(log: AccessLog, path: Path) -> None:
    log.lead_to(LogFile(str(path)), number_of)
    log.note(numbered(1))
    log.write_as(lambda entry: b"new\n")
    log.note(numbered(2))
    log.close()
    assert path.read_bytes() == b"1\nnew\n"


def test_lines_that_are_long_are_made_one_at_a_time(log: AccessLog, path: Path) -> None:
    """All others wait while lines are made."""
    made: list[int] = []

    class Noting(LogFile):
        def append(self, lines: bytes) -> None:
            made.append(len(lines))
            super().append(lines)

    log.lead_to(Noting(str(path)), lambda entry: b"x" * writer.BATCH_BYTES + b"\n")
    for number in range(5):
        log.note(numbered(number))
    log.close()
    assert made == [writer.BATCH_BYTES + 1] * 5
