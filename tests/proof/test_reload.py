"""Reloads and restarts under load: not one failed request, and how long a new client waits at most."""

from __future__ import annotations

import os
import re
import signal
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from nodebalancer.testing.manager import Manager
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer, free_port, nginx, wait_until

pytestmark = [pytest.mark.proof, pytest.mark.integration]

RELOADS = 200
SECONDS = 60

DOWNLOAD_SECONDS = int(os.environ.get("PROOF_DOWNLOAD_SECONDS", "90"))
"""How long the download takes that is to survive; 300 shows more and takes five minutes."""

RATE = 64 * 1024

NODE = """\
location / {{ return 200 "{name}"; }}
location /big {{ root {directory}; limit_rate {rate}; }}
"""

INI = """\
[service]
state_dir = {directory}
grace_period = 5

[nodebalancer www]
listen = 127.0.0.1
max_connections = 1000

[config www/plain]
port = {plain}
check_interval = 2
check_timeout = 1

[nodes www/plain]
{nodes}

[config www/secure]
port = {secure}
protocol = https
ssl_cert = {directory}/www.pem
ssl_key = {directory}/www.key

[nodes www/secure]
{nodes}
"""


class Site:
    """Three nodes, of which the third comes and goes, and two certificates that take turns."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        (directory / "big").write_bytes(os.urandom(RATE * DOWNLOAD_SECONDS))
        self.ports = []
        for name in ("one", "two", "three"):
            node = NODE.format(name=name, directory=directory, rate=RATE)
            program, port = nginx(directory, node, name=name)
            stack.enter_context(program)
            self.ports.append(port)
        self.plain, self.secure = free_port(), free_port()
        self.certificates = [trustme.CA().issue_cert("www.example") for _ in range(2)]

    def ini(self, number: int) -> str:
        """The settings of the reload with that number; the certificate is put where they name it."""
        made = self.certificates[number % 2]
        (self.directory / "www.key").touch(mode=0o600)
        (self.directory / "www.key").write_bytes(made.private_key_pem.bytes())
        (self.directory / "www.pem").write_bytes(b"".join(pem.bytes() for pem in made.cert_chain_pems))
        one, two, three = self.ports
        nodes = [f"one = {LOOPBACK}:{one} weight={1 + number % 7}", f"two = {LOOPBACK}:{two}"]
        if number % 2:
            nodes.append(f"three = {LOOPBACK}:{three}")
        return INI.format(directory=self.directory, plain=self.plain, secure=self.secure, nodes="\n".join(nodes))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


class Newcomer:
    """A new connection after the other, each with one request, and how long each took."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.waits: list[float] = []
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._come)
        self._thread.start()

    def _come(self) -> None:
        while not self._stop.wait(0.005):
            began = time.monotonic()
            try:
                self._ask()
            except (OSError, AssertionError) as e:
                self.failed.append(repr(e))
            self.waits.append(time.monotonic() - began)

    def _ask(self) -> None:
        with socket.create_connection((LOOPBACK, self.port), HANG_SECONDS) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := client.recv(4096):
                answer += data
            assert answer.startswith(b"HTTP/1.1 200"), answer[:50]

    def stop(self) -> str:
        self._stop.set()
        self._thread.join()
        waits = sorted(self.waits)
        return (
            f"{len(waits)} new connections, {len(self.failed)} failed, median {statistics.median(waits) * 1e3:.1f} ms, "
            f"99 % {waits[len(waits) * 99 // 100] * 1e3:.1f} ms, longest {waits[-1] * 1e3:.1f} ms"
        )


def wrk(url: str, connections: int, seconds: float) -> subprocess.Popen[str]:
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-H", "Connection: close", url]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def figures(told: str) -> tuple[int, int]:
    """Requests, and failures of any kind."""
    requests = re.search(r"(\d+) requests in", told)
    assert requests is not None
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
    others = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
    return int(requests[1]), sum(map(int, errors.groups() if errors else ())) + int(others[1] if others else 0)


def reload(program: Program, file: Path, ini: str, number: int) -> float:
    """Reload and wait until the log says so; how long that took in seconds, to a hundredth."""
    file.write_text(ini)
    began = time.monotonic()
    program.send(signal.SIGHUP)
    wait_until(lambda: program.output.count("SIGHUP: reloaded") == number, f"reload {number}")
    return time.monotonic() - began


def test_reloads_under_load_fail_no_request_and_a_download_survives_them(
    site: Site, tell: Callable[[str], None]
) -> None:
    file = site.directory / "balancer.ini"
    with balancer(site.directory, site.ini(0), [site.plain, site.secure]) as program:
        download = subprocess.Popen(
            ["curl", "-sS", "-o", str(site.directory / "got"), f"http://{LOOPBACK}:{site.plain}/big"]
        )
        newcomer = Newcomer(site.plain)
        time.sleep(5)
        quiet = newcomer.stop()
        load = [
            wrk(f"http://{LOOPBACK}:{site.plain}/", 32, SECONDS + 22),
            wrk(f"https://{LOOPBACK}:{site.secure}/", 8, SECONDS + 22),
        ]
        newcomer = Newcomer(site.plain)
        time.sleep(15)
        loaded = newcomer.stop()
        newcomer = Newcomer(site.plain)
        began = time.monotonic()
        took = []
        for number in range(1, RELOADS + 1):
            took.append(reload(program, file, site.ini(number), number))
            time.sleep(max(0.0, began + number * SECONDS / RELOADS - time.monotonic()))
        seconds = time.monotonic() - began
        during = newcomer.stop()
        told = [figures(each.communicate()[0]) for each in load]
        assert download.wait(DOWNLOAD_SECONDS + HANG_SECONDS) == 0
        tell(
            f"{RELOADS} reloads in {seconds:.1f} s, the longest {max(took) * 1e3:.0f} ms\n"
            f"  http: {told[0][0]} requests, {told[0][1]} failed; https: {told[1][0]} requests, {told[1][1]} failed\n"
            f"  idle: {quiet}\n  under load: {loaded}\n  during the reloads: {during}\n"
            f"  a download of {DOWNLOAD_SECONDS} s is whole"
        )
        assert [failed for _, failed in told] == [0, 0]
        assert newcomer.failed == []
        assert (site.directory / "got").read_bytes() == (site.directory / "big").read_bytes()
        assert seconds < SECONDS * 1.1
        assert "Traceback" not in program.output


def test_restarts_with_held_sockets_refuse_nobody(site: Site, tell: Callable[[str], None]) -> None:
    """As ``systemctl restart`` with the units of etc/: stop, then start, while clients come."""
    with Manager(site.directory, [site.plain, site.secure]) as manager:
        program = manager.start(site.ini(0), "balancer-0")
        newcomer = Newcomer(site.plain)
        stops, starts = [], []
        for number in range(1, 6):
            time.sleep(1)
            began = time.monotonic()
            assert program.stop() == 0
            stopped = time.monotonic()
            program = manager.start(site.ini(number), f"balancer-{number}")
            stops.append(stopped - began)
            starts.append(time.monotonic() - stopped)
        time.sleep(1)
        told = newcomer.stop()
        tell(f"5 restarts, stop at most {max(stops):.2f} s, start {max(starts):.2f} s: {told}")
        assert newcomer.failed == []
