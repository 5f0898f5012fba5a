"""That the worlds notice what an engine does wrong."""

from __future__ import annotations

from typing import Any

import pytest

from nodebalancer.testing import worlds
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import MemoryWorld, RealWorld, World
from nodebalancer.transport.engine_reactor import ReactorEngine


async def test_a_condition_that_never_comes_true_fails_in_memory() -> None:
    world = MemoryWorld()
    with pytest.raises(AssertionError):
        await world.until(lambda: False)
    again = world.engine.deadline(1, lambda: again.rearm(1))
    with pytest.raises(AssertionError):
        await world.until(lambda: False)


async def test_a_condition_that_never_comes_true_fails_on_sockets(
    reactor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worlds, "PATIENCE_SECONDS", 0.01)
    world = RealWorld(ReactorEngine(reactor), reactor)
    with pytest.raises(AssertionError):
        await world.until(lambda: False)


async def test_an_event_inside_of_another_fails_the_test() -> None:
    world = MemoryWorld()
    recorder, _ = await world.accepted(Recorder(data=lambda r, _: r.readConnectionLost()))
    recorder.dataReceived(b"hello")
    with pytest.raises(AssertionError):
        await world.close()


async def test_closing_ends_what_the_test_has_begun() -> None:
    world = MemoryWorld()
    accepted, _ = await world.connection("accepted")
    dialled, _ = await world.connection("dialled")
    world.dial(world.refused(), Recorder())
    await world.close()
    assert accepted.ended
    assert dialled.ended


@pytest.mark.parametrize("name", ["until", "settle"])
async def test_a_world_says_how_it_turns(name: str) -> None:
    bare = World(MemoryEngine(MemoryNetwork()))
    with pytest.raises(NotImplementedError):
        await (bare.until(lambda: True) if name == "until" else bare.settle())


def test_a_world_says_who_is_in_it() -> None:
    bare = World(MemoryEngine(MemoryNetwork()))
    for ask in (bare.free_address, bare.node, bare.inherited, bare.refused, bare.silent):
        with pytest.raises(NotImplementedError):
            ask()
    with pytest.raises(NotImplementedError):
        bare.client(bare.engine.listen(MemoryNetwork().free("127.0.0.1"), None).address)  # type: ignore[arg-type]
