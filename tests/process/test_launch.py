"""What the operator at the terminal hears."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodebalancer.process.launch import Launch, refuse

LoggedErrors = Callable[[], list[dict[str, object]]]


class Terminal:
    """A pipe in place of a terminal."""

    def __init__(self) -> None:
        self.read_end, self.fd = os.pipe()
        os.set_blocking(self.read_end, False)

    def text(self) -> str:
        try:
            return os.read(self.read_end, 65536).decode()
        except BlockingIOError:
            return ""

    def hang_up(self) -> None:
        os.close(self.fd)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    os.close(terminal.read_end)


def test_sentences_reach_the_terminal_after_a_daemon_has_lost_it(terminal: Terminal) -> None:
    launch = Launch({}, terminal.fd)
    terminal.hang_up()
    launch.tell("port taken")
    assert terminal.text() == "port taken\n"
    launch.started()


def test_the_terminal_is_left_alone_once_we_have_started(terminal: Terminal) -> None:
    launch = Launch({}, terminal.fd)
    launch.started()
    launch.started()
    launch.tell("too late")
    terminal.hang_up()
    assert terminal.text() == ""


def test_a_closed_standard_error_keeps_nobody_from_starting(terminal: Terminal) -> None:
    terminal.hang_up()
    launch = Launch({}, terminal.fd)
    launch.tell("nobody hears this")
    launch.started()


def test_a_terminal_that_went_away_keeps_nobody_from_starting() -> None:
    read_end, fd = os.pipe()
    os.close(read_end)
    launch = Launch({}, fd)
    os.close(fd)
    launch.tell("nobody hears this")
    launch.started()


def test_warnings_are_marked(terminal: Terminal) -> None:
    launch = Launch({}, terminal.fd)
    launch.warn("only 5 connections fit")
    launch.started()
    terminal.hang_up()
    assert terminal.text() == "warning: only 5 connections fit\n"


def test_a_failed_start_tells_every_reason_and_leaves_no_pidfile(
    terminal: Terminal, tmp_path: Path, logged_errors: LoggedErrors
) -> None:
    pidfile = tmp_path / "twistd.pid"
    pidfile.write_text("1")
    launch = Launch({"pidfile": str(pidfile)}, terminal.fd)
    terminal.hang_up()
    with pytest.raises(SystemExit) as ended:
        launch.failed(["first", "second"])
    assert ended.value.code == 1
    assert terminal.text() == "first\nsecond\n"
    assert [event["sentence"] for event in logged_errors()] == ["first", "second"]
    assert not pidfile.exists()


@pytest.mark.parametrize(
    ("twistd", "apart", "told"),
    [
        ({"nodaemon": True}, False, ""),
        ({"nodaemon": True, "logfile": "-"}, False, ""),
        ({"nodaemon": True}, True, "warning: one\ntwo\n"),
        ({"nodaemon": True, "logfile": "a.log"}, False, "warning: one\ntwo\n"),
        ({"nodaemon": True, "syslog": True}, False, "warning: one\ntwo\n"),
        ({}, False, "warning: one\ntwo\n"),
    ],
)
def test_who_has_the_log_before_their_eyes_reads_everything_once(
    terminal: Terminal,
    logged_errors: LoggedErrors,
    monkeypatch: pytest.MonkeyPatch,
    twistd: dict[str, object],
    apart: bool,
    told: str,
) -> None:
    with open(os.devnull if apart else os.dup(terminal.fd), "w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        launch = Launch(twistd, terminal.fd)
        launch.warn("one")
        with pytest.raises(SystemExit):
            launch.failed(["two"])
    terminal.hang_up()
    assert terminal.text() == told
    assert [event["sentence"] for event in logged_errors()] == ["two"]


def test_a_standard_output_that_is_closed_is_no_log_to_look_at(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.devnull) as closed:
        pass
    for output in (None, closed):
        monkeypatch.setattr(sys, "stdout", output)
        launch = Launch({"nodaemon": True}, terminal.fd)
        launch.warn("one")
        launch.started()
    terminal.hang_up()
    assert terminal.text() == "warning: one\n" * 2


def test_a_failed_start_answers_the_twistd_that_launched_us(terminal: Terminal, logged_errors: LoggedErrors) -> None:
    status = Terminal()
    launch = Launch({"statusPipe": status.fd, "pidfile": ""}, terminal.fd)
    terminal.hang_up()
    with pytest.raises(SystemExit):
        launch.failed(["a reason"])
    assert status.text().startswith("1 ")
    logged_errors()
    status.hang_up()
    os.close(status.read_end)


def test_a_pidfile_that_is_gone_already_is_no_trouble(terminal: Terminal, tmp_path: Path) -> None:
    launch = Launch({"pidfile": str(tmp_path / "none")}, terminal.fd)
    terminal.hang_up()
    with pytest.raises(SystemExit):
        launch.failed([])


def test_a_command_that_is_refused_says_why_and_nothing_else() -> None:
    with pytest.raises(SystemExit) as ended:
        refuse(["one", "two"])
    assert ended.value.code == "one\ntwo"
