"""Connecting to nodes, over every engine."""

from __future__ import annotations

import os

from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import World


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_dialled_node_is_connected_in_a_later_turn(world: World) -> None:
    address, peers = world.node()
    recorder = Recorder()
    with recorder.hears_nothing():
        world.dial(address, recorder)
    await world.until(lambda: recorder.transport is not None and peers)
    assert recorder.events == ["made"]
    assert recorder.transport.getPeer() == address
    peers[0].send(b"hello")
    await world.until(lambda: recorder.received == b"hello")


async def test_a_protocol_may_write_as_soon_as_it_is_connected(world: World) -> None:
    _, peer = await world.dialled(Recorder(made=lambda r: r.transport.write(b"hello")))
    await world.until(lambda: peer.received == b"hello")


async def test_a_refused_dial_is_told_in_a_later_turn_and_is_the_nodes_fault(world: World) -> None:
    recorder = Recorder()
    with recorder.hears_nothing():
        world.dial(world.refused(), recorder)
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["failed"]
    assert recorder.error is not None
    assert (recorder.error.reason, recorder.error.ours, recorder.error.timed_out) == (
        "connection refused",
        False,
        False,
    )


async def test_a_silent_node_times_out(world: World) -> None:
    recorder = Recorder()
    began = world.engine.now
    world.dial(world.silent(), recorder, timeout=0.3)
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["failed"]
    assert recorder.error is not None
    assert (recorder.error.ours, recorder.error.timed_out) == (False, True)
    assert world.engine.now - began >= 0.3


async def test_a_timed_out_dial_leaves_no_socket(world: World) -> None:
    address, recorder = world.silent(), Recorder()
    before = descriptors()
    world.dial(address, recorder, timeout=0.1)
    await world.until(lambda: recorder.ended)
    await world.settle()
    assert descriptors() == before


async def test_a_cancelled_dial_hears_nothing_and_leaves_no_socket(world: World) -> None:
    silent, recorders = world.silent(), [Recorder(), Recorder(), Recorder()]
    listening, _ = world.node()
    refused = world.refused()
    await world.settle()
    before = descriptors()
    dials = [
        world.dial(address, recorder) for address, recorder in zip((silent, listening, refused), recorders, strict=True)
    ]
    for dial in dials:
        dial.cancel()
        dial.cancel()
    await world.settle()
    assert [recorder.events for recorder in recorders] == [[], [], []]
    # What the node accepted of the cancelled dial is the test's own descriptor.
    assert descriptors() <= before + 1


async def test_a_dial_under_way_can_be_cancelled(world: World) -> None:
    address, recorder = world.silent(), Recorder()
    before = descriptors()
    dial = world.dial(address, recorder)
    await world.settle()
    dial.cancel()
    await world.settle()
    assert recorder.events == []
    assert descriptors() == before


async def test_cancelling_is_without_effect_once_it_stands_or_has_failed(world: World) -> None:
    address, peers = world.node()
    stands, failed = Recorder(), Recorder()
    dials = [world.dial(address, stands), world.dial(world.refused(), failed)]
    await world.until(lambda: stands.transport is not None and peers and failed.ended)
    for dial in dials:
        dial.cancel()
    stands.transport.write(b"hello")
    await world.until(lambda: peers[0].received == b"hello")
    assert stands.events == ["made"]
    assert failed.events == ["failed"]


async def test_a_protocol_may_cancel_from_the_failure_itself(world: World) -> None:
    recorder = Recorder(failed=lambda *_: dial.cancel())
    dial = world.dial(world.refused(), recorder)
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["failed"]


async def test_a_failed_dial_may_be_followed_by_another(world: World) -> None:
    """The next node is tried."""
    address, peers = world.node()
    second = Recorder()
    first = Recorder(failed=lambda *_: world.dial(address, second))
    world.dial(world.refused(), first)
    await world.until(lambda: peers and second.transport is not None)


async def test_a_dial_comes_from_the_source_that_was_asked_for(world: World) -> None:
    address, peers = world.node()
    recorder = Recorder()
    world.dial(address, recorder, source="127.0.0.2")
    await world.until(lambda: peers and recorder.transport is not None)
    assert recorder.transport.getHost().host == "127.0.0.2"


async def test_a_source_that_cannot_be_had_is_our_fault(world: World) -> None:
    """It says nothing about the node."""
    address, _ = world.node()
    for source in (world.foreign(), "::1"):
        recorder = Recorder()
        with recorder.hears_nothing():
            world.dial(address, recorder, source=source)
        await world.until(lambda recorder=recorder: recorder.ended)  # type: ignore[misc]
        assert recorder.events == ["failed"]
        assert recorder.error is not None
        assert recorder.error.ours


async def test_many_dials_at_once_all_stand(world: World) -> None:
    address, peers = world.node()
    recorders = [Recorder() for _ in range(50)]
    for recorder in recorders:
        world.dial(address, recorder)
    await world.until(lambda: len(peers) == 50 and all(r.transport is not None for r in recorders))
