"""A node that sends back what it gets: ``python -m benchmarks.echo_node PORT``."""

from __future__ import annotations

import select
import socket
import sys


def serve(listener: socket.socket) -> None:
    """Echo on every connection until its client closes it; for ever."""
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    while True:
        for fd, _ in epoll.poll():
            if fd == listener.fileno():
                client, _ = listener.accept()
                clients[client.fileno()] = client
                epoll.register(client, select.EPOLLIN)
            elif not _echoed(clients[fd]):
                clients.pop(fd).close()


def _echoed(client: socket.socket) -> bool:
    try:
        data = client.recv(4096)
        return bool(data) and client.send(data) > 0
    except OSError:
        return False


def main() -> None:
    """Listen on 127.0.0.1 and serve."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096) as listener:
        serve(listener)


if __name__ == "__main__":
    main()
