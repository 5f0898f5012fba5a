"""Connections leave nothing behind that the garbage collector would have to find."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable, Iterator

import pytest

from nodebalancer.model import Protocol
from nodebalancer.proxy.connection import ClientSide, NodeSide
from nodebalancer.testing.balancers import NODES, MemoryBalancer
from nodebalancer.testing.exchanges import CHUNKED, GET, OK, SWITCHING, UPGRADE, post


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def served(lb: MemoryBalancer) -> None:
    lb.client(GET)
    lb.node().send(OK)


def left(lb: MemoryBalancer) -> None:
    lb.client(GET).reset()


def cut_short(lb: MemoryBalancer) -> None:
    lb.client(GET)
    lb.node().send(CHUNKED + b"5\r\nhel")
    lb.pump()
    lb.node().reset()


def garbled(lb: MemoryBalancer) -> None:
    lb.client(post(b"a", 9))
    lb.node().send(b"what?\r\n")


def refused(lb: MemoryBalancer) -> None:
    lb.network.fail(NODES[0], errno.ECONNREFUSED)
    lb.client(GET)
    lb.pump()
    lb.network.heal(NODES[0])


def left_while_dialling(lb: MemoryBalancer) -> None:
    lb.network.slow(NODES[0], 1)
    client = lb.client(GET)
    lb.pump()
    client.reset()
    lb.pump()
    lb.network.heal(NODES[0])


def bad(lb: MemoryBalancer) -> None:
    lb.client(b"BAD\r\n").close()


def silent(lb: MemoryBalancer) -> None:
    lb.client()


def unanswered(lb: MemoryBalancer) -> None:
    lb.client(GET)


def streamed(lb: MemoryBalancer) -> None:
    client = lb.client(post(b"a", 9))
    client.send(b"12345678")
    lb.pump()
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n" + b"x" * 40)
    lb.pump()
    lb.node().send(b"x" * 10)


def tunnelled(lb: MemoryBalancer) -> None:
    client = lb.client(UPGRADE)
    lb.node().send(SWITCHING)
    lb.pump()
    client.close()
    lb.pump()
    lb.node().close()


@pytest.mark.usefixtures("without_collector")
@pytest.mark.parametrize(
    "scenario",
    [served, left, cut_short, garbled, refused, left_while_dialling, bad, silent, unanswered, streamed, tunnelled],
)
@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.TCP])
def test_no_connection_forms_a_cycle(protocol: Protocol, scenario: Callable[[MemoryBalancer], None]) -> None:
    """However a connection ends, its objects are gone with it, so that the collector may rest."""
    lb = MemoryBalancer(protocol, timeout_tunnel=30, timeout_server=30)
    for _ in range(5):
        scenario(lb)
        lb.advance(2)
    lb.advance(200)
    for node in lb.accepted[0]:
        node.close()
    lb.pump()
    lb.check_at_rest()
    assert [x for x in gc.get_objects() if isinstance(x, ClientSide | NodeSide)] == []
