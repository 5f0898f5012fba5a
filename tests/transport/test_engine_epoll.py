"""What the lean engine promises beyond the contract: it has descriptors while it needs them, and gets along without."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from nodebalancer.testing.peers import Peer
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.epoll.dial import EpollDial
from nodebalancer.transport.epoll.relay import EpollRelay
from nodebalancer.transport.epoll.transport import EpollTransport
from nodebalancer.transport.epoll.unsent import Unsent

MUCH = bytes(range(256)) * 16384
"""Four megabytes: far beyond where splicing begins."""


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def world_of(reactor: Any, **options: Any) -> RealWorld:
    return RealWorld(EpollEngine(reactor, **options), reactor)


@pytest.fixture
def world(reactor: Any) -> Iterator[RealWorld]:
    made = world_of(reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


def living() -> list[object]:
    return [one for one in gc.get_objects() if isinstance(one, EpollTransport | EpollRelay | EpollDial | Unsent)]


def nothing() -> None:
    """What is to be done when a relay is done."""


async def turns(reactor: Any) -> None:
    for _ in range(5):
        await deferLater(reactor, 0)


async def test_an_engine_without_sockets_has_no_descriptors(reactor: Any) -> None:
    """twistd forks before its services start."""
    before = descriptors()
    world = world_of(reactor)
    assert descriptors() == before
    source, client = await world.accepted()
    sink, node = await world.dialled()
    world.engine.relay(source.transport, sink.transport, done=nothing)
    client.send(MUCH)
    await world.until(lambda: len(node.received) == len(MUCH))
    await world.close()
    await turns(reactor)
    assert descriptors() == before


def relay_and_reset(world: RealWorld, client: Recorder, peer: Peer, node: Recorder, node_peer: Peer) -> None:
    world.engine.relay(client.transport, node.transport, done=nothing)
    peer.send(b"hello")
    node_peer.reset()


def relay_and_close(world: RealWorld, client: Recorder, peer: Peer, node: Recorder, node_peer: Peer) -> None:
    world.engine.relay(client.transport, node.transport, done=node.transport.loseConnection)
    peer.close()


def half_close_both(world: RealWorld, client: Recorder, peer: Peer, node: Recorder, node_peer: Peer) -> None:
    peer.half_close()
    node.transport.loseWriteConnection()


def reset_both(world: RealWorld, client: Recorder, peer: Peer, node: Recorder, node_peer: Peer) -> None:
    peer.reset()
    node_peer.reset()


def abort_unsent(world: RealWorld, client: Recorder, peer: Peer, node: Recorder, node_peer: Peer) -> None:
    peer.reading = False
    client.transport.write(MUCH)
    node.transport.loseConnection()


ENDS = [relay_and_reset, relay_and_close, half_close_both, reset_both, abort_unsent]


async def end_in_every_way(world: RealWorld) -> None:
    silent = world.silent()
    dials = [world.dial(address, Recorder()) for address in (world.refused(), silent, silent)]
    recorders = []
    for end in ENDS:
        client, peer = await world.accepted()
        node, node_peer = await world.dialled()
        end(world, client, peer, node, node_peer)
        recorders += [client, node]
    await world.settle()
    dials[1].cancel()
    dials[2].cancel()
    for recorder in recorders:
        recorder.transport.abortConnection()
    await world.until(lambda: all(recorder.ended for recorder in recorders))


async def test_no_way_to_end_leaves_a_descriptor_or_needs_the_collector(reactor: Any) -> None:
    """What a balancer leaks per connection, however little, is what ends it some night."""
    before = descriptors()
    gc.collect()
    others = living()
    gc.disable()
    try:
        for _ in range(10):
            world = world_of(reactor)
            await end_in_every_way(world)
            await world.close()
        await turns(reactor)
        del world
        assert [type(one) for one in living() if one not in others] == []
    finally:
        gc.enable()
    assert descriptors() == before


async def test_two_thousand_connections_leave_nothing(world: RealWorld) -> None:
    served = world.serve(lambda: Recorder(data=lambda r, _: r.transport.loseConnection()))
    await world.settle()
    before = descriptors()
    for so_far in range(50, 2050, 50):
        clients = [socket.create_connection(served.address) for _ in range(50)]
        for number, client in enumerate(clients):
            client.send(b"hello")
            if number % 3 == 0:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
        await world.until(lambda so_far=so_far: len(served.built) == so_far and all(r.ended for r in served.built))  # type: ignore[misc]
        for client in clients:
            client.close()
    assert descriptors() == before


@implementer(ILogObserver)
class Warnings:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"].name == "warn":
            self.texts.append(str(event["log_format"]))


async def test_without_descriptors_accepting_rests_and_then_goes_on(world: RealWorld) -> None:
    """Clients wait in the kernel's queue meanwhile; one line says why, not one a client."""
    served, warnings = world.serve(), Warnings()
    clients = [socket.socket() for _ in range(3)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    globalLogPublisher.addObserver(warnings)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), limits[1]))
    spare = []
    try:
        with contextlib.suppress(OSError):
            while True:
                spare.append(os.dup(0))
        for client in clients:
            client.connect(served.address)
        await world.settle()
        assert served.clients == []
        assert len(warnings.texts) == 1
    finally:
        globalLogPublisher.removeObserver(warnings)
        for fd in spare:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await world.until(lambda: len(served.built) == 3)
    for client in clients:
        client.close()


async def test_an_adopted_socket_is_left_to_its_owner(world: RealWorld) -> None:
    """The set must forget it although it is not closed."""
    fd, address = world.inherited()
    other = world.serve()
    world.engine.adopt(fd, other.built).close()  # type: ignore[arg-type] # nobody is served
    with socket.create_connection(address):
        await world.settle()
    assert other.built == []
