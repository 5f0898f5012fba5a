"""Bytes from one connection to another, over every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.logger import LogEvent

from nodebalancer.testing.peers import Peer
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import World
from nodebalancer.transport.engine import BUFFER_BYTES, Relay

MUCH = bytes(range(256)) * 65536
"""Sixteen megabytes: more than all buffers on the way hold."""


class Pair:
    """A relay from a client's connection to a node's, and what the test sees of it."""

    def __init__(self, world: World, client: tuple[Recorder, Peer], node: tuple[Recorder, Peer]) -> None:
        self.engine = world.engine
        self.source, self.client = client
        self.sink, self.node = node
        self.done = 0
        self.then: Callable[[], Any] = lambda: None
        self.relay: Relay

    def start(self, limit: int | None = None) -> Relay:
        with self.source.hears_nothing(), self.sink.hears_nothing():
            self.relay = self.engine.relay(
                self.source.transport, self.sink.transport, limit=limit, done=self._count_done
            )
            assert not self.done
        return self.relay

    def _count_done(self) -> None:
        self.done += 1
        self.then()


async def pair(world: World) -> Pair:
    return Pair(world, await world.accepted(), await world.dialled())


async def test_everything_up_to_the_end_of_file_is_moved(world: World) -> None:
    both = await pair(world)
    relay = both.start()
    both.client.send(b"hello ")
    await world.until(lambda: both.node.received == b"hello ")
    assert not both.done
    both.client.send(b"node")
    both.client.half_close()
    await world.until(lambda: both.done)
    await world.until(lambda: both.node.received == b"hello node")
    await world.settle()
    assert (relay.moved, relay.ended, both.done) == (10, True, 1)
    assert both.source.events == both.sink.events == ["made"]
    assert not both.node.ended


async def test_what_is_done_at_the_end_of_file_may_half_close_the_sink(world: World) -> None:
    both = await pair(world)
    both.then = lambda: both.sink.transport.loseWriteConnection()
    both.start()
    both.client.send(MUCH)
    both.client.half_close()
    await world.until(lambda: both.node.ended)
    assert both.node.received == MUCH
    both.node.send(b"an answer")
    await world.until(lambda: both.sink.received == b"an answer")


async def test_both_directions_at_once(world: World) -> None:
    there = await pair(world)
    back = Pair(world, (there.sink, there.node), (there.source, there.client))
    there.start()
    back.start()
    there.client.send(MUCH)
    there.client.half_close()
    there.node.send(MUCH)
    there.node.half_close()
    await world.until(lambda: there.done and back.done)
    await world.until(lambda: there.node.received == there.client.received == MUCH)
    assert there.source.events == there.sink.events == ["made"]


async def test_what_waited_is_moved_too_and_a_paused_source_resumed(world: World) -> None:
    both = await pair(world)
    both.source.transport.pauseProducing()
    both.client.send(b"waiting")
    both.client.half_close()
    await world.settle()
    both.start()
    await world.until(lambda: both.done)
    await world.until(lambda: both.node.received == b"waiting")
    assert both.source.events == ["made"]


async def test_a_source_whose_end_of_file_was_heard_is_done_at_once(world: World) -> None:
    both = await pair(world)
    both.client.half_close()
    await world.until(lambda: "eof" in both.source.events)
    relay = both.start()
    await world.until(lambda: both.done)
    assert (relay.moved, relay.ended) == (0, True)
    assert both.source.events == ["made", "eof"]


async def test_what_the_protocol_wrote_before_comes_first(world: World) -> None:
    """The head that was written anew stands before the body that is relayed."""
    both = await pair(world)
    both.client.send(b"body")
    both.sink.transport.write(b"head ")
    both.start()
    await world.until(lambda: both.node.received == b"head body")


async def test_what_the_sink_had_no_room_for_comes_first(world: World) -> None:
    """However much it is, and however fast the relay could be."""
    both = await pair(world)
    both.node.reading = False
    both.sink.transport.write(MUCH)
    both.client.send(b"body" + MUCH)
    both.start()
    await world.settle()
    both.node.reading = True
    await world.until(lambda: len(both.node.received) == 2 * len(MUCH) + 4)
    assert both.node.received == MUCH + b"body" + MUCH


async def test_a_source_that_pauses_in_the_middle_of_much_is_not_left_waiting(world: World) -> None:
    """It may wait for an answer to what it has sent, and there is nothing else that would wake us."""
    both = await pair(world)
    both.start()
    for size in [300_000, 70_000, 1, 1_000_000, 20_000, 600_000, 100, 5] * 4:
        before = len(both.node.received)
        both.client.send(MUCH[:size])
        await world.until(lambda before=before, size=size: len(both.node.received) == before + size)  # type: ignore[misc]


async def test_no_byte_beyond_the_limit_is_moved(world: World) -> None:
    """They are the protocol's, after it heard that the relay is done."""
    both = await pair(world)
    seen: list[str] = []
    both.then = lambda: seen.extend(both.source.events)
    relay = both.start(limit=5)
    both.client.send(b"12345678")
    both.client.half_close()
    await world.until(lambda: "eof" in both.source.events)
    await world.until(lambda: both.node.received == b"12345")
    assert seen == ["made"]
    assert both.source.events == ["made", "data", "eof"]
    assert both.source.received == b"678"
    assert (relay.moved, relay.ended, both.done) == (5, False, 1)


