"""An upload of gigabytes through one port is not felt on another, nor by the clock.

Small requests are sent at a fixed rate, timed from the moment they were due, in short rounds: in one the upload rests, in the
next it goes at the speed of a fast network, in the third as fast as it can, and so on. Neighbouring rounds are compared. Where
we may, balancer, small clients and their node go before everybody else on the machine, so that it is not others who are measured.

Without a network in between the kernel itself is the bottleneck: it queues the packets of small requests behind those of
the upload, for HAProxy as for us. So what holds there is a bound in milliseconds, far below what one greedy connection would cost.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, ROOT, Program, balancer, free_port, nginx
from nodebalancer.transport.engine import TICK_SECONDS

pytestmark = [pytest.mark.proof, pytest.mark.integration]

UPLOAD_BYTES = 4 << 30

RATE = 300
"""Small requests a second: far from what a balancer can do, so that only waiting is seen."""

ROUND_SECONDS = 2.0
ROUNDS = 5
ATTEMPTS = 3

NETWORK_BYTES = 1 << 30
"""A second, as good as all of a link of 10 Gbit/s."""

RATIO_MAX = 3.0
"""What p99 may be at that speed, measured by what it is without the upload."""

FLOOD_SECONDS = 0.025
"""What it may be when the upload is not slowed down by anything."""

HEAD_SECONDS = 1
"""``timeout_request``: how long a client has for its head."""

LATE_SECONDS = 0.5
"""What the test's own threads may come late on a busy machine."""

INI = """\
[nodebalancer www]
listen = 127.0.0.1
max_connections = 1000

[config www/small]
port = {small}
timeout_request = 1

[nodes www/small]
web = 127.0.0.1:{web}

[config www/bulk]
port = {bulk}
protocol = {protocol}

[nodes www/bulk]
sink = 127.0.0.1:{sink}
"""

PIECE = bytes(1 << 18)

FIRST = ["chrt", "--rr", "1"]
"""Runs a command before everybody else, for who has the right to."""


def may_be_first() -> bool:
    return subprocess.run([*FIRST, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def let_be_first(program: Program) -> None:
    for pid in (program.pid, *program.children()):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


class Sink:
    """A node that swallows what comes as fast as the kernel can throw it away.

    Attributes:
        swallowed: Bytes so far.
    """

    def __init__(self) -> None:
        self.swallowed = 0
        self._listening = socket.create_server((LOOPBACK, free_port()))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listening.accept()[0]
            except OSError:
                return
            room = bytearray(len(PIECE))
            # In the end it is reset, since the upload has none.
            with connection, contextlib.suppress(ConnectionResetError):
                while size := connection.recv_into(room, len(room), socket.MSG_TRUNC):
                    self.swallowed += size

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()


class Upload:
    """One upload without end, at a speed that can be changed.

    Args:
        port: Of the balancer.
        head: What is sent first.
        before: What is sent before each piece, if the body is in chunks, and after it.
    """

    def __init__(self, port: int, head: bytes, before: bytes, after: bytes) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), HANG_SECONDS)
        self._socket.sendall(head)
        self._piece = before + PIECE + after
        self._speed = 0.0
        self._goes = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._pour)
        self._thread.start()

    def _pour(self) -> None:
        due = 0.0
        while self._goes.wait() and not self._over:
            self._socket.sendall(self._piece)
            if self._speed == math.inf:
                continue
            # What was not sent in time is not made up for in a burst.
            due = max(due, time.monotonic() - 0.01) + len(PIECE) / self._speed
            time.sleep(max(0, due - time.monotonic()))

    def go(self, speed: float) -> None:
        """``speed`` is bytes a second, as far as the balancer takes them."""
        self._speed = speed
        self._goes.set()

    def rest(self) -> None:
        self._goes.clear()

    def close(self) -> None:
        self._over = True
        self._goes.set()
        self._thread.join()
        self._socket.close()


@attrs.frozen
class Site:
    """A balancer with an upload through it.

    Attributes:
        small: The port for small requests.
        first: What stands before the command of their client.
    """

    balancer: Program
    small: int
    sink: Sink
    upload: Upload
    first: list[str]


