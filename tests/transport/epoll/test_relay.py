"""Relays on the epoll loop, beyond the contract: through pipes, and without."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from nodebalancer.testing.peers import Peer
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.epoll.pipes import POOL_BYTES
from nodebalancer.transport.epoll.relay import SPLICE_AFTER_BYTES, SPLICE_BYTES_MIN, EpollRelay
from nodebalancer.transport.epoll.sending import Sending
from nodebalancer.transport.epoll.transport import EpollTransport

MUCH = bytes(range(256)) * 16384
"""Four megabytes: far beyond where splicing begins."""

SIOCOUTQNSD = 0x894B
"""Bytes that the kernel was given and has not sent (linux/sockios.h)."""


def world_of(reactor: Any, **options: Any) -> RealWorld:
    return RealWorld(EpollEngine(reactor, **options), reactor)


@pytest.fixture(params=[POOL_BYTES, 0], ids=["pipes", "no pipes"])
def pipe_bytes(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def world(reactor: Any) -> Iterator[RealWorld]:
    made = world_of(reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


class Pair:
    """A relay from a client to a node."""

    def __init__(self, world: RealWorld, source: Recorder, client: Peer, sink: Recorder, node: Peer) -> None:
        self.world = world
        self.source, self.client, self.sink, self.node = source, client, sink, node
        self.done = 0
        self.relay: EpollRelay

    def start(self, limit: int | None = None, then: Callable[[], object] = int) -> None:
        def done() -> None:
            self.done += 1
            then()

        engine = self.world.engine
        relay = engine.relay(self.source.transport, self.sink.transport, limit=limit, done=done)
        assert isinstance(relay, EpollRelay)
        self.relay = relay


async def pair(world: RealWorld) -> Pair:
    return Pair(world, *await world.accepted(), *await world.dialled())


async def test_much_is_spliced_and_little_is_not(world: RealWorld) -> None:
    both = await pair(world)
    both.start(then=lambda: both.sink.transport.loseConnection())
    both.client.send(MUCH[:SPLICE_AFTER_BYTES])
    await world.until(lambda: both.relay.moved == SPLICE_AFTER_BYTES)
    assert both.relay.spliced == 0
    both.client.send(MUCH[SPLICE_AFTER_BYTES:])
    both.client.half_close()
    await world.until(lambda: both.node.ended)
    assert both.node.received == MUCH
    assert both.relay.moved == len(MUCH)
    assert both.relay.spliced > 0


@pytest.mark.parametrize("options", [{"pipe_bytes": 0}, {"pipe_bytes": 4096}])
async def test_without_pipes_everything_is_copied(reactor: Any, options: dict[str, int]) -> None:
    world = world_of(reactor, **options)
    both = await pair(world)
    both.start()
    both.client.send(MUCH)
    await world.until(lambda: both.node.received == MUCH)
    assert both.relay.spliced == 0
    await world.close()


@pytest.mark.parametrize("limit", [1, SPLICE_AFTER_BYTES, 1_000_003, len(MUCH) - 1])
async def test_a_limit_is_exact_through_pipes_too(reactor: Any, pipe_bytes: int, limit: int) -> None:
    world = world_of(reactor, pipe_bytes=pipe_bytes)
    both = await pair(world)
    both.start(limit, then=lambda: both.sink.transport.loseConnection())
    both.client.send(MUCH)
    await world.until(lambda: both.node.ended)
    assert both.node.received == MUCH[:limit]
    await world.until(lambda: limit + len(both.source.received) == len(MUCH))
    assert both.source.received == MUCH[limit:]
    assert (both.relay.moved, both.done) == (limit, 1)
    await world.close()


async def test_tiny_segments_that_fill_a_pipe_by_its_slots_are_not_the_end(world: RealWorld) -> None:
    """A pipe of a megabyte is full of 256 segments of two bytes, and says what an empty socket says."""
    served = world.serve()
    with socket.create_connection(served.address) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await world.until(lambda: served.built)
        source = served.built[0]
        sink, node = await world.dialled()
        source.transport.pauseProducing()
        for _ in range(2000):
            client.send(b"ab")
        relay = world.engine.relay(source.transport, sink.transport, done=sink.transport.loseConnection)
        assert isinstance(relay, EpollRelay)
        relay.bulk = True
        client.shutdown(socket.SHUT_WR)
        await world.until(lambda: node.ended)
        assert node.received == b"ab" * 2000
        assert relay.spliced > 512


async def stuffed(world: RealWorld) -> Pair:
    """A relay whose node does not read, so that a pipe carries bytes."""
    both = await pair(world)
    both.node.reading = False
    both.start()
    both.client.send(MUCH * 4)
    await world.until(lambda: both.sink.transport.congested)
    await world.settle()
    assert both.relay.spliced
    return both


async def test_bytes_in_a_pipe_outlive_a_stopped_relay(world: RealWorld) -> None:
    both = await stuffed(world)
    moved = both.relay.moved
    both.relay.stop()
    both.sink.transport.write(b"and what was written then")
    both.node.reading = True
    await world.until(lambda: both.node.received.endswith(b"then"))
    assert both.node.received == (MUCH * 4)[:moved] + b"and what was written then"
    await world.until(lambda: len(both.source.received) + moved == len(MUCH) * 4)


async def test_bytes_in_a_pipe_outlive_their_source(world: RealWorld) -> None:
    both = await stuffed(world)
    both.source.transport.abortConnection()
    both.sink.transport.loseConnection()
    await world.settle()
    both.node.reading = True
    await world.until(lambda: both.node.ended)
    assert both.node.received == (MUCH * 4)[: both.relay.moved]


async def test_a_pipe_whose_sink_is_lost_is_not_lent_again(world: RealWorld) -> None:
    both = await stuffed(world)
    pipes = both.sink.transport._loop.pipes
    assert pipes.made == 1
    both.node.reset()
    await world.until(lambda: both.sink.ended)
    assert pipes.made == 0


async def test_pipes_are_held_only_while_they_carry_bytes(reactor: Any) -> None:
    """One pipe serves many relays."""
    world = world_of(reactor, pipe_bytes=1 << 20)
    pairs = [await pair(world) for _ in range(3)]
    for both in pairs:
        both.start()
        both.client.send(MUCH)
    await world.until(lambda: all(len(both.node.received) == len(MUCH) for both in pairs))
    assert all(both.relay.spliced for both in pairs)
    assert pairs[0].sink.transport._loop.pipes.made == 1
    await world.close()


async def test_sockets_that_cannot_be_spliced_are_copied(world: RealWorld) -> None:
    both = await pair(world)
    both.start()
    both.relay._look_at(OSError(errno.EINVAL, "no"), both.source.transport)
    both.client.send(MUCH)
    await world.until(lambda: both.node.received == MUCH)
    assert both.relay.spliced == 0


async def test_a_source_that_is_reset_while_it_is_spliced_is_lost(world: RealWorld) -> None:
    both = await pair(world)
    both.start()
    both.relay.bulk = True
    both.client.reset()
    await world.until(lambda: both.source.ended)
    assert both.source.events == ["made", "lost"]
    assert not both.done


async def test_last_bytes_are_not_held_back_when_nobody_closes(world: RealWorld) -> None:
    """They wait for the end of file that usually follows, but not for one that does not."""
    both = await pair(world)
    both.source.transport.pauseProducing()
    both.client.send(b"the last words")
    both.client.half_close()
    await world.settle()
    both.start()
    await world.until(lambda: both.done)
    sink: Sending = both.sink.transport
    unsent = struct.unpack("i", fcntl.ioctl(sink._fd, SIOCOUTQNSD, b"\0\0\0\0"))[0]
    assert unsent == 0
    await world.until(lambda: both.node.received == b"the last words")


async def test_a_bulk_sender_that_pauses_is_not_kept_waiting(world: RealWorld) -> None:
    """Much is to come together, but what does come is passed on all the same."""
    both = await pair(world)
    both.start()
    sent = bytearray()

    def arrived() -> bool:
        return both.node.received == sent

    for size in (len(MUCH), 300_000, 70_000, 20_000, 1, 300_000, 5):
        both.client.send(MUCH[:size])
        sent += MUCH[:size]
        await world.until(arrived)
    assert both.relay.spliced


@pytest.fixture
def wakes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """All that transports asked of the kernel to gather."""
    sizes: list[int] = []
    wake_after = EpollTransport.wake_after

    def spy(self: EpollTransport, size: int) -> None:
        sizes.append(size)
        wake_after(self, size)

    monkeypatch.setattr(EpollTransport, "wake_after", spy)
    return sizes


def wakes_after(source: Recorder) -> int:
    transport: Sending = source.transport
    return transport._socket().getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@pytest.mark.parametrize("limit", [None, len(MUCH)])
async def test_a_bulk_source_is_heard_of_less_often_and_a_quiet_one_at_once(
    world: RealWorld, wakes: list[int], limit: int | None
) -> None:
    both = await pair(world)
    both.start(limit)
    both.client.send(MUCH)
    await world.until(lambda: both.relay.moved == len(MUCH))
    await world.until(lambda: wakes_after(both.source) == 1)
    assert max(wakes) > SPLICE_BYTES_MIN
    assert all(size <= len(MUCH) for size in wakes)


async def test_a_source_is_heard_of_at_once_when_its_relay_stops(world: RealWorld, wakes: list[int]) -> None:
    both = await pair(world)
    both.start()
    both.client.send(MUCH)
    await world.until(lambda: max(wakes, default=1) > 1)
    both.relay.stop()
    assert wakes_after(both.source) == 1
    await world.until(lambda: both.relay.moved + len(both.source.received) == len(MUCH))


async def test_a_source_is_heard_of_at_once_when_pipes_have_run_out(reactor: Any, wakes: list[int]) -> None:
    """One pipe, which a sink that does not read holds while the other source rests."""
    world = world_of(reactor, pipe_bytes=1 << 20)
    both, other = await pair(world), await pair(world)
    other.node.reading = False
    both.start()
    other.start()
    both.client.send(MUCH)
    await world.until(lambda: max(wakes, default=1) > 1)
    other.client.send(MUCH * 4)
    await world.until(lambda: other.sink.transport.congested)
    await world.until(lambda: len(both.node.received) == len(MUCH))
    both.client.send(MUCH[:400_000])
    await world.until(lambda: len(both.node.received) == len(MUCH) + 400_000)
    both.client.send(MUCH[:200_000])
    await world.until(lambda: len(both.node.received) == len(MUCH) + 600_000)
    await world.close()


async def test_a_relay_that_its_sink_stops_at_the_limit_is_not_done(world: RealWorld) -> None:
    both = await pair(world)

    class Stopper:
        def pauseProducing(self) -> None:
            both.relay.stop()

        def resumeProducing(self) -> None:
            pass

        def stopProducing(self) -> None:
            pass

    both.node.reading = False
    sink = both.sink.transport
    sink.write(bytes(1 << 23))
    both.start(10)
    sink.congested = False
    both.relay.stalled = False
    sink.registerProducer(Stopper(), True)
    both.client.send(b"0123456789abc")
    await world.until(lambda: both.source.received == b"abc")
    assert both.done == 0