async def test_the_limit_is_done_without_waiting_for_more(world: World) -> None:
    both = await pair(world)
    relay = both.start(limit=5)
    both.client.send(b"123")
    await world.until(lambda: both.node.received == b"123")
    assert not both.done
    both.client.send(b"45")
    await world.until(lambda: both.done)
    assert (relay.moved, relay.ended) == (5, False)
    both.client.half_close()
    await world.until(lambda: both.source.events == ["made", "eof"])


@pytest.mark.parametrize("limit", [1, BUFFER_BYTES, BUFFER_BYTES + 1, len(MUCH) - 1])
async def test_any_limit_is_exact(world: World, limit: int) -> None:
    both = await pair(world)
    both.then = lambda: both.sink.transport.loseConnection()
    both.start(limit=limit)
    both.client.send(MUCH)
    await world.until(lambda: both.node.ended)
    assert both.node.received == MUCH[:limit]
    await world.until(lambda: limit + len(both.source.received) == len(MUCH))
    assert both.source.received == MUCH[limit:]


async def test_an_end_of_file_before_the_limit_says_so(world: World) -> None:
    """A body that is cut short must not look whole."""
    both = await pair(world)
    relay = both.start(limit=5)
    both.client.send(b"123")
    both.client.half_close()
    await world.until(lambda: both.done)
    assert (relay.moved, relay.ended) == (3, True)


async def test_what_is_done_may_pause_the_source_before_the_rest(world: World) -> None:
    both = await pair(world)
    both.then = lambda: both.source.transport.pauseProducing()
    both.start(limit=5)
    both.client.send(b"12345678")
    await world.until(lambda: both.done)
    await world.settle()
    with both.source.hears_nothing():
        assert not both.source.received
        both.source.transport.resumeProducing()
    await world.until(lambda: both.source.received == b"678")


async def test_what_is_done_may_relay_the_rest(world: World) -> None:
    """An upgrade: after the body that was announced everything is the tunnel's."""
    both = await pair(world)
    rest = Pair(world, (both.source, both.client), (both.sink, both.node))
    both.then = lambda: rest.start()
    both.start(limit=5)
    both.client.send(b"12345678")
    both.client.half_close()
    await world.until(lambda: rest.done)
    await world.until(lambda: both.node.received == b"12345678")
    assert both.source.events == ["made"]
    assert rest.relay.moved == 3


async def test_a_sink_that_does_not_read_slows_the_source_down(world: World) -> None:
    both = await pair(world)
    both.node.reading = False
    relay = both.start()
    both.client.send(MUCH)
    await world.until(lambda: both.sink.transport.congested)
    await world.settle()
    await world.settle()
    assert both.client.unsent
    assert relay.moved < len(MUCH)
    both.node.reading = True
    await world.until(lambda: len(both.node.received) == len(MUCH))
    await world.until(lambda: not both.sink.transport.congested)
    assert both.node.received == MUCH