WAYS = {
    "tcp": ("tcp", b"", b"", b""),
    "http": ("http", b"Content-Length: %d\r\n" % (1 << 40), b"", b""),
    "http in chunks": ("http", b"Transfer-Encoding: chunked\r\n", b"%x\r\n" % len(PIECE), b"\r\n"),
}


@pytest.fixture(params=WAYS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    protocol, framing, before, after = WAYS[request.param]
    with ExitStack() as stack:
        (tmp_path / "index.html").write_bytes(bytes(1024))
        node, web = nginx(tmp_path, f"root {tmp_path};")
        stack.enter_context(node)
        sink = Sink()
        stack.callback(sink.close)
        small, bulk = free_port(), free_port()
        ini = INI.format(small=small, bulk=bulk, protocol=protocol, web=web, sink=sink.port)
        first = FIRST if may_be_first() else []
        if first:
            let_be_first(node)
        program = stack.enter_context(balancer(tmp_path, ini, [small, bulk], engine="epoll", under=first))
        upload = Upload(bulk, b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n", before, after)
        stack.callback(upload.close)
        yield Site(program, small, sink, upload, first)


def p99(site: Site) -> float:
    """Of the small requests in one round, in seconds; every one of them has to be answered."""
    client = [sys.executable, "-m", "benchmarks.rate_client", str(site.small), str(RATE), str(ROUND_SECONDS)]
    argv = [*site.first, *client]
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=HANG_SECONDS)
    seen = json.loads(done.stdout)
    assert seen["lost"] == {}
    return float(statistics.quantiles(seen["latencies"], n=100)[-1])


def slow_head(port: int) -> float:
    """Seconds until a client that does not finish its head gets its 408: a timer's work, seen from outside."""
    with socket.create_connection((LOOPBACK, port), HANG_SECONDS) as client:
        client.sendall(b"GET / HT")
        began = time.monotonic()
        assert client.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 408"
        return time.monotonic() - began


@attrs.frozen
class Round:
    """How it was beside the upload.

    Attributes:
        p99: Seconds.
        late: Seconds after its time at which the 408 came.
        speed: Bytes that were uploaded in a second.
    """

    p99: float
    late: float
    speed: float

    def __str__(self) -> str:
        return f"{self.p99 * 1e3:.2f} ms at {self.speed / 2**30:.2f} GiB/s (a slow head: {self.late:.2f} s late)"


def beside(site: Site, speed: float) -> Round:
    before = site.sink.swallowed
    site.upload.go(speed)
    with ThreadPoolExecutor() as pool:
        head = pool.submit(slow_head, site.small)
        seen = p99(site)
        late = head.result() - HEAD_SECONDS
    site.upload.rest()
    return Round(seen, late, (site.sink.swallowed - before) / ROUND_SECONDS)


def test_an_upload_delays_neither_small_requests_nor_timers(site: Site, tell: Callable[[str], None]) -> None:
    p99(site)  # warms everything up
    for _ in range(ATTEMPTS):
        rounds = [(p99(site), beside(site, NETWORK_BYTES), beside(site, math.inf)) for _ in range(ROUNDS)]
        for without, network, flood in rounds:
            tell(f"p99 {without * 1e3:.2f} ms without, {network}, {flood}")
        ratio = statistics.median(network.p99 / without for without, network, _ in rounds)
        flooded = statistics.median(flood.p99 for *_, flood in rounds)
        if ratio <= RATIO_MAX and flooded <= FLOOD_SECONDS:
            break
    tell(
        f"median {ratio:.2f} times, {flooded * 1e3:.2f} ms in the flood, {site.sink.swallowed / 2**30:.1f} GiB uploaded"
    )
    late = [one.late for _, *with_upload in rounds for one in with_upload]
    assert site.sink.swallowed >= UPLOAD_BYTES
    assert ratio <= RATIO_MAX
    assert flooded <= FLOOD_SECONDS
    assert min(late) >= 0
    assert statistics.median(late) <= TICK_SECONDS + LATE_SECONDS
    assert "Traceback" not in site.balancer.output
