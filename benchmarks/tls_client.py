"""A client that asks over TLS: ``python -m benchmarks.tls_client PORT SECONDS resumed|full``; prints JSON.

One GET a connection, 64 at a time, as ``wrk`` does for http; wrk cannot say how a handshake went. ``resumed`` does one full
handshake and comes back with its session in all others; ``full`` never comes back with one. All is TLS 1.3.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import ssl
import sys
import time
from collections import Counter

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
AT_ONCE = 64
PATIENCE = 5.0
"""Seconds after the last request in which answers still count."""


def client_context() -> ssl.SSLContext:
    """TLS 1.3 and http/1.1, no questions asked about the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


class Exchange:
    """One connection, its handshake, request and answer."""

    __slots__ = ("answer", "sent", "tls")

    def __init__(self, context: ssl.SSLContext, port: int, session: ssl.SSLSession | None) -> None:
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        sock.setblocking(False)
        # As curl and browsers do, or the request would wait until the end of the handshake is acknowledged.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = context.wrap_socket(sock, do_handshake_on_connect=False, session=session)
        self.sent = False
        self.answer: list[bytes] = []

    def step(self) -> bool:
        """Go on as far as possible; whether the answer has ended, in good order.

        Raises:
            OSError: The connection was lost, or the other side said no; also when TLS did not end in good order.
        """
        try:
            if not self.sent:
                self.tls.do_handshake()
                self.tls.send(REQUEST)
                self.sent = True
            while piece := self.tls.recv(65536):
                self.answer.append(piece)
        except ssl.SSLWantReadError:
            return False
        return True

    @property
    def good(self) -> bool:
        """Whether this is the node's answer."""
        head, _, body = b"".join(self.answer).partition(b"\r\n\r\n")
        return head.startswith(b"HTTP/1.1 200") and len(body) == 1024


class TLSClient:
    """The closed loop.

    Attributes:
        count: Answers that were whole.
        resumed: How many of them after a handshake that was resumed.
        lost: How many brought no whole answer, by what happened to them.
        seconds: How long it took until the last answer.
    """

    def __init__(self, port: int, *, resume: bool) -> None:
        self.count = self.resumed = 0
        self.lost: Counter[str] = Counter()
        self.seconds = 0.0
        self._port = port
        self._resume = resume
        self._context = client_context()
        self._session: ssl.SSLSession | None = None
        self._epoll = select.epoll()
        self._open: dict[int, Exchange] = {}

    def run(self, seconds: float) -> None:
        """Ask for so long, then wait for what is still to come."""
        begin, now = time.perf_counter(), 0.0
        while now < seconds or (self._open and now < seconds + PATIENCE):
            # One at first: its session is what the others come back with.
            wanted = 0 if now >= seconds else AT_ONCE if self.count else 1
            for _ in range(wanted - len(self._open)):
                self._start()
            for fd, _ in self._epoll.poll(0.1, AT_ONCE):
                self._go_on(fd)
            now = time.perf_counter() - begin
        self.lost += Counter(unanswered=len(self._open))
        self.seconds = now

    def _start(self) -> None:
        try:
            exchange = Exchange(self._context, self._port, self._session)
        except OSError as error:
            self.lost[type(error).__name__] += 1
            return
        fd = exchange.tls.fileno()
        self._open[fd] = exchange
        self._epoll.register(fd, select.EPOLLIN)
        self._go_on(fd)

    def _go_on(self, fd: int) -> None:
        exchange = self._open[fd]
        try:
            if not exchange.step():
                return
        except OSError as error:
            self.lost[type(error).__name__] += 1
        else:
            self._judge(exchange)
        del self._open[fd]
        exchange.tls.close()

    def _judge(self, exchange: Exchange) -> None:
        if not exchange.good:
            self.lost[f"wrong {b''.join(exchange.answer)[:12].decode('latin-1')!r}"] += 1
            return
        self.count += 1
        self.resumed += bool(exchange.tls.session_reused)
        if self._resume and self._session is None:
            self._session = exchange.tls.session


def main() -> None:
    """Run and print what was seen."""
    client = TLSClient(int(sys.argv[1]), resume=sys.argv[3] == "resumed")
    gc.disable()
    client.run(float(sys.argv[2]))
    print(
        json.dumps({"count": client.count, "resumed": client.resumed, "lost": client.lost, "seconds": client.seconds})
    )


if __name__ == "__main__":
    main()
