"""Under load for a while: no error, no growth; and a node that is killed meanwhile."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer, free_port, nginx, wait_until

pytestmark = [pytest.mark.proof, pytest.mark.integration]

SECONDS = 60
GROWTH_BYTES = 4 * 2**20

NODE = 'location / {{ return 200 "{name}"; }}'

INI = """\
[nodebalancer www]
listen = 127.0.0.1
max_connections = 1000

[config www/web]
port = {port}

[nodes www/web]
one = 127.0.0.1:{one}
two = 127.0.0.1:{two}
"""


@attrs.frozen
class Site:
    port: int
    balancer: Program
    node: Program
    node_port: int
    """The one that is killed."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        one, one_port = nginx(tmp_path, NODE.format(name="one"), name="one", workers=2)
        stack.enter_context(one)
        two, two_port = nginx(tmp_path, NODE.format(name="two"), name="two")
        stack.enter_context(two)
        port = free_port()
        program = balancer(tmp_path, INI.format(port=port, one=one_port, two=two_port), [port])
        stack.enter_context(program)
        yield Site(port, program, one, one_port)


def wrk(port: int, seconds: int) -> str:
    argv = ["wrk", "-t1", "-c64", f"-d{seconds}s", "-H", "Connection: close", "--latency", f"http://{LOOPBACK}:{port}/"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_a_minute_of_load_has_no_error_and_no_growth(site: Site, tell: Callable[[str], None]) -> None:
    wrk(site.port, 5)
    before = site.balancer.resident_bytes()
    told = wrk(site.port, SECONDS)
    growth = site.balancer.resident_bytes() - before
    tell(f"{told}  memory {before / 2**20:.1f} MiB, then {growth / 2**20:+.2f} MiB")
    assert "Socket errors" not in told
    assert "Non-2xx" not in told
    requests = re.search(r"(\d+) requests in", told)
    assert requests is not None
    assert int(requests[1]) > 0
    assert growth < GROWTH_BYTES
    assert "Traceback" not in site.balancer.output


class Clients:
    """Clients that ask one request after the other until they are told to stop.

    Attributes:
        served: Requests that were answered with 200, whole.
        failed: Requests that were not, and how.
    """

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.served = 0
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask_on(self) -> None:
        while not self._stop.is_set():
            failure = self._ask()
            with self._lock:
                if failure:
                    self.failed.append(failure)
                else:
                    self.served += 1

    def _ask(self) -> str:
        client = http.client.HTTPConnection(LOOPBACK, self.port, timeout=HANG_SECONDS)
        try:
            client.request("GET", "/")
            answer = client.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as e:
            return type(e).__name__
        finally:
            client.close()
        return "" if answer.status == 200 else str(answer.status)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def connections_to(port: int) -> int:
    """How many connections to ``port`` have been made and not ended by either side, as the kernel tells."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return sum(field[2].endswith(f":{port:04X}") and field[3] == "01" for field in fields)


def test_a_node_killed_under_load_costs_only_requests_it_had_been_given(
    site: Site, tell: Callable[[str], None]
) -> None:
    """The node is first stopped (SIGSTOP), so that what it has been given can be counted, and then killed with its workers.

    Every client ends up waiting for the stopped node; a request is written as soon as its connection is made.
    """
    clients = Clients(site.port, 16)
    try:
        wait_until(lambda: clients.served > 500, "the load")
        workers = site.node.children()
        for pid in (site.node.pid, *workers):
            os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: connections_to(site.node_port) == 16, "every client to wait")
        given = connections_to(site.node_port)
        before = clients.served
        site.node.kill()
        wait_until(lambda: clients.served > before + 500, "the other node to serve them all")
    finally:
        clients.stop()
    tell(f"{given} requests given to the killed node, {len(clients.failed)} failed, {clients.served} served")
    assert len(clients.failed) <= given
    assert "Traceback" not in site.balancer.output


def test_a_node_killed_in_full_flight_costs_at_most_one_request_a_client(
    site: Site, tell: Callable[[str], None]
) -> None:
    clients = Clients(site.port, 16)
    try:
        wait_until(lambda: clients.served > 500, "the load")
        before = clients.served
        site.node.kill()
        wait_until(lambda: clients.served > before + 500, "the other node to serve them all")
    finally:
        clients.stop()
    tell(f"killed in flight: {len(clients.failed)} failed {sorted(set(clients.failed))}, {clients.served} served")
    assert len(clients.failed) <= 16
    assert "Traceback" not in site.balancer.output
