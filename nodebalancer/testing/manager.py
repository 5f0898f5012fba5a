"""What systemd is to a balancer: it holds the sockets, starts it with them, and hears how it is."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer

BECOME = """\
import os, sys
count = int(sys.argv[1])
for number, fd in enumerate(map(int, sys.argv[2:2 + count])):
    os.dup2(fd, 3 + number)
pid = str(os.getpid())
os.environ.update(LISTEN_PID=pid, LISTEN_FDS=sys.argv[1], LISTEN_FDNAMES=":".join(["nodebalancer.socket"] * count))
os.environ.update(NOTIFY_SOCKET=sys.argv[2 + count], WATCHDOG_USEC="1000000", WATCHDOG_PID=pid)
os.execv(sys.argv[3 + count], sys.argv[3 + count:])
"""
"""Becomes a program, with descriptors and environment as systemd passes them."""


class Manager:
    """Holds listening sockets over the lives of several balancers. Use it in a ``with`` statement, which ends them.

    Args:
        directory: For their settings and output.
        ports: Where it listens on loopback.
    """

    def __init__(self, directory: Path, ports: Iterable[int]) -> None:
        self._directory = directory
        self._sockets = [socket.create_server((LOOPBACK, port), backlog=4096) for port in ports]
        self._programs: list[Program] = []
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(directory / "notify"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for program in self._programs:
            program.kill()
        for opened in (*self._sockets, self._notified):
            opened.close()

    def start(self, ini: str, name: str) -> Program:
        """A balancer with these settings, that has said that it is ready."""
        fds = [opened.fileno() for opened in self._sockets]
        # What they become in the new process must not be one of them.
        assert min(fds) >= 3 + len(fds)
        under = [sys.executable, "-c", BECOME, str(len(fds)), *map(str, fds), str(self._directory / "notify")]
        self._programs.append(balancer(self._directory, ini, [], name=name, under=under, descriptors=fds))
        self.hear("READY=1")
        return self._programs[-1]

    def hear(self, what: str, seconds: float = HANG_SECONDS) -> str:
        """The next datagram that has ``what`` in it.

        Raises:
            TimeoutError: Nothing at all came for ``seconds``.
        """
        self._notified.settimeout(seconds)
        while what not in (heard := self._notified.recv(1000).decode()):
            pass
        return heard

    def forget(self) -> None:
        """Hear nothing of what was sent so far."""
        self._notified.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self._notified.recv(1000):
                pass
