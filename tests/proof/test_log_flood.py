"""A flood of events, and of what would be events: the log stays short and complete, and traffic goes on."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import socket
import time
from collections import Counter
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from nodebalancer.proxy.refusals import LINES_A_SECOND
from nodebalancer.testing.nodes import LOOPBACK, balancer, free_port, nginx, wait_until

pytestmark = [pytest.mark.proof, pytest.mark.integration]

SECONDS = 10.0
CLIENTS = 2
AT_ONCE_SECONDS = 0.25
"""Within which others are answered, 19 of 20 of them: those who flood us share the processors with everybody."""

REFUSED = [
    b'GET /"\\ HTTP/9.9\r\n\r\n',
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nBad\x1bName: x\r\n\r\n",
]

INI = """\
[service]
log_format = json

[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = {port}
check = none

[nodes www/web]
one = 127.0.0.1:{node}
"""


def exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection((LOOPBACK, port), 10) as client:
        client.sendall(request)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
        return answer


def flood(port: int, over: Event, count: multiprocessing.Queue[int]) -> None:
    """Send garbage as fast as it is answered; how many times it was."""
    sent = 0
    while not over.is_set():
        for request in REFUSED:
            with contextlib.suppress(ConnectionError):
                sent += exchange(port, request).startswith(b"HTTP/1.1 ")
    count.put(sent)


def test_garbage_from_clients_is_logged_at_a_bounded_rate_all_of_it_is_counted_and_others_are_served(
    tmp_path: Path,
) -> None:
    one, node = nginx(tmp_path, "location / { return 200 served; }")
    over = multiprocessing.Event()
    queue: multiprocessing.Queue[int] = multiprocessing.Queue()
    with one, balancer(tmp_path, INI.format(port=(port := free_port()), node=node), [port]) as program:
        attackers = [multiprocessing.Process(target=flood, args=(port, over, queue)) for _ in range(CLIENTS)]
        for attacker in attackers:
            attacker.start()
        took = []
        begun = time.monotonic()
        while (at := time.monotonic()) < begun + SECONDS:
            assert exchange(port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").endswith(b"served")
            took.append(time.monotonic() - at)
            time.sleep(0.02)
        over.set()
        sent = sum(queue.get(timeout=30) for _ in attackers)
        for attacker in attackers:
            attacker.join()

        def told() -> Counter[str]:
            counts: Counter[str] = Counter()
            for line in program.output.splitlines():
                if not line.startswith("warning: "):
                    said = json.loads(line)
                    if said["message"].startswith("[config www/web] refused"):
                        counts["lines"] += 1
                        counts["requests"] += said.get("count", 1)
            return counts

        wait_until(lambda: told()["requests"] >= sent, "the last count")
        assert program.stop() == 0
    counts = told()
    took.sort()
    print(  # noqa: T201 figures for make proof
        f"{sent} refused requests in {SECONDS:.0f} s made {counts['lines']} lines; "
        f"{len(took)} others took {took[len(took) // 2] * 1000:.1f} ms in the middle, {took[-1] * 1000:.1f} ms at most"
    )
    # A client that was answered and then reset has not counted itself.
    assert counts["requests"] >= sent > 1000
    assert counts["lines"] <= len(REFUSED) * (LINES_A_SECOND + 1) * (SECONDS + 3)
    assert took[len(took) * 19 // 20] < AT_ONCE_SECONDS
