"""What several of these tests need."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest
from OpenSSL import SSL

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nserved"


class AsksForContext(Protocol):
    def context(self) -> SSL.Context: ...


class TLSServer:
    """Answers one request a connection over TLS, with the contexts that listeners of a balancer would get."""

    def __init__(self, tls: AsksForContext) -> None:
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                accepted, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        with accepted, contextlib.suppress(SSL.Error, OSError):
            connection = SSL.Connection(self._tls.context(), accepted)
            connection.set_accept_state()
            try:
                self._answer(connection)
            finally:
                # A client that just goes away has not broken its session, but OpenSSL forgets it unless it is told so.
                connection.set_shutdown(SSL.SENT_SHUTDOWN | SSL.RECEIVED_SHUTDOWN)

    def _answer(self, connection: SSL.Connection) -> None:
        request = b""
        while not request.endswith((b"\r\n\r\n", b"\n\n")):
            request += connection.recv(4096)
        connection.sendall(ANSWER)
        connection.shutdown()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def tls_server() -> Iterator[Callable[[AsksForContext], int]]:
    """Serves over TLS until the test ends; answers the port on 127.0.0.1."""
    servers: list[TLSServer] = []

    def serve(tls: AsksForContext) -> int:
        servers.append(TLSServer(tls))
        return servers[-1].port

    yield serve
    for server in servers:
        server.close()
