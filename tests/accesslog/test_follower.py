"""The settings of the access log: what is wrong with them is told before anything changes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.accesslog.entry import Entry
from nodebalancer.accesslog.follower import AccessLogFile, tell_losses
from nodebalancer.accesslog.writer import AccessLog
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.model import LogFormat, Protocol, Service, Settings

ENTRY = Entry(0.0, "a/b", Protocol.TCP, "192.0.2.1", 0, 0, None, Outcome.SERVED, 0, None, None, 0.0)


def settings(path: Path | str, log_format: LogFormat = LogFormat.COMBINED) -> Settings:
    return Settings(service=Service(access_log=str(path), access_log_format=log_format))


def problems(answer: Any) -> list[str]:
    found: list[Any] = []
    answer.addCallback(found.extend)
    return [str(problem) for problem in found]


@pytest.fixture
def log() -> AccessLog:
    return AccessLog()


@pytest.fixture
def follower(log: AccessLog) -> AccessLogFile:
    return AccessLogFile(log)


def follow(follower: AccessLogFile, wanted: Settings) -> None:
    assert problems(follower.examine(wanted)) == []
    assert problems(follower.prepare(wanted, ())) == []
    follower.commit()


def test_lines_go_where_the_settings_say_in_the_format_that_they_say(
    follower: AccessLogFile, log: AccessLog, tmp_path: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    follow(follower, settings(one))
    log.note(ENTRY)
    follow(follower, settings(two, LogFormat.JSON))
    log.note(ENTRY)
    follow(follower, settings(""))
    assert not log.on
    log.close()
    assert one.read_bytes().startswith(b"192.0.2.1 - - [")
    assert two.read_bytes().startswith(b"{")


def test_nothing_is_made_before_prepare(follower: AccessLogFile, tmp_path: Path) -> None:
    follower.examine(settings(tmp_path / "log"))
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("access.log", "expected a path that begins with /"),
        ("{tmp}", "is a directory"),
        ("{tmp}/none/access.log", "there is no directory {tmp}/none"),
        ("", ""),
        ("-", ""),
        ("{tmp}/there", ""),
        ("{tmp}/new", ""),
    ],
)
def test_check_tells_what_is_wrong_with_the_path(
    follower: AccessLogFile, tmp_path: Path, path: str, expected: str
) -> None:
    (tmp_path / "there").touch()
    path = path.format(tmp=tmp_path)
    found = problems(follower.examine(settings(path)))
    if expected:
        [problem] = found
        assert problem.startswith(f"[service] access_log = {path}: ")
        assert expected.format(tmp=tmp_path) in problem
    else:
        assert found == []


@pytest.mark.parametrize("there", [True, False])
def test_check_tells_what_this_user_may_not_do(
    follower: AccessLogFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Root may do everything, so rights are taken away by other means."""
    path = tmp_path / "log"
    if there:
        path.touch()
    monkeypatch.setattr(os, "access", lambda path, what: False)
    [problem] = problems(follower.examine(settings(path)))
    assert "by this user" in problem


def test_what_cannot_be_opened_is_a_problem_and_what_was_goes_on(
    follower: AccessLogFile, log: AccessLog, tmp_path: Path
) -> None:
    follow(follower, settings(tmp_path / "one"))
    os.mkfifo(tmp_path / "fifo")
    [problem] = problems(follower.prepare(settings(tmp_path / "fifo"), ()))
    assert "cannot be opened: No such device or address" in problem
    follower.abandon()
    log.note(ENTRY)
    log.close()
    assert (tmp_path / "one").read_bytes().count(b"\n") == 1


def test_an_abandoned_file_is_closed_and_the_next_may_be_the_same(
    follower: AccessLogFile, log: AccessLog, tmp_path: Path
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    follower.prepare(settings(tmp_path / "one"), ())
    follower.abandon()
    assert len(os.listdir("/proc/self/fd")) == before
    assert not log.on
    follow(follower, settings(tmp_path / "one"))
    assert log.on
    log.close()


def test_a_file_that_stays_is_not_opened_again(follower: AccessLogFile, log: AccessLog, tmp_path: Path) -> None:
    """It may have been opened as root, who we are no more."""
    path = tmp_path / "one"
    follow(follower, settings(path))
    path.unlink()
    path.mkdir()
    follow(follower, settings(path))
    follow(follower, settings(path, LogFormat.JSON))
    log.note(ENTRY)
    log.close()
    assert list(path.iterdir()) == []


def test_another_format_goes_on_in_the_same_file(follower: AccessLogFile, log: AccessLog, tmp_path: Path) -> None:
    path = tmp_path / "one"
    for log_format in (LogFormat.COMBINED, LogFormat.JSON):
        follow(follower, settings(path, log_format))
        log.note(ENTRY)
    follower.prepare(settings(path), ())
    follower.abandon()
    log.note(ENTRY)
    log.close()
    assert [line[:1] for line in path.read_bytes().splitlines()] == [b"1", b"{", b"{"]


def test_losses_are_told_in_a_sentence(logged_errors: Any) -> None:
    tell_losses(3, "No space left on device")
    tell_losses(0, "it cannot be opened again: Is a directory")
    lost, old = logged_errors()
    assert (lost["count"], lost["reason"]) == (3, "No space left on device")
    assert "old file" in old["log_format"]
