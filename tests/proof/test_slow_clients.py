# mypy: allow-untyped-decorators
# pytest-twisted has no annotations.
"""Four thousand slow clients of every kind: others are answered at once, and each of the slow ones ends as what it is.

The balancer runs in the process of the test, so that its counters can be asked.
"""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.control.plane import ControlPlane
from nodebalancer.process.limits import raise_descriptors
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.proxy.live import LiveConfig
from nodebalancer.settings.reading import load
from nodebalancer.testing.nodes import LOOPBACK, curl, free_port, nginx, wait_until
from nodebalancer.transport.engine_epoll import EpollEngine

pytestmark = [pytest.mark.proof, pytest.mark.integration]

CONNECTIONS = 4000

AT_ONCE_SECONDS = 0.25
"""Within which 19 of 20 others are answered. The rest come in the first seconds, when node, clients and balancer share the
processors of one machine, and 4,000 responses fill what its kernel has for TCP."""

INI = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = {port}
check = none
check_passive = false

[nodes www/web]
one = 127.0.0.1:{node}
"""

SLOW = {
    # a field every five seconds, and never the end of the head
    "-H": (["-r", "1000", "-i", "5", "-l", "20"], Outcome.CLIENT_TIMED_OUT),
    # a few bytes of the body every five seconds
    "-B": (["-r", "1000", "-i", "5", "-x", "10", "-s", "100000", "-l", "90"], Outcome.CLIENT_TIMED_OUT),
    # thousands of overlapping ranges in one field
    "-R": (["-r", "1000", "-a", "5", "-b", "3000", "-l", "10"], Outcome.CLIENT_ERROR),
    # 32 bytes of a large response every five seconds, with a small window; they come slower, since each fills the kernel's
    # buffers first, and that is work for the node
    "-X": (["-r", "200", "-w", "512", "-y", "1024", "-n", "5", "-z", "32", "-l", "110"], Outcome.CLIENT_TIMED_OUT),
}


@pytest.fixture
def site(tmp_path: Path, reactor: Any) -> Iterator[tuple[int, LiveConfig]]:
    """The port of a balancer before nginx, and its config at work."""
    raise_descriptors(3 * CONNECTIONS)
    with (tmp_path / "big").open("wb") as file:
        file.truncate(2**26)
    (tmp_path / "page").write_text("hello")
    server = f"root {tmp_path}; location = /upload {{ proxy_pass http://127.0.0.1:1/; }}"
    node, node_port = nginx(tmp_path, server, workers=3)
    port = free_port()
    listeners = Listeners(EpollEngine(reactor))
    with node:
        pytest_twisted.blockon(ControlPlane((listeners,)).want(load(INI.format(port=port, node=node_port), "proof")))
        try:
            yield port, listeners.configs["www", "web"]
        finally:
            pytest_twisted.blockon(listeners.stop(1))


def slowhttptest(mode: str, url: str, options: list[str]) -> str:
    """What it prints; it ends after ``-l`` seconds, or when all its connections were closed."""
    argv = ["slowhttptest", mode, "-c", str(CONNECTIONS), "-p", "5", "-u", url, *options]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=200).stdout


def ask(url: str, times: list[float], over: threading.Event) -> None:
    """Ask for a page four times a second, and write down how long it took, until it is ``over``."""
    while not over.wait(0.25):
        times.append(float(curl("-o", "/dev/null", "-w", "%{http_code} %{time_total}", url).removeprefix("200 ")))


@pytest.mark.parametrize("mode", SLOW)
@pytest_twisted.ensureDeferred
async def test_slow_clients_harm_nobody(site: tuple[int, LiveConfig], mode: str, tell: Callable[[str], None]) -> None:
    port, live = site
    options, expected = SLOW[mode]
    path = {"-B": "upload", "-X": "big"}.get(mode, "page")
    times: list[float] = []
    over = threading.Event()
    asking = deferToThread(ask, f"http://{LOOPBACK}:{port}/page", times, over)
    began_at = time.monotonic()
    await deferToThread(slowhttptest, mode, f"http://{LOOPBACK}:{port}/{path}", options)
    seconds = time.monotonic() - began_at
    over.set()
    await asking
    # The tool ends when it has seen the last close; that all have ended is known here a moment later.
    await deferToThread(wait_until, lambda: live.counters.outcomes[expected] >= CONNECTIONS, f"{CONNECTIONS} ends")
    ended = {one.word: count for one in Outcome if (count := live.counters.outcomes[one])}
    soon = statistics.quantiles(times, n=20)[-1]
    tell(
        f"slowhttptest {mode}, {CONNECTIONS} connections, {seconds:.0f} s: half of {len(times)} others were "
        f"answered within {statistics.median(times) * 1000:.1f} ms, 19 of 20 within {soon * 1000:.1f} ms, all within "
        f"{max(times) * 1000:.0f} ms; ended as {ended}"
    )
    assert live.counters.outcomes[expected] >= CONNECTIONS
    assert soon < AT_ONCE_SECONDS
