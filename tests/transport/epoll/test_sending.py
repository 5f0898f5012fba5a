"""The sending half of connections on the epoll loop, beyond the contract."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.epoll.sending import Sending

MUCH = bytes(range(256)) * 32768
"""Eight megabytes: more than the kernel's buffers hold for a peer that does not read."""


@pytest.fixture
def world(reactor: Any) -> Iterator[RealWorld]:
    made = RealWorld(EpollEngine(reactor), reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


def fill(transport: Sending) -> int:
    """Leave the kernel no room for another byte; how many went in."""
    size = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            size += os.write(transport._fd, MUCH)
    return size


class Producer:
    def __init__(self) -> None:
        self.paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False


async def test_a_kernel_that_takes_nothing_is_waited_for(world: RealWorld) -> None:
    recorder, peer = await world.accepted()
    peer.reading = False
    size = fill(recorder.transport)
    recorder.transport.write(b"the rest")
    assert not recorder.transport.congested
    peer.reading = True
    await world.until(lambda: len(peer.received) == size + 8)
    assert peer.received.endswith(b"the rest")


@pytest.mark.parametrize("room", [0, 4096])
async def test_last_bytes_that_do_not_fit_come_before_the_end_of_file(world: RealWorld, room: int) -> None:
    source, client = await world.accepted()
    sink, node = await world.dialled()
    node.reading = False
    size = 0
    if room:
        sink.transport._socket().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    else:
        size = fill(sink.transport)
    source.transport.pauseProducing()
    client.send(MUCH[:60000])
    client.half_close()
    await world.settle()
    world.engine.relay(source.transport, sink.transport, done=sink.transport.loseWriteConnection)
    await world.until(lambda: sink.transport.congested)
    node.reading = True
    await world.until(lambda: node.ended)
    assert node.received[size:] == MUCH[:60000]


async def test_a_sink_that_is_half_closed_takes_no_more(world: RealWorld) -> None:
    """What the client sends from then on is its protocol's."""
    source, client = await world.accepted()
    sink, node = await world.dialled()
    world.engine.relay(source.transport, sink.transport, done=sink.transport.loseConnection)
    sink.transport.loseWriteConnection()
    client.send(b"hello")
    await world.until(lambda: source.received == b"hello" and node.ended)
    assert node.received == b""


async def test_a_sink_that_has_something_unsent_comes_first(world: RealWorld) -> None:
    source, client = await world.accepted()
    sink, node = await world.dialled()
    node.reading = False
    size = fill(sink.transport)
    sink.transport.write(b"head ")
    world.engine.relay(source.transport, sink.transport, done=sink.transport.loseConnection)
    assert sink.transport.congested
    client.send(b"body")
    await world.settle()
    node.reading = True
    await world.until(lambda: len(node.received) == size + 9)
    assert node.received.endswith(b"head body")


async def test_half_closing_after_a_reset_does_no_harm(world: RealWorld) -> None:
    recorder, peer = await world.accepted()
    peer.reset()
    recorder.transport.loseWriteConnection()
    await world.until(lambda: recorder.ended)


async def test_a_producer_of_a_congested_transport_begins_paused(world: RealWorld) -> None:
    recorder, peer = await world.accepted()
    peer.reading = False
    recorder.transport.write(MUCH)
    producer = Producer()
    recorder.transport.registerProducer(producer, True)
    assert producer.paused
    peer.reading = True
    await world.until(lambda: not producer.paused)


async def test_a_peer_that_resets_before_it_has_read_all_ends_the_closing(world: RealWorld) -> None:
    recorder, peer = await world.accepted()
    peer.reading = False
    recorder.transport.write(MUCH)
    recorder.transport.loseConnection()
    await world.settle()
    assert not recorder.ended
    peer.reset()
    await world.until(lambda: recorder.ended)
    assert recorder.reason is not None
    assert recorder.reason.type is not ConnectionDone


async def test_many_pieces_are_sent_in_order(world: RealWorld) -> None:
    """More than one system call takes."""
    recorder, peer = await world.accepted(Recorder())
    peer.reading = False
    size = fill(recorder.transport)
    pieces = [b"%d," % number for number in range(500)]
    for piece in pieces:
        recorder.transport.write(piece)
    peer.reading = True
    await world.until(lambda: len(peer.received) == size + len(b"".join(pieces)))
    assert peer.received[size:] == b"".join(pieces)
