"""A protocol that does not want to hear more just now, over every engine."""

from __future__ import annotations

from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import World

MUCH = bytes(range(256)) * 32768
"""Eight megabytes: more than the kernel's buffers hold for a connection that is not read."""


async def test_pausing_holds_data_and_end_of_file(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    with recorder.hears_nothing():
        recorder.transport.pauseProducing()
        peer.send(b"hello")
        peer.half_close()
        await world.settle()
        recorder.transport.resumeProducing()
    await world.until(lambda: "eof" in recorder.events)
    assert recorder.events == ["made", "data", "eof"]
    assert recorder.received == b"hello"


async def test_pausing_holds_an_end_of_file_that_comes_alone(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.send(b"hello")
    await world.until(lambda: recorder.received)
    recorder.transport.pauseProducing()
    peer.half_close()
    await world.settle()
    assert recorder.events == ["made", "data"]
    recorder.transport.resumeProducing()
    await world.until(lambda: "eof" in recorder.events)


async def test_the_end_of_file_is_heard_once(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.half_close()
    await world.until(lambda: "eof" in recorder.events)
    recorder.transport.pauseProducing()
    recorder.transport.resumeProducing()
    await world.settle()
    assert recorder.events == ["made", "eof"]


async def test_a_connection_may_begin_paused(world: World, side: str) -> None:
    """Nothing is read from a client before a node is there to take it."""
    recorder, peer = await world.connection(side, Recorder(made=lambda r: r.transport.pauseProducing()))
    peer.send(b"hello")
    await world.settle()
    assert recorder.events == ["made"]
    recorder.transport.resumeProducing()
    await world.until(lambda: recorder.received == b"hello")


async def test_pausing_at_data_holds_the_rest(world: World, side: str) -> None:
    recorder, peer = await world.connection(side, Recorder(data=lambda r, _: r.transport.pauseProducing()))
    peer.send(MUCH)
    peer.half_close()
    await world.until(lambda: recorder.received)
    while "eof" not in recorder.events:
        with recorder.hears_nothing():
            await world.settle()
            recorder.transport.resumeProducing()
        so_far = len(recorder.received)
        await world.until(lambda so_far=so_far: len(recorder.received) > so_far or "eof" in recorder.events)  # type: ignore[misc]
    assert recorder.received == MUCH


async def test_a_paused_connection_slows_its_peer_down(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.pauseProducing()
    peer.send(MUCH + MUCH)
    await world.settle()
    assert peer.unsent
    recorder.transport.resumeProducing()
    await world.until(lambda: len(recorder.received) == 2 * len(MUCH))
    assert not peer.unsent


async def test_pausing_and_resuming_twice_is_pausing_and_resuming_once(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.resumeProducing()
    recorder.transport.pauseProducing()
    recorder.transport.pauseProducing()
    peer.send(b"hello")
    await world.settle()
    assert not recorder.received
    recorder.transport.resumeProducing()
    recorder.transport.resumeProducing()
    await world.until(lambda: recorder.received == b"hello")


async def test_paused_again_before_the_turn_came_hears_nothing(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.pauseProducing()
    peer.send(b"hello")
    await world.settle()
    with recorder.hears_nothing():
        recorder.transport.resumeProducing()
        recorder.transport.pauseProducing()
        await world.settle()
    recorder.transport.resumeProducing()
    await world.until(lambda: recorder.received == b"hello")


async def test_one_protocol_may_pause_another(world: World) -> None:
    """Both have data in the same turn; who is paused by the other hears nothing."""
    recorders: list[Recorder] = []

    def pause_the_other(heard: Recorder, _: bytes) -> None:
        for recorder in recorders:
            if recorder is not heard:
                recorder.transport.pauseProducing()

    recorders[:] = [Recorder(data=pause_the_other), Recorder(data=pause_the_other)]
    built = iter(recorders)
    served = world.serve(lambda: next(built))
    peers = [world.client(served.address) for _ in recorders]
    await world.until(lambda: all(recorder.transport for recorder in recorders))
    for peer in peers:
        peer.send(b"hello")
    await world.until(lambda: any(recorder.received for recorder in recorders))
    await world.settle()
    assert sorted(len(recorder.received) for recorder in recorders) == [0, 5]


async def test_a_paused_connection_writes_and_closes(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.pauseProducing()
    recorder.transport.write(b"hello")
    recorder.transport.loseConnection()
    await world.until(lambda: peer.ended and recorder.ended)
    assert peer.received == b"hello"


async def test_a_reset_is_heard_at_the_latest_after_resuming(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.pauseProducing()
    peer.reset()
    await world.settle()
    recorder.transport.resumeProducing()
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "lost"]


async def test_bytes_that_nobody_has_heard_of_are_known(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.pauseProducing()
    assert not recorder.transport.has_unread()
    peer.send(b"hello")
    await world.settle()
    assert recorder.transport.has_unread()
    recorder.transport.resumeProducing()
    await world.until(lambda: recorder.received == b"hello")
    assert not recorder.transport.has_unread()
