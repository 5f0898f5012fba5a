"""What engines ask of the kernel for their descriptors: not in the memory world, which has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodebalancer.testing.recorder import Recorder, Recorders
from nodebalancer.testing.worlds import RealWorld, World

KEEPALIVE_TIMER = "02"
"""In the column ``tr`` of /proc/net/tcp (Documentation/networking/proc_net_tcp)."""


@pytest.fixture
def world(world: World) -> World:
    if not isinstance(world, RealWorld):
        pytest.skip("no descriptors")
    return world


def descriptors() -> set[int]:
    # The one that lists the directory is closed by then, and its number perhaps free again.
    return {fd for fd in map(int, os.listdir("/proc/self/fd")) if Path(f"/proc/self/fd/{fd}").exists()}


def timer(recorder: Recorder) -> str:
    """Which timer the kernel runs for a connection of the engine."""
    ports = recorder.transport.getHost().port, recorder.transport.getPeer().port
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if tuple(int(field.rpartition(":")[2], 16) for field in fields[1:3]) == ports:
            return fields[5].partition(":")[0]
    raise AssertionError("no such connection")


async def test_the_kernel_looks_after_a_connection_that_lives_on(world: World, side: str) -> None:
    """A peer that vanished without a word is noticed some day (SO_KEEPALIVE)."""
    recorder, _ = await world.connection(side)
    await world.until(lambda: timer(recorder) == KEEPALIVE_TIMER)


async def test_the_kernel_looks_after_those_whose_dial_took_its_time(world: World) -> None:
    """Ticks that came before the connection was made do not count."""
    fired: list[None] = []
    world.dial(world.silent(), Recorder(), timeout=5)
    world.engine.deadline(1.1, lambda: fired.append(None))
    await world.until(lambda: fired)
    recorder, _ = await world.dialled()
    await world.until(lambda: timer(recorder) == KEEPALIVE_TIMER)


async def test_no_descriptor_is_passed_on_to_programs(world: World) -> None:
    """In a program that inherits one a closed connection lives on, and closing does not unregister."""
    before = descriptors()
    client, peer = await world.accepted()
    node, node_peer = await world.dialled()
    node_peer.reading = False
    adopted = world.engine.adopt(world.inherited()[0], Recorders())
    world.engine.relay(client.transport, node.transport, done=lambda: None)
    peer.send(bytes(1 << 23))
    await world.until(lambda: node.transport.congested)
    await world.settle()
    ours = descriptors() - before
    assert len(ours) >= 4
    assert [fd for fd in ours if os.get_inheritable(fd)] == []
    adopted.close()
