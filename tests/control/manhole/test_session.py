"""A session, by its channel alone: what the OpenSSH client does not do, or not in a way that a test could wait for."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from twisted.conch.ssh.common import NS
from twisted.internet.task import Clock

from nodebalancer.control.manhole import session
from nodebalancer.control.manhole.keys import AuthorizedKey
from nodebalancer.control.manhole.session import Session
from nodebalancer.control.manhole.ssh import Door, User
from nodebalancer.control.manhole.watchdog import Watchdog
from nodebalancer.testing.logs import logged

LoggedErrors = Callable[[], list[Any]]

PTY = NS(b"xterm") + struct.pack(">LLLL", 80, 24, 0, 0) + NS(b"")


class Wire:
    """The connection of a session, as far as sessions know it; also the transport below it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.transport = self
        self.user: User | None = None
        self.peer = "192.0.2.9"

    def sendData(self, channel: Session, data: bytes) -> None:
        if not channel.localClosed:
            self.sent.append(("out", data))

    def sendExtendedData(self, channel: Session, kind: int, data: bytes) -> None:
        self.sent.append(("err", data))

    def sendRequest(self, channel: Session, kind: bytes, data: bytes) -> None:
        self.sent.append((kind.decode(), struct.unpack(">L", data)[0]))

    def sendEOF(self, channel: Session) -> None:
        self.sent.append(("eof", None))

    def sendClose(self, channel: Session) -> None:
        if not channel.localClosed:
            channel.localClosed = 1
            self.sent.append(("close", None))

    def touch(self) -> None:
        self.sent.append(("touched", None))

    def part(self, why: str) -> None:
        self.sent.append(("part", why))

    def does_not_read(self) -> None:
        self.sent.append(("does not read", None))

    def said(self, kind: str = "out") -> bytes:
        return b"".join(data for which, data in self.sent if which == kind)

    def kinds(self) -> list[str]:
        return [which for which, _ in self.sent if which not in ("out", "touched")]


@pytest.fixture
def door(lb: Any) -> Door:
    return Door(lb.subject, Watchdog())


def opened(door: Door, window: int = 1 << 20) -> Any:
    wire = Wire()
    user = User(door, AuthorizedKey(b"", "SHA256:x", b"anna \xfc"))
    user.conn = wire
    channel = user.lookupChannel(b"session", window, 32768, b"")
    channel.conn = wire
    return channel


def test_a_command_is_answered_once_the_client_knows_that_it_runs(door: Door, clock: Clock) -> None:
    channel = opened(door)
    assert channel.requestReceived(b"exec", NS(b"nodes"))
    assert channel.conn.said() == b""
    clock.advance(0)
    assert channel.conn.said().startswith(b"NODE ")
    assert channel.conn.kinds() == ["exit-status", "eof", "close"]
    channel.closed()
    assert door.sessions == set()


def test_a_session_is_one_shell_or_one_command(door: Door, clock: Clock) -> None:
    channel = opened(door)
    assert channel.requestReceived(b"exec", NS(b"foo \xff"))
    assert not channel.requestReceived(b"exec", NS(b"nodes"))
    assert not channel.requestReceived(b"shell", b"")
    clock.advance(0)
    assert channel.conn.said("err").startswith(b"unknown command 'foo'")
    assert ("exit-status", 2) in channel.conn.sent


@pytest.mark.parametrize("kind", [b"subsystem", b"x11-req", b"auth-agent-req@openssh.com", b"signal", b"env"])
def test_whatever_else_is_asked_for_is_refused(door: Door, kind: bytes) -> None:
    with logged("manhole:") as lines:
        assert not opened(door).requestReceived(kind, NS(b"sftp"))
    refused = [line for line in lines if line.endswith(f"from 192.0.2.9 is refused {kind.decode()}")]
    assert len(refused) == (kind != b"env")


class Turns:
    """A reactor: what is called later is called in the next turn. (A ``Clock`` knows no turns.)"""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def callLater(self, seconds: float, call: Any) -> None:
        self.calls.append(call)

    def advance(self, seconds: float) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_each_line_has_a_turn_of_its_own_and_is_in_the_log(door: Door) -> None:
    clock: Any = Turns()
    door.clock = clock
    channel = opened(door)
    channel.dataReceived(b"print(1)\n")
    channel.requestReceived(b"shell", b"")
    clock.advance(0)
    channel.dataReceived(b"print(2)\nprint('\x1b')\n")
    with logged("manhole:") as lines:
        said = []
        for _ in range(4):
            said.append(channel.conn.said())
            clock.advance(0)
    assert said == [b"", b"1\n", b"1\n2\n", b"1\n2\n\\x1b\n"]
    assert [line.partition(" types ")[2] for line in lines] == [
        '"print(1)"',
        '"print(2)"',
        r'"print(\x27\x1b\x27)"'.replace(r"\x27", "'"),
    ]
    assert r"SHA256:x (anna \xfc)" in lines[0]


