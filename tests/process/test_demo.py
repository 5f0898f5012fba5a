# mypy: allow-untyped-decorators
# pytest-twisted has no annotations.
"""The demo's services; the integration test types what it prints."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 services run in the reactor of the tests

from nodebalancer.model import Protocol, Settings
from nodebalancer.process.demo import ATTEMPTS, FIRST_PORT, LOOPBACK, Demo, free_ports
from nodebalancer.process.launch import Launch
from nodebalancer.testing.nodes import answers


@pytest.fixture
def terminal() -> Iterator[tuple[int, Launch]]:
    read_end, write_end = os.pipe()
    launch = Launch({}, write_end)
    os.close(write_end)
    yield read_end, launch
    launch.started()
    os.close(read_end)


def ports(settings: Settings) -> dict[Protocol, int]:
    return {config.protocol: config.port for config in settings.nodebalancers["demo"].configs.values()}


@pytest_twisted.ensureDeferred
async def test_the_demo_starts_nodes_then_tells_where_they_are_balanced(terminal: tuple[int, Launch]) -> None:
    read_end, launch = terminal
    demo = Demo(reactor, launch)
    demo.privilegedStartService()
    wanted = next(demo.wanted())
    configs = wanted.nodebalancers["demo"].configs.values()
    nodes = {node.address for config in configs for node in config.nodes.values()}
    assert len(nodes) == 3
    assert all(answers(node.port) for node in nodes)
    demo.startService()
    welcome = os.read(read_end, 65536).decode()
    assert all(f"://{LOOPBACK}:{port}/  protocol = {of.value}" in welcome for of, port in ports(wanted).items())
    assert f"curl http://{LOOPBACK}:{ports(wanted)[Protocol.HTTP]}/\n" in welcome
    assert f"curl -k https://{LOOPBACK}:{ports(wanted)[Protocol.HTTPS]}/\n" in welcome
    await demo.stopService()
    assert not any(answers(node.port) for node in nodes)


@pytest_twisted.ensureDeferred
async def test_its_key_is_nobody_elses_and_goes_with_it(terminal: tuple[int, Launch]) -> None:
    demo = Demo(reactor, terminal[1])
    demo.privilegedStartService()
    secure = next(demo.wanted()).nodebalancers["demo"].configs["secure"]
    assert secure.ssl_cert == secure.ssl_key
    file = Path(secure.ssl_key)
    assert [path.stat().st_mode & 0o777 for path in (file, file.parent)] == [0o600, 0o700]
    await demo.stopService()
    assert not file.parent.exists()


@pytest_twisted.ensureDeferred
async def test_each_attempt_is_on_other_ports(terminal: tuple[int, Launch]) -> None:
    demo = Demo(reactor, terminal[1])
    demo.privilegedStartService()
    chosen = [port for wanted in demo.wanted() for port in ports(wanted).values()]
    assert len(set(chosen)) == 3 * ATTEMPTS
    await demo.stopService()


def test_ports_that_somebody_listens_on_are_not_free() -> None:
    taken = next(iter(free_ports(FIRST_PORT)))
    with socket.create_server((LOOPBACK, taken), reuse_port=False):
        found = list(islice(free_ports(taken), 2))
    assert taken not in found
    assert found == sorted(found)
