"""What systemd hears of us."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from nodebalancer.process.systemd.notify import STATUS_SECONDS, Notifier, Systemd, watchdog_seconds
from nodebalancer.testing.logs import logged


class Reactor(Clock):
    """A clock with which what waits for the reactor to run can be let run."""

    def __init__(self) -> None:
        super().__init__()
        self.when_running: list[Callable[[], object]] = []

    def callWhenRunning(self, f: Callable[[], object]) -> None:
        self.when_running.append(f)

    def run(self) -> None:
        for f in self.when_running:
            f()


class Manager:
    """systemd's end of the socket."""

    def __init__(self, name: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(name)
        self._socket.setblocking(False)

    def fill(self) -> None:
        """Let others have sent as much as fits into the queue."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    other.sendto(b"", self._socket.getsockname())

    def heard(self) -> list[str]:
        """The datagrams since the last time."""
        datagrams = []
        try:
            while True:
                datagrams.append(self._socket.recv(1000).decode())
        except BlockingIOError:
            return [datagram for datagram in datagrams if datagram]

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def environ(tmp_path: Path, manager: Manager) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(tmp_path / "notify")}


def test_we_are_ready_when_the_reactor_runs_and_not_before(manager: Manager, environ: dict[str, str]) -> None:
    reactor = Reactor()
    systemd = Systemd(reactor, environ, lambda: "all is well")
    systemd.startService()
    assert manager.heard() == []
    reactor.run()
    assert manager.heard() == ["READY=1", "STATUS=all is well"]


def test_the_status_line_is_sent_when_it_is_another(manager: Manager, environ: dict[str, str]) -> None:
    reactor = Reactor()
    lines = ["2 nodes up"]
    systemd = Systemd(reactor, environ, lambda: lines[-1])
    systemd.startService()
    reactor.run()
    manager.heard()
    reactor.advance(STATUS_SECONDS)
    assert manager.heard() == []
    lines.append("1 node up")
    reactor.advance(STATUS_SECONDS)
    assert manager.heard() == ["STATUS=1 node up"]


def test_a_reload_has_a_beginning_with_its_time_and_an_end(manager: Manager, environ: dict[str, str]) -> None:
    systemd = Systemd(Reactor(), environ, str)
    systemd.reloading(True)
    systemd.reloading(False)
    began, ended = manager.heard()
    first, second = began.split("\n")
    assert (first, ended) == ("RELOADING=1", "READY=1")
    assert second.startswith("MONOTONIC_USEC=")
    assert int(second.partition("=")[2]) > 10**6


def test_what_systemd_cannot_take_is_said_again_until_it_can(manager: Manager, environ: dict[str, str]) -> None:
    reactor = Reactor()
    systemd = Systemd(reactor, {**environ, "WATCHDOG_USEC": "8000000"}, lambda: "well")
    systemd.startService()
    with logged("systemd cannot") as lines:
        manager.fill()
        reactor.run()
        assert manager.heard() == []
        reactor.advance(STATUS_SECONDS)
        assert manager.heard() == ["WATCHDOG=1", "READY=1", "STATUS=well"]
        reactor.advance(STATUS_SECONDS)
        assert manager.heard() == ["WATCHDOG=1"]
    assert len(lines) == 1


def test_of_reloads_that_systemd_did_not_hear_of_it_is_told_the_last_and_its_end(
    manager: Manager, environ: dict[str, str]
) -> None:
    reactor = Reactor()
    systemd = Systemd(reactor, environ, str)
    systemd.startService()
    manager.fill()
    reactor.run()
    for _ in range(3):
        systemd.reloading(True)
        systemd.reloading(False)
    manager.heard()
    reactor.advance(STATUS_SECONDS)
    assert [datagram.split("\n")[0] for datagram in manager.heard()] == ["RELOADING=1", "READY=1"]
    manager.fill()
    systemd.reloading(True)
    systemd.reloading(False)
    systemd.stopService()
    manager.heard()
    reactor.advance(STATUS_SECONDS)
    assert manager.heard() == ["STOPPING=1"]


def test_we_show_that_we_live_twice_in_the_time_that_we_have_also_while_we_stop(
    manager: Manager, environ: dict[str, str]
) -> None:
    reactor = Reactor()
    systemd = Systemd(reactor, {**environ, "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid())}, str)
    systemd.startService()
    reactor.run()
    assert "WATCHDOG=1" in manager.heard()
    systemd.stopService()
    reactor.advance(1)
    assert manager.heard() == ["STOPPING=1", "WATCHDOG=1"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "nonsense"},
        {"WATCHDOG_USEC": "0" * 5000},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(environ: dict[str, str]) -> None:
    assert watchdog_seconds(environ) == 0


def test_without_systemd_nothing_is_done() -> None:
    reactor = Reactor()
    systemd = Systemd(reactor, {}, str)
    systemd.startService()
    systemd.reloading(True)
    systemd.stopService()
    assert reactor.when_running == []


def test_a_socket_may_have_a_name_that_is_no_file() -> None:
    manager = Manager(f"\0nodebalancer-{os.getpid()}")
    Notifier({"NOTIFY_SOCKET": f"@nodebalancer-{os.getpid()}"}).tell("A=1", "B=2")
    assert manager.heard() == ["A=1\nB=2"]
    manager.close()


def test_a_manager_that_does_not_hear_us_is_told_of_once_and_keeps_us_from_nothing(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")})
    with logged("systemd") as lines:
        notifier.tell("READY=1")
        notifier.tell("READY=1")
    assert lines == ["systemd cannot be told how we are: no such file or directory"]
