"""A stop in the middle of everything leaves no descriptor, over both engines that have some."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.task import deferLater

from nodebalancer.changes import plan
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Protocol
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.exchanges import GET, OK, SWITCHING, UPGRADE, post
from nodebalancer.testing.nodes import LOOPBACK, free_port
from nodebalancer.testing.peers import Peer
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.engine import Engine
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.engine_reactor import ReactorEngine

MUCH = bytes(1 << 22)


class Balancer:
    """Listeners for a node that a test plays, a port that is refused, and one that never answers."""

    def __init__(self, world: RealWorld, protocol: Protocol) -> None:
        self.world = world
        address, self.accepted = world.node()
        self.ports = {name: free_port() for name in ("main", "refused", "silent")}
        nodes = {"main": address, "refused": world.refused(), "silent": world.silent()}
        configs = [config(name, node("a", nodes[name]), port=self.ports[name], protocol=protocol) for name in nodes]
        self.listeners = Listeners(world.engine)
        wanted = settings(nodebalancer("www", *configs, listen=(LOOPBACK,)))
        self.listeners.prepare(wanted, plan(NOTHING, wanted))
        self.listeners.commit()

    def client(self, sends: bytes = b"", to: str = "main") -> Peer:
        client = self.world.client(Address(LOOPBACK, self.ports[to]))
        client.send(sends)
        return client

    async def asked(self, sends: bytes) -> tuple[Peer, Peer]:
        """A client, and the connection that it has to the node."""
        before = len(self.accepted)
        client = self.client(sends)
        await self.world.until(lambda: len(self.accepted) > before)
        return client, self.accepted[-1]


async def be_busy(balancer: Balancer) -> None:
    """Connections in every state that they can be in."""
    balancer.client()
    balancer.client(GET[:20])
    balancer.client(GET, "silent")
    balancer.client(GET, "refused")
    await balancer.asked(GET)
    _, one = await balancer.asked(GET)
    one.send(OK[:-1])
    client, one = await balancer.asked(GET)
    client.reading = False
    one.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n" + MUCH)
    _, one = await balancer.asked(post(MUCH[:-1], len(MUCH)))
    one.reading = False
    client, one = await balancer.asked(UPGRADE)
    one.send(SWITCHING)
    one.half_close()
    client, one = await balancer.asked(GET)
    client.half_close()
    one.reset()
    await balancer.world.settle()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def turns(reactor: Any) -> None:
    for _ in range(5):
        await deferLater(reactor, 0)


@pytest.mark.parametrize("engine", [EpollEngine, ReactorEngine])
@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.TCP])
async def test_a_stop_during_traffic_leaves_no_descriptor(
    reactor: Any, engine: Callable[[Any], Engine], protocol: Protocol
) -> None:
    await turns(reactor)  # with its first it opens some of its own
    before = descriptors()
    world = RealWorld(engine(reactor), reactor)
    balancer = Balancer(world, protocol)
    await be_busy(balancer)
    assert balancer.listeners.open_connections > 5
    ended: list[None] = []
    balancer.listeners.stop(3600).addCallback(ended.append)
    await world.settle()
    assert not ended
    balancer.listeners.stop(0)
    await world.until(lambda: ended)
    await world.close()
    await turns(reactor)
    assert descriptors() == before
