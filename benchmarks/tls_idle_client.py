"""Clients that shake hands and say nothing: ``python -m benchmarks.tls_idle_client PORT COUNT``.

As ``idle_client``, but over TLS and without an echo: ``open`` counts handshakes that were done, ``alive`` those that were answered
when they asked at last.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys

from benchmarks.tls_client import PATIENCE, REQUEST, client_context


class IdleTLSClients:
    """The connections.

    Attributes:
        good: Those whose handshake is done.
    """

    def __init__(self, port: int) -> None:
        self.good: list[ssl.SSLSocket] = []
        self._address = ("127.0.0.1", port)
        self._context = client_context()

    def open(self, count: int) -> int:
        """Open ``count`` connections, one after the other, until one is lost; how many there are."""
        try:
            while len(self.good) < count:
                sock = socket.create_connection(self._address, PATIENCE)
                self.good.append(self._context.wrap_socket(sock))
        except OSError:
            pass
        return len(self.good)

    def answered(self) -> int:
        """How many get an answer to a request."""
        return sum(map(_is_answered, self.good))


def _is_answered(client: ssl.SSLSocket) -> bool:
    try:
        client.sendall(REQUEST)
        return client.recv(65536).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def main() -> None:
    """Open, wait for a line, ask."""
    clients = IdleTLSClients(int(sys.argv[1]))
    print(json.dumps({"open": clients.open(int(sys.argv[2]))}), flush=True)
    sys.stdin.readline()
    print(json.dumps({"alive": clients.answered()}), flush=True)


if __name__ == "__main__":
    main()
