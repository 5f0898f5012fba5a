"""A process that runs out of descriptors: who is connected stays so, who comes waits, the operator is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodebalancer.process.limits import Needs
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer, free_port, redis, wait_until

pytestmark = pytest.mark.integration

INI = """\
[nodebalancer lb]
listen = 127.0.0.1
max_connections = {connections}

[config lb/redis]
port = {port}
protocol = tcp

[nodes lb/redis]
node = 127.0.0.1:{node}
"""

FEW = 100
"""Descriptors, for 1000 connections."""

CLIENTS = 60
"""More than fit."""


class Site:
    """A balancer before a redis.

    Attributes:
        program: The balancer.
        node: Where redis listens.
    """

    def __init__(self, directory: Path, stack: ExitStack, limit: str, connections: int, engine: str = "auto") -> None:
        redis_, self.node = redis(directory)
        stack.enter_context(redis_)
        self.port = free_port()
        ini = INI.format(connections=connections, port=self.port, node=self.node)
        under = ["prlimit", f"--nofile={limit}"]
        self.program: Program = stack.enter_context(balancer(directory, ini, [self.port], engine=engine, under=under))

    def descriptor_limit(self) -> int:
        """How many the process may have right now."""
        for line in Path(f"/proc/{self.program.pid}/limits").read_text().splitlines():
            if line.startswith("Max open files"):
                return int(line.split()[3])
        raise AssertionError("no such limit")


def pinged(client: socket.socket) -> bool:
    """Whether the node answers through this connection; a refused one has ended."""
    client.sendall(b"PING\r\n")
    return client.recv(1000).startswith(b"+PONG\r\n")


def served(client: socket.socket) -> bool:
    """Whether the client was accepted and is served; False while it waits."""
    client.settimeout(0.2)
    try:
        return pinged(client)
    except OSError:
        return False
    finally:
        client.settimeout(HANG_SECONDS)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.mark.parametrize("engine", ["epoll", "reactor"])
def test_without_descriptors_who_comes_waits_and_who_is_there_stays(
    tmp_path: Path, stack: ExitStack, engine: str
) -> None:
    site = Site(tmp_path, stack, f"{FEW}:{FEW}", 1000, engine)
    clients = [stack.enter_context(socket.create_connection((LOOPBACK, site.port))) for _ in range(CLIENTS)]
    wait_until(lambda: "cannot accept" in site.program.output, "the descriptors to run out")
    there = [client for client in clients[: FEW // 2] if served(client)]
    assert FEW / 2 - 20 < len(there) < CLIENTS
    waiting = clients[FEW // 2 :]
    ticks = site.program.processor_ticks()
    time.sleep(3)
    # Seconds without a descriptor are neither spent on trying nor on saying so.
    assert site.program.processor_ticks() - ticks < 30
    assert site.program.output.count("cannot accept") == 1
    assert all(map(pinged, there))
    for client in there[:20]:
        client.close()
    wait_until(lambda: sum(map(served, waiting)) > 0, "those that waited to be served")
    assert all(map(pinged, there[20:]))
    with socket.create_connection((LOOPBACK, site.port), HANG_SECONDS) as late:
        assert pinged(late)
    assert "Traceback" not in site.program.output


def test_the_limit_is_raised_to_what_the_settings_need(tmp_path: Path, stack: ExitStack) -> None:
    site = Site(tmp_path, stack, "64:1000", connections=100)
    assert site.descriptor_limit() == Needs(connections=100, listeners=1, probes=1).descriptors
    assert "#warn]" not in site.program.output


def test_where_the_limit_cannot_be_raised_far_enough_a_warning_says_how_many_fit(
    tmp_path: Path, stack: ExitStack
) -> None:
    site = Site(tmp_path, stack, "64:200", connections=1000)
    assert site.descriptor_limit() == 200
    assert site.program.output.count("#warn] 200 descriptors are enough for 67 of 1000 connections only") == 1
