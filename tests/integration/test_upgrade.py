"""Sockets that somebody holds while one process goes and the next comes: as systemd does, nobody is refused."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodebalancer.testing.manager import Manager
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, free_port, nginx, wait_until

pytestmark = pytest.mark.integration

INI = """\
[service]
grace_period = 3000
state_dir = {directory}

[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = {port}
check = none

[nodes www/web]
node = 127.0.0.1:{node}
"""


class Site:
    """Somebody who holds the sockets, and a node; the second socket nobody wants."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port, self.unused_port = free_port(), free_port()
        self.manager = Manager(directory, [self.port, self.unused_port])
        self.node, self.node_port = nginx(directory, "location / { return 200 served; }")

    def start(self, name: str) -> Program:
        return self.manager.start(INI.format(directory=self.directory, port=self.port, node=self.node_port), name)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    with site.manager, site.node:
        yield site


class Client:
    """Has connected; asks when it is told to."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), HANG_SECONDS)

    def ask(self) -> None:
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")

    def answer(self) -> bytes:
        answer = b""
        while data := self.socket.recv(4096):
            answer += data
        self.socket.close()
        return answer


def test_who_comes_between_two_processes_waits_and_is_served_by_the_next(site: Site) -> None:
    first = site.start("first")
    client = Client(site.port)
    client.ask()
    assert client.answer().endswith(b"served")
    assert first.stop() == 0
    early = Client(site.port)
    early.ask()
    site.start("second")
    late = Client(site.port)
    late.ask()
    assert early.answer().endswith(b"served")
    assert late.answer().endswith(b"served")


def test_who_comes_while_the_old_process_finishes_waits_for_the_next(site: Site) -> None:
    first = site.start("first")
    stays = Client(site.port)
    stays.socket.sendall(b"GET / HTTP/1.1\r\nHo")
    wait_until(lambda: connected(first, site.port), "the old client")
    first.send(signal.SIGTERM)
    wait_until(lambda: "not listening any more; open connections: 1" in first.output, "the stop")
    late = Client(site.port)
    late.ask()
    stays.socket.sendall(b"st: a\r\nConnection: close\r\n\r\n")
    assert stays.answer().endswith(b"served")
    assert first.wait() == 0
    site.start("second")
    assert late.answer().endswith(b"served")


def connected(program: Program, port: int) -> bool:
    """Whether it has accepted somebody on ``port``: the kernel counts who was not, yet."""
    return program.descriptors()["socket"] > 0 and waiting(port) == 0


def waiting(port: int) -> int:
    """How many clients nobody has accepted."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
            return int(fields[4].partition(":")[2], 16)
    raise AssertionError(port)


def test_systemd_hears_that_we_are_ready_reload_live_and_stop(site: Site) -> None:
    program = site.start("first")
    assert site.manager.hear("STATUS=") == "STATUS=1 config, 0 nodes up, 0 down, 1 unknown"
    site.manager.hear("WATCHDOG=1")
    program.send(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in site.manager.hear("RELOADING=1")
    site.manager.hear("READY=1")
    program.send(signal.SIGTERM)
    site.manager.hear("STOPPING=1")
    assert program.wait() == 0


def test_a_hang_is_seen_because_nobody_feeds_the_watchdog(site: Site) -> None:
    program = site.start("first")
    site.manager.hear("WATCHDOG=1")
    os.kill(program.pid, signal.SIGSTOP)
    site.manager.forget()
    with pytest.raises(TimeoutError):
        site.manager.hear("WATCHDOG=1", 1.5)


def test_a_socket_that_nobody_wants_is_told(site: Site) -> None:
    program = site.start("first")
    assert f"listens on {LOOPBACK}:{site.unused_port}, and no config listens there" in program.output
    assert "Traceback" not in program.output