def test_at_the_end_of_input_what_is_there_is_run_and_the_session_ends(door: Door, clock: Clock) -> None:
    channel = opened(door)
    channel.requestReceived(b"shell", b"")
    channel.dataReceived(b"if True:\n  print('whole')\n")
    channel.eofReceived()
    for _ in range(4):
        clock.advance(0)
    assert channel.conn.said() == b"whole\n"
    assert channel.conn.kinds() == ["exit-status", "eof", "close"]


def test_a_command_goes_on_at_the_end_of_input_and_ends_with_its_session(lb: Any, door: Door, clock: Clock) -> None:
    lb.client()
    clock.advance(0)
    channel = opened(door)
    channel.requestReceived(b"exec", NS(b"drain www/main/n1 --wait 9"))
    clock.advance(0)
    channel.eofReceived()
    clock.pump([0.2] * 3)
    assert channel.busy
    assert channel.conn.kinds() == []
    channel.closed()
    assert clock.getDelayedCalls() == []


def test_a_terminal_has_a_prompt_and_a_size_and_is_left_as_it_was(door: Door, clock: Clock) -> None:
    channel = opened(door)
    assert channel.requestReceived(b"pty-req", PTY)
    assert channel.requestReceived(b"window-change", struct.pack(">LLLL", 100, 30, 0, 0))
    channel.requestReceived(b"shell", b"")
    clock.advance(0)
    assert channel.requestReceived(b"window-change", struct.pack(">LLLL", 132, 43, 0, 0))
    assert (channel._front.width, channel._front.height) == (132, 43)
    channel.dataReceived(b"1+1\r")
    clock.advance(0)
    assert b">>> 1+1\r\n2\r\n>>> " in channel.conn.said().replace(b"\x1b[4h", b"")
    channel.dataReceived(b"exit()\rprint('not run')\r")
    clock.pump([0] * 3)
    assert b"not run" not in channel.conn.said()
    assert channel.conn.said().endswith(b"\x1b[4l")
    assert channel.conn.kinds() == ["exit-status", "eof", "close"]
    channel.end()
    assert channel.conn.kinds() == ["exit-status", "eof", "close"]


def test_the_end_of_input_ends_a_terminal_too(door: Door, clock: Clock) -> None:
    channel = opened(door)
    channel.requestReceived(b"pty-req", PTY)
    channel.requestReceived(b"shell", b"")
    channel.eofReceived()
    clock.pump([0] * 3)
    assert ("exit-status", 0) in channel.conn.sent


def test_a_fault_of_the_shell_ends_the_session_and_nothing_else(
    door: Door, clock: Clock, logged_errors: LoggedErrors
) -> None:
    channel = opened(door)
    channel.requestReceived(b"shell", b"")
    clock.advance(0)
    channel.dataReceived(b"x" * 70_000 + b"\n")
    clock.advance(0)
    assert ("exit-status", 1) in channel.conn.sent
    assert len(logged_errors()) == 1


def test_whoever_sends_ahead_too_much_has_to_leave(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "INPUT_BYTES_MAX", 100)
    channel = opened(door)
    channel.dataReceived(b"x" * 100)
    channel.dataReceived(b"x")
    assert channel.conn.kinds() == ["part"]


def test_output_waits_for_the_clients_window_up_to_a_bound(
    door: Door, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "OUTPUT_BYTES_MAX", 1000)
    channel = opened(door, window=100)
    channel.requestReceived(b"shell", b"")
    channel.dataReceived(b"print('x' * 999)\n")
    clock.pump([0] * 2)
    assert len(channel.conn.said()) == 100
    channel.dataReceived(b"for _ in range(99): print('y' * 99)\n\nn = 5\n")
    clock.pump([0] * 4)
    assert channel.conn.kinds() == ["does not read"]
    with pytest.raises(BrokenPipeError):
        channel._show("late")


def test_a_client_that_closes_reads_nothing_more(door: Door, clock: Clock) -> None:
    channel = opened(door, window=10)
    channel.requestReceived(b"exec", NS(b"nodes"))
    clock.advance(0)
    assert "close" not in channel.conn.kinds()
    channel.closeReceived()
    assert channel.conn.kinds() == ["exit-status", "eof", "close"]


def test_we_open_no_channels(door: Door) -> None:
    opened(door).openFailed(None)
    assert opened(door).conn.kinds() == []
