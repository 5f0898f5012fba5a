"""A client that holds a rate: ``python -m benchmarks.rate_client PORT RATE SECONDS``; prints JSON.

One GET a connection, begun when its time has come whether or not earlier ones were answered (an open loop), and timed
from the moment it was *due* to the end of file: a balancer that stalls is charged for everybody who had to wait.
"""

from __future__ import annotations

import errno
import gc
import json
import select
import socket
import sys
import time
from collections import Counter

REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
PATIENCE = 2.0
"""Seconds after the last request in which answers still count."""
_GONE = select.EPOLLERR | select.EPOLLHUP


class RateClient:
    """The open loop.

    Attributes:
        latencies: Seconds, one for each whole answer.
        lost: How many connections brought no whole answer, by what happened to them: ``refused``, ``unanswered`` (in time),
            or ``wrong`` and the first bytes of the answer.
        seconds: How long it took until the last answer.
    """

    def __init__(self, port: int, rate: float, seconds: float) -> None:
        self.latencies: list[float] = []
        self.lost: Counter[str] = Counter()
        self.seconds = 0.0
        self._address = ("127.0.0.1", port)
        self._gap = 1 / rate
        self._count = int(rate * seconds)
        self._epoll = select.epoll()
        self._open: dict[int, tuple[socket.socket, float, list[bytes]]] = {}

    def run(self) -> None:
        """Send all requests, wait for their answers."""
        begin, started, now = time.perf_counter(), 0, 0.0
        while now < self._count * self._gap + PATIENCE and (started < self._count or self._open):
            now = time.perf_counter() - begin
            while started < self._count and started * self._gap <= now:
                self._start(begin + started * self._gap)
                started += 1
            pause = max(0.0, started * self._gap - (time.perf_counter() - begin)) if started < self._count else 0.1
            # select waits to the microsecond, epoll only to the millisecond, which would send in bursts.
            select.select([self._epoll], [], [], pause)
            for fd, event in self._epoll.poll(0, 64):
                self._happened(fd, event)
        self.lost += Counter(unanswered=len(self._open))
        self.seconds = now

    def _start(self, due: float) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if sock.connect_ex(self._address) not in (0, errno.EINPROGRESS):
            self.lost["refused"] += 1
            sock.close()
            return
        self._open[sock.fileno()] = (sock, due, [])
        self._epoll.register(sock, select.EPOLLOUT)

    def _happened(self, fd: int, event: int) -> None:
        sock, due, pieces = self._open[fd]
        try:
            if event & select.EPOLLOUT and not event & _GONE:
                sock.send(REQUEST)
                self._epoll.modify(fd, select.EPOLLIN)
                return
            piece = sock.recv(65536)
        except OSError:
            piece = b""
        if piece:
            pieces.append(piece)
            return
        del self._open[fd]
        sock.close()
        self._judge(b"".join(pieces), due)

    def _judge(self, answer: bytes, due: float) -> None:
        head, _, body = answer.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 200") and len(body) == 1024:
            self.latencies.append(time.perf_counter() - due)
        else:
            self.lost[f"wrong {answer[:12].decode('latin-1')!r}"] += 1


def main() -> None:
    """Run and print what was seen."""
    port, rate, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    client = RateClient(port, rate, seconds)
    gc.disable()
    client.run()
    print(json.dumps({"latencies": client.latencies, "lost": client.lost, "seconds": client.seconds}))


if __name__ == "__main__":
    main()
