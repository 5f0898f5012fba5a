"""Nobody waits for somebody else's flood, over every engine."""

from __future__ import annotations

import socket

import pytest

from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import RealWorld, Served, World
from nodebalancer.transport.engine import TICK_SECONDS

TURN = 1 << 20
"""More than one connection moves in its turn, and less than a flood has ready."""

FLOOD = bytes(range(256)) * 65536
"""Sixteen megabytes."""


@pytest.fixture
def real(world: World) -> World:
    """In the memory network time stands still and nobody waits for a turn, whatever happens at once."""
    if not isinstance(world, RealWorld):
        pytest.skip("nothing takes time in there")
    return world


def roomy(served: Served) -> Address:
    """Where a listener listens, whose clients can have more on the way than an engine reads at once."""
    listening = getattr(served.listener, "socket", None)
    if listening is not None:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TURN)
    return served.address


@pytest.mark.parametrize("resumes", [False, True])
async def test_a_flood_on_one_connection_does_not_starve_another(world: World, resumes: bool) -> None:
    """There is always more to read, and a protocol that pauses and resumes is not served at once again."""
    heard_before: list[int] = []
    _, peer = await world.accepted(Recorder(data=lambda *_: heard_before.append(len(flood.received))))

    def flood_on(recorder: Recorder, data: bytes) -> None:
        if len(recorder.received) == len(data):
            peer.send(b"hello")
        flooding.send(b"")  # as much as there is room for again
        if resumes:
            recorder.transport.pauseProducing()
            recorder.transport.resumeProducing()

    flood = Recorder(made=lambda r: r.transport.pauseProducing(), data=flood_on)
    flooding = world.client(roomy(world.serve(lambda: flood)))
    flooding.send(FLOOD)
    await world.until(lambda: flood.transport is not None)
    await world.settle()
    flood.transport.resumeProducing()
    await world.until(lambda: heard_before)
    assert heard_before[0] <= TURN
    await world.until(lambda: len(flood.received) == len(FLOOD))


async def test_a_flood_that_is_relayed_does_not_starve_a_connection(world: World) -> None:
    source, flooding = await world.accepted()
    sink, node = await world.dialled()
    source.transport.pauseProducing()
    flooding.send(FLOOD)
    await world.settle()
    moved_before: list[int] = []
    _, peer = await world.accepted(Recorder(data=lambda *_: moved_before.append(relay.moved)))
    relay = world.engine.relay(source.transport, sink.transport, done=lambda: None)
    peer.send(b"hello")
    await world.until(lambda: moved_before)
    assert moved_before[0] <= TURN
    await world.until(lambda: len(node.received) == len(FLOOD))
    assert node.received == FLOOD


async def test_a_flood_does_not_delay_deadlines(real: World) -> None:
    source, flooding = await real.accepted()
    sink, node = await real.dialled()
    engine, late_by = real.engine, list[float]()
    due = engine.now + 0.1
    engine.relay(source.transport, sink.transport, done=lambda: None)
    engine.deadline(0.1, lambda: late_by.append(engine.now - due))

    def flooded_for_its_time() -> bool:
        if not flooding.unsent:
            flooding.send(FLOOD)
        node.received.clear()
        return bool(late_by)

    await real.until(flooded_for_its_time)
    # A busy machine is no fault; being held up for as long as the flood lasts would be one.
    assert late_by[0] < 2 * TICK_SECONDS


async def test_a_crowd_at_the_door_does_not_starve_a_connection(real: World) -> None:
    served = real.serve()
    served.listener.pause()
    crowd = [real.client(served.address) for _ in range(200)]
    came_before: list[int] = []
    _, peer = await real.accepted(Recorder(data=lambda *_: came_before.append(len(served.built))))
    served.listener.resume()
    peer.send(b"hello")
    await real.until(lambda: came_before)
    assert came_before[0] <= len(crowd) / 2
    await real.until(lambda: len(served.built) == len(crowd))
