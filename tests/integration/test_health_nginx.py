"""Probes of real nodes: nginx that answers, stops answering, and is gone."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from nodebalancer.fields import Address
from nodebalancer.health.checks import Path as NodePath
from nodebalancer.health.monitor import Monitor
from nodebalancer.health.names import Names, is_this_machine
from nodebalancer.model import Check, PortConfig, Protocol, ProxyProtocol
from nodebalancer.process.parts import engine_maker
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, free_port, nginx

pytestmark = pytest.mark.integration

SERVER = """\
        listen {host}:{proxied} proxy_protocol;
        access_log {directory}/access.log combined;
        location /status/204 {{ return 204; }}
        location /status/302 {{ return 302 /up; }}
        location /status/404 {{ return 404 "sorry"; }}
        location /status/503 {{ return 503 "sorry"; }}
        location = /seen {{
            default_type text/plain;
            return 200 "$server_protocol host=$http_host agent=$http_user_agent connection=$http_connection";
        }}
"""


@attrs.frozen
class Site:
    """One nginx, with a port that wants a PROXY header first."""

    program: Program
    directory: Path
    port: int
    proxied: int


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    proxied = free_port()
    server = SERVER.format(host=LOOPBACK, proxied=proxied, directory=tmp_path)
    program, port = nginx(tmp_path, server)
    with program:
        yield Site(program, tmp_path, port, proxied)


class Watch:
    """A monitor on the real reactor, and the latest word on each config's node."""

    def __init__(self, reactor: Any, engine: str) -> None:
        self._reactor = reactor
        made = engine_maker(engine)(reactor)
        self._names = Names(made, reactor, self, is_this_machine)
        self.monitor = Monitor(made, reactor, self._names, self, chance=random.Random(5).random)
        self.latest: dict[str, tuple[bool, str]] = {}

    def probed(self, path: NodePath, began_at: float, ok: bool, reason: str, now: float, at: float) -> None:
        self.latest[path[1]] = ok, reason

    def due(self, now: float, at: float) -> None:
        """Nobody waits."""

    def resolved(self, path: NodePath, address: Address | None, reason: str) -> None:
        """The monitor asks by itself."""

    def follow(self, *configs: PortConfig) -> None:
        wanted = settings(nodebalancer("www", *configs))
        for follower in (self._names, self.monitor):
            follower.prepare(wanted, ())
            follower.commit()

    async def until(self, expected: dict[str, tuple[bool, str]]) -> None:
        """Wait until this is the latest word, and no other."""
        turns = HANG_SECONDS / 0.02
        while self.latest != expected:
            turns -= 1
            assert turns > 0, f"{self.latest} instead of {expected}"
            await deferLater(self._reactor, 0.02)

    def close(self) -> None:
        self.monitor.stop()
        self._names.stop()


@pytest.fixture(params=["epoll", "reactor"])
def watch(request: pytest.FixtureRequest, reactor: Any) -> Iterator[Watch]:
    made = Watch(reactor, request.param)
    yield made
    made.close()
    pytest_twisted.blockon(deferLater(reactor, 0.05))


def http(name: str, port: int, path: str, **fields: Any) -> PortConfig:
    """A config whose one node is at ``port``, probed every two seconds."""
    fields = {"check": Check.HTTP, "check_interval": 2, "check_timeout": 1, "check_path": path} | fields
    return config(name, node("n", Address(LOOPBACK, port)), **fields)


async def test_statuses_and_bodies_decide(site: Site, watch: Watch) -> None:
    seen = f"HTTP/1.0 host={LOOPBACK}:{site.port} agent=nodebalancer connection=close"
    body = {"check": Check.HTTP_BODY, "check_body": f"^{seen.replace('.', '[.]')}$"}
    watch.follow(
        http("no-content", site.port, "/status/204"),
        http("moved", site.port, "/status/302"),
        http("missing", site.port, "/status/404"),
        http("broken", site.port, "/status/503"),
        http("connection", site.port, "", check=Check.CONNECTION),
        http("seen", site.port, "/seen", **body),
        http("host", site.port, "/seen", check=Check.HTTP_BODY, check_body="host=shop ", check_host="shop"),
        http("other", site.port, "/seen", check=Check.HTTP_BODY, check_body="^welcome"),
        http("sorry", site.port, "/status/503", check=Check.HTTP_BODY, check_body="^sorry$"),
        http("elsewhere", free_port(), "/seen", check_port=site.port, protocol=Protocol.TCP),
        http("gone", free_port(), "/seen"),
    )
    await watch.until(
        {
            "no-content": (True, "HTTP 204"),
            "moved": (True, "HTTP 302"),
            "missing": (False, "HTTP 404"),
            "broken": (False, "HTTP 503"),
            "connection": (True, "connected"),
            "seen": (True, "body matches"),
            "host": (True, "body matches"),
            "other": (False, "body does not match"),
            "sorry": (True, "body matches"),
            "elsewhere": (True, "HTTP 200"),
            "gone": (False, "connection refused"),
        }
    )
    log = (site.directory / "access.log").read_text()
    assert '"GET /seen HTTP/1.0" 200 ' in log
    assert '"nodebalancer"' in log


@pytest.mark.parametrize("version", [ProxyProtocol.V1, ProxyProtocol.V2])
async def test_nodes_that_want_a_proxy_header_get_one(site: Site, watch: Watch, version: ProxyProtocol) -> None:
    proxied = {"protocol": Protocol.TCP, "proxy_protocol": version}
    watch.follow(
        http("with", site.proxied, "/seen", **proxied),
        http("connection", site.proxied, "", check=Check.CONNECTION, **proxied),
        http("without", site.proxied, "/seen"),
        http("elsewhere", site.proxied, "/seen", check_port=site.port, **proxied),
    )
    await watch.until(
        {
            "with": (True, "HTTP 200"),
            "connection": (True, "connected"),
            "without": (False, "closed without a response"),
            "elsewhere": (True, "HTTP 200"),
        }
    )


async def test_a_node_that_is_stopped_times_out_and_one_that_is_killed_refuses(site: Site, watch: Watch) -> None:
    watch.follow(http("http", site.port, "/seen"), http("connection", site.port, "", check=Check.CONNECTION))
    await watch.until({"http": (True, "HTTP 200"), "connection": (True, "connected")})
    everybody = [site.program.pid, *site.program.children()]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    # The kernel still accepts for it.
    await watch.until({"http": (False, "timed out after 1 s"), "connection": (True, "connected")})
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    await watch.until({"http": (True, "HTTP 200"), "connection": (True, "connected")})
    site.program.kill()
    await watch.until({"http": (False, "connection refused"), "connection": (False, "connection refused")})


async def test_a_node_that_goes_by_a_name_is_found(site: Site, watch: Watch) -> None:
    named = config(
        "named", node("n", Address("localhost", site.port)), check=Check.CONNECTION, check_interval=2, check_timeout=1
    )
    lost = config(
        "lost", node("n", Address("nobody.invalid", 80)), check=Check.CONNECTION, check_interval=2, check_timeout=1
    )
    watch.follow(attrs.evolve(named, port=8001), attrs.evolve(lost, port=8002))
    await watch.until({"named": (True, "connected"), "lost": (False, "name not resolved")})
