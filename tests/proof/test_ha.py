"""Two balancers, keepalived and one virtual address: the one that serves goes away, and clients go on (R33).

Each machine is a network of its own on one Ethernet; ``etc/keepalived/keepalived.conf`` is used as it is shipped.
"""

from __future__ import annotations

import http.client
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from nodebalancer.testing.namespaces import Segment, available
from nodebalancer.testing.nodes import ROOT, Program, balancer, nginx, wait_until

pytestmark = [
    pytest.mark.proof,
    pytest.mark.integration,
    pytest.mark.skipif(not available(), reason="needs the right to make networks"),
]

VIRTUAL = "192.0.2.10"
BALANCERS = {"lb-1": "192.0.2.2", "lb-2": "192.0.2.3"}
NODES = {"node-1": "192.0.2.11", "node-2": "192.0.2.12"}
CLIENTS = [f"192.0.2.{number}" for number in range(101, 121)]
"""Addresses of the one machine that clients are on."""

COOKIES, SOURCE = 80, 81
"""Ports of the two configs."""

INI = """\
[service]
state_dir = {directory}/{name}
cookie_key_file = {directory}/cookie.key
shutdown_delay = 5

[metrics]
listen = 127.0.0.1:9100

[nodebalancer www]
listen = 192.0.2.10
freebind = true

[config www/cookies]
port = 80
stickiness = http_cookie

[nodes www/cookies]
node-1 = 192.0.2.11:80
node-2 = 192.0.2.12:80

[config www/source]
port = 81
algorithm = source

[nodes www/source]
node-2 = 192.0.2.12:80
node-1 = 192.0.2.11:80
"""

GAP_SECONDS_MAX = 8.0
"""Between two answers: keepalived's three seconds and a bit, a client's second of waiting, and a slow machine."""


PATIENCE_SECONDS = 1.0
"""How long a client waits for a connection or an answer before it tries anew."""


class Site:
    """Two balancers on a segment with two nodes, and the machine of the clients."""

    def __init__(self, directory: Path, segment: Segment, programs: ExitStack) -> None:
        self.segment = segment
        self.balancers: dict[str, Program] = {}
        self.keepaliveds: dict[str, Program] = {}
        for name, address in (*BALANCERS.items(), *NODES.items()):
            segment.add(name, f"{address}/24")
        segment.add("clients", *(f"{address}/24" for address in CLIENTS))
        for name, address in NODES.items():
            with segment.on(name):
                server = f"listen {address}:80; location / {{ return 200 {name}; }}"
                programs.enter_context(nginx(directory, server, name=name)[0])
        (directory / "cookie.key").write_text("ab" * 32 + "\n")
        (directory / "cookie.key").chmod(0o600)
        for name in BALANCERS:
            with segment.on(name):
                program = balancer(directory, INI.format(directory=directory, name=name), (), name=name)
                self.balancers[name] = programs.enter_context(program)
                self.keepaliveds[name] = programs.enter_context(keepalived(directory, name))

    def has_the_address(self, name: str) -> bool:
        """Whether the virtual address is with ``name``."""
        with self.segment.on(name):
            return f"{VIRTUAL}/24" in output_of("ip", "address", "show", "dev", "eth0")


def keepalived(directory: Path, name: str) -> Program:
    """keepalived of the machine ``name``, which has the shipped file."""
    files = [
        f"{option}={directory}/{name}.{kind}.pid" for option, kind in (("--pid", "parent"), ("--vrrp_pid", "vrrp"))
    ]
    file = f"--use-file={ROOT}/etc/keepalived/keepalived.conf"
    argv = ["keepalived", "--vrrp", "--dont-fork", "--log-console", "--no-syslog", f"--config-id={name}", file, *files]
    return Program(argv, directory, f"{name}-keepalived")