async def test_a_reader_that_stops_and_goes_gets_everything(world: World) -> None:
    both = await pair(world)
    both.then = lambda: both.sink.transport.loseConnection()
    both.start()
    both.client.send(MUCH)
    both.client.half_close()
    while not both.node.ended:
        so_far = len(both.node.received)
        both.node.reading = False
        await world.settle()
        both.node.reading = True
        await world.until(lambda so_far=so_far: len(both.node.received) > so_far or both.node.ended)  # type: ignore[misc]
    assert both.node.received == MUCH


@pytest.mark.parametrize("how", ["reset by the peer", "loseConnection", "abortConnection"])
async def test_a_relay_ends_with_its_source(world: World, how: str) -> None:
    both = await pair(world)
    relay = both.start()
    both.client.send(b"hello")
    await world.until(lambda: both.node.received)
    if how == "reset by the peer":
        both.client.reset()
    else:
        getattr(both.source.transport, how)()
    await world.until(lambda: both.source.ended)
    await world.settle()
    assert not both.done
    assert relay.moved == 5
    assert both.source.events == ["made", "lost"]
    both.sink.transport.write(b" again")
    await world.until(lambda: both.node.received == b"hello again")


@pytest.mark.parametrize("how", ["reset by the peer", "loseConnection", "abortConnection"])
async def test_a_relay_ends_with_its_sink(world: World, how: str) -> None:
    """What the client sends from then on is its protocol's."""
    both = await pair(world)
    relay = both.start()
    both.client.send(b"hello")
    await world.until(lambda: both.node.received)
    if how == "reset by the peer":
        both.node.reset()
    else:
        getattr(both.sink.transport, how)()
    await world.until(lambda: both.sink.ended)
    both.client.send(b"anybody there?")
    both.client.half_close()
    await world.until(lambda: "eof" in both.source.events)
    assert both.source.received == b"anybody there?"
    assert both.source.events == ["made", "data", "eof"]
    assert not both.done
    assert relay.moved == 5


async def test_a_sink_that_is_lost_while_it_is_full_frees_its_source(world: World) -> None:
    both = await pair(world)
    both.node.reading = False
    both.start()
    both.client.send(MUCH)
    await world.until(lambda: both.sink.transport.congested)
    await world.settle()
    both.node.reset()
    await world.until(lambda: both.sink.ended and both.source.received)
    assert not both.done


async def test_between_lost_sides_nothing_is_moved(world: World) -> None:
    both = await pair(world)
    both.node.reset()
    await world.until(lambda: both.sink.ended)
    relay = both.start()
    both.client.send(b"hello")
    await world.until(lambda: both.source.received == b"hello")
    relay.stop()
    assert (relay.moved, both.done) == (0, 0)


async def test_a_stopped_relay_gives_the_source_back(world: World) -> None:
    both = await pair(world)
    relay = both.start()
    both.client.send(b"moved")
    await world.until(lambda: both.node.received == b"moved")
    with both.source.hears_nothing():
        both.client.send(b"kept")
        relay.stop()
        relay.stop()
    await world.until(lambda: both.source.received == b"kept")
    both.client.half_close()
    await world.until(lambda: "eof" in both.source.events)
    assert (relay.moved, both.done) == (5, 0)


async def test_a_stopped_relay_gives_the_sink_back(world: World) -> None:
    both = await pair(world)
    both.start().stop()
    other = Pair(world, await world.accepted(), (both.sink, both.node))
    other.start()
    other.client.send(b"another")
    await world.until(lambda: both.node.received == b"another")


async def test_a_fault_in_what_is_done_costs_only_its_connection(
    world: World, logged_errors: Callable[[], list[LogEvent]]
) -> None:
    both, other = await pair(world), await pair(world)
    both.then = lambda: [][0]
    both.start()
    other.start()
    both.client.half_close()
    await world.until(lambda: both.source.ended)
    other.client.send(b"hello")
    await world.until(lambda: other.node.received == b"hello")
    assert both.source.events == ["made", "lost"]
    assert len(logged_errors()) == 1
