"""Clients that hold connections open: ``python -m benchmarks.idle_client PORT COUNT``.

Opens COUNT connections to an echo, sees a byte come back on each, prints ``{"open": n}`` and holds them until a line
comes in on standard input; then sees another byte come back on each, all still open, and prints ``{"alive": n}``.
"""

from __future__ import annotations

import json
import select
import socket
import sys
from contextlib import suppress

AT_ONCE = 128
"""Connections being opened at a time; the kernel's queue of any listener holds as many."""
PATIENCE = 10.0
"""Seconds without any progress after which what is missing counts as lost."""


class IdleClients:
    """The connections.

    Attributes:
        good: The ones that have echoed in the last round.
    """

    def __init__(self, port: int) -> None:
        self.good: list[socket.socket] = []
        self._address = ("127.0.0.1", port)

    def open(self, count: int) -> int:
        """Open ``count`` connections, ``AT_ONCE`` at a time, until one is lost; how many of them echo."""
        while len(self.good) < count:
            asked = min(AT_ONCE, count - len(self.good))
            good = _echoing(self._connected(asked))
            self.good += good
            if len(good) < asked:
                break
        return len(self.good)

    def again(self) -> int:
        """How many still echo."""
        self.good = _echoing(self.good)
        return len(self.good)

    def _connected(self, count: int) -> list[socket.socket]:
        """``count`` connections, fewer when one cannot be had."""
        clients: list[socket.socket] = []
        with suppress(OSError):
            while len(clients) < count:
                clients.append(socket.create_connection(self._address, PATIENCE))
        return clients


def _echoing(clients: list[socket.socket]) -> list[socket.socket]:
    """Send a byte on each; those on which it came back."""
    waiting, good = {client.fileno(): client for client in clients}, []
    epoll = select.epoll()
    for client in clients:
        _send(client)
        epoll.register(client, select.EPOLLIN)
    while waiting and (events := epoll.poll(PATIENCE)):
        for fd, _ in events:
            epoll.unregister(fd)
            client = waiting.pop(fd)
            if _receive(client):
                good.append(client)
    epoll.close()
    return good


def _send(client: socket.socket) -> None:
    try:
        client.send(b"x")
    except OSError:
        return  # a lost connection is readable, and _receive says so


def _receive(client: socket.socket) -> bool:
    try:
        return client.recv(16) == b"x"
    except OSError:
        return False


def main() -> None:
    """Open, wait for a line, try again."""
    clients = IdleClients(int(sys.argv[1]))
    print(json.dumps({"open": clients.open(int(sys.argv[2]))}), flush=True)
    sys.stdin.readline()
    print(json.dumps({"alive": clients.again()}), flush=True)


if __name__ == "__main__":
    main()