def output_of(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def get(port: int, cookie: str = "", source: str = "") -> tuple[str, str]:
    """The node that answered a new connection, and the cookie that was set, if any.

    Raises:
        OSError: None did in time.
    """
    client = http.client.HTTPConnection(VIRTUAL, port, timeout=PATIENCE_SECONDS, source_address=(source, 0))
    try:
        client.request("GET", "/", headers={"Cookie": cookie} if cookie else {})
        answer = client.getresponse()
        assert answer.status == 200
        return answer.read().decode(), (answer.getheader("Set-Cookie") or "").partition(";")[0]
    finally:
        client.close()


class Restless(threading.Thread):
    """A client that makes one new connection after the other.

    Attributes:
        answered: When it got an answer (monotonic seconds).
        failed: How many connections got none.
    """

    def __init__(self, segment: Segment) -> None:
        super().__init__()
        self._segment = segment
        self._enough = threading.Event()
        self.answered: list[float] = []
        self.failed = 0

    def run(self) -> None:
        with self._segment.on("clients"):
            while not self._enough.wait(0.02):
                try:
                    get(COOKIES)
                except (OSError, http.client.HTTPException):
                    self.failed += 1
                else:
                    self.answered.append(time.monotonic())

    def end(self) -> None:
        self._enough.set()
        self.join()

    def gap(self) -> float:
        """The longest time between two answers."""
        return max(later - sooner for sooner, later in pairwise(self.answered))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Segment() as segment, ExitStack() as programs:
        yield Site(tmp_path, segment, programs)


def lose_power(site: Site, name: str) -> None:
    """All on that machine is gone at once, and nothing is said to anybody."""
    site.segment.unplug(name)
    site.keepaliveds[name].kill()
    site.balancers[name].kill()


def crash(site: Site, name: str) -> None:
    """The balancer is gone; keepalived notices."""
    site.balancers[name].kill()


def stop(site: Site, name: str) -> None:
    """The balancer is asked to stop, for an upgrade; keepalived notices while it still serves."""
    site.balancers[name].send(signal.SIGTERM)


@pytest.mark.parametrize("end", [lose_power, crash, stop])
def test_the_standby_takes_over_and_every_client_keeps_its_node(
    end: Callable[[Site, str], None], site: Site, tell: Callable[[str], None]
) -> None:
    wait_until(lambda: any(map(site.has_the_address, BALANCERS)), "the virtual address on a balancer")
    active, standby = sorted(BALANCERS, key=site.has_the_address, reverse=True)
    assert not site.has_the_address(standby)
    with site.segment.on("clients"):
        wait_until(serving, "the first answer")
        held = {client: get(COOKIES, source=client) for client in CLIENTS}
        sources = {client: get(SOURCE, source=client)[0] for client in CLIENTS}
    assert {node for node, _ in held.values()} == set(sources.values()) == set(NODES)
    restless = Restless(site.segment)
    restless.start()
    try:
        wait_until(lambda: len(restless.answered) > 20, "answers of the active one")
        end(site, active)
        wait_until(lambda: site.has_the_address(standby), "the virtual address on the standby")
        before = len(restless.answered)
        wait_until(lambda: len(restless.answered) > before + 50, "answers of the standby")
    finally:
        restless.end()
    with site.segment.on("clients"):
        again = {client: get(COOKIES, cookie, client) for client, (_, cookie) in held.items()}
        assert again == {client: (node, "") for client, (node, _) in held.items()}
        assert {client: get(SOURCE, source=client)[0] for client in CLIENTS} == sources
    tell(
        f"{end.__name__}: no answer for {restless.gap():.1f} s, {restless.failed} connections failed, "
        f"{len(restless.answered)} were served; {len(CLIENTS)} clients kept their nodes, by cookie and by address"
    )
    assert restless.gap() < GAP_SECONDS_MAX
    assert "Traceback" not in site.balancers[standby].output


def serving() -> bool:
    try:
        get(COOKIES)
    except (OSError, http.client.HTTPException):
        return False
    return True
