"""What a protocol hears of its connection, over every engine."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.logger import LogEvent

from nodebalancer.testing.peers import Peer
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import World

LoggedErrors = Callable[[], list[LogEvent]]

SOME = bytes(range(256)) * 4096
"""A megabyte, more than any engine reads or writes at once."""


def fault(*_: object) -> None:
    raise ValueError("a fault of the protocol")


async def test_connection_then_data_then_end_of_file_then_loss(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.send(b"hello")
    await world.until(lambda: recorder.received == b"hello")
    peer.half_close()
    await world.until(lambda: "eof" in recorder.events)
    recorder.transport.loseConnection()
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "data", "eof", "lost"]
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionDone


async def test_data_comes_whole_and_in_order_before_the_end_of_file(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.send(SOME)
    peer.half_close()
    await world.until(lambda: "eof" in recorder.events)
    assert recorder.received == SOME
    assert recorder.events == ["made", "data", "eof"]


async def test_the_peers_end_of_file_ends_nothing(world: World, side: str) -> None:
    """A client that has said all still gets its whole answer."""
    recorder, peer = await world.connection(side)
    peer.half_close()
    await world.until(lambda: "eof" in recorder.events)
    await world.settle()
    recorder.transport.write(SOME)
    await world.until(lambda: peer.received == SOME)
    assert not recorder.ended


async def test_a_full_close_looks_like_an_end_of_file_until_something_is_sent(world: World, side: str) -> None:
    """Only what comes back to what we send tells the two apart."""
    recorder, peer = await world.connection(side)
    peer.send(b"hello")
    peer.close()
    await world.until(lambda: "eof" in recorder.events)
    await world.settle()
    assert recorder.events == ["made", "data", "eof"]
    for _ in range(2):  # the first is answered by a reset, if anything
        recorder.transport.write(b"anybody there?")
        await world.settle()
    await world.until(lambda: recorder.ended)
    assert recorder.reason is not None
    assert recorder.reason.type is not ConnectionDone


async def test_both_ends_of_file_end_nothing_either(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.loseWriteConnection()
    await world.until(lambda: peer.ended)
    peer.half_close()
    await world.until(lambda: "eof" in recorder.events)
    await world.settle()
    assert recorder.events == ["made", "eof"]
    with recorder.hears_nothing():
        recorder.transport.loseConnection()
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "eof", "lost"]


async def test_a_reset_by_the_peer_is_a_loss_and_not_a_clean_one(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.reset()
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "lost"]
    assert recorder.reason is not None
    assert recorder.reason.type is not ConnectionDone


async def test_after_the_loss_nothing_comes_and_no_call_does_harm(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    transport = recorder.transport
    peer.reset()
    await world.until(lambda: recorder.ended)
    with recorder.hears_nothing():
        transport.write(b"too late")
        transport.writeSequence([b"too", b"late"])
        transport.pauseProducing()
        transport.resumeProducing()
        transport.loseWriteConnection()
        transport.loseConnection()
        transport.abortConnection()
        transport.stopProducing()
        transport.unregisterProducer()
        await world.settle()
    assert recorder.events.count("lost") == 1


async def test_our_own_abort_says_so(world: World, side: str) -> None:
    recorder, _ = await world.connection(side)
    recorder.transport.abortConnection()
    await world.until(lambda: recorder.ended)
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionAborted


async def test_each_side_knows_both_addresses(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    assert recorder.transport.getPeer() == peer.address
    assert recorder.transport.getHost() != peer.address
    assert recorder.transport.getHost().port > 0


@pytest.mark.parametrize("event", ["made", "data", "eof"])
async def test_a_protocol_that_raises_loses_its_own_connection_only(
    world: World, event: str, logged_errors: LoggedErrors
) -> None:
    faulty = Recorder(**{event: fault})
    built = iter([Recorder(), faulty, Recorder()])
    served = world.serve(lambda: next(built))
    before, bad, after = (world.client(served.address) for _ in range(3))
    for peer in (before, bad, after):
        peer.send(b"hello")
    bad.half_close()
    await world.until(lambda: faulty.ended and bad.was_reset)
    first, _, last = served.built
    await world.until(lambda: first.received == last.received == b"hello")
    assert not first.ended
    assert not last.ended
    assert len(logged_errors()) == 1


async def test_a_protocol_that_raises_at_its_loss_costs_nobody_anything(
    world: World, side: str, logged_errors: LoggedErrors
) -> None:
    other, other_peer = await world.connection(side)
    recorder, peer = await world.connection(side, Recorder(lost=fault))
    peer.reset()
    await world.until(lambda: recorder.ended)
    other_peer.send(b"hello")
    await world.until(lambda: other.received == b"hello")
    assert len(logged_errors()) == 1


async def test_a_failed_dial_that_raises_costs_nobody_anything(world: World, logged_errors: LoggedErrors) -> None:
    recorder = Recorder(failed=fault)
    world.dial(world.refused(), recorder)
    await world.until(lambda: recorder.ended)
    _, peer = await world.dialled()
    assert len(logged_errors()) == 1
    assert not peer.was_reset


async def test_active_at_is_when_a_byte_last_went_in_or_out(world: World) -> None:
    """Idle time-outs are measured by it."""
    reader, reader_peer = await world.accepted()
    writer, writer_peer = await world.dialled()
    began = reader.transport.active_at, writer.transport.active_at
    fired: list[None] = []
    world.engine.deadline(2, lambda: fired.append(None))
    await world.until(lambda: fired)
    assert (reader.transport.active_at, writer.transport.active_at) == began
    reader_peer.send(b"in")
    writer.transport.write(b"out")
    await world.until(lambda: reader.received and writer_peer.received)
    assert reader.transport.active_at > began[0]
    assert writer.transport.active_at > began[1]
    assert max(reader.transport.active_at, writer.transport.active_at) <= world.engine.now


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def living(kinds: set[type]) -> set[int]:
    return {id(one) for one in gc.get_objects() if type(one) in kinds}


async def relay_both_ways(world: World, client: Recorder, peer: Peer, node: Recorder, node_peer: Peer) -> None:
    done: list[None] = []
    world.engine.relay(client.transport, node.transport, done=lambda: done.append(None))
    world.engine.relay(node.transport, client.transport, done=lambda: done.append(None))
    peer.send(SOME)
    peer.half_close()
    node_peer.half_close()
    await world.until(lambda: len(done) == 2)


@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("how", ["loseConnection", "abortConnection", "reset by the peer"])
@pytest.mark.parametrize("relayed", [False, True])
async def test_what_is_left_of_a_connection_needs_no_collector(world: World, how: str, relayed: bool) -> None:
    """Connection objects form no cycles, so the collector has nothing to do however many there are."""
    client, peer = await world.accepted()
    node, node_peer = await world.dialled()
    kinds = {type(client.transport), type(node.transport)}
    ours = {id(client.transport), id(node.transport)}
    assert ours <= living(kinds)
    if relayed:
        await relay_both_ways(world, client, peer, node, node_peer)
    for recorder, other in ((client, peer), (node, node_peer)):
        if how == "reset by the peer":
            other.reset()
        else:
            getattr(recorder.transport, how)()
    # A reset after both ends of file shows when something is sent.
    for recorder in (client, node):
        recorder.transport.write(SOME)
    await world.until(lambda: client.ended and node.ended)
    client.transport = node.transport = None
    await world.settle()
    assert not ours & living(kinds)
