"""Time and names, over every engine."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import LogEvent

from nodebalancer.testing.worlds import World
from nodebalancer.transport.engine import TICK_SECONDS


async def test_now_never_goes_back(world: World) -> None:
    seen = [world.engine.now]
    for _ in range(20):
        await world.settle()
        seen.append(world.engine.now)
    assert seen == sorted(seen)


async def test_deadlines_are_never_early(world: World) -> None:
    engine = world.engine
    early_by: list[float] = []

    def arm(seconds: float) -> None:
        due = engine.now + seconds
        engine.deadline(seconds, lambda: early_by.append(due - engine.now))

    for tenths in (0, 1, 5, 9, 11):
        arm(tenths / 10)
    assert early_by == []
    await world.until(lambda: len(early_by) == 5)
    # A clock that is read at the beginning of a turn may be behind by that turn.
    assert max(early_by) < TICK_SECONDS / 20


async def test_deadlines_are_moved_and_cancelled(world: World) -> None:
    fired: list[str] = []
    moved = world.engine.deadline(0.2, lambda: fired.append("moved"))
    cancelled = world.engine.deadline(0.3, lambda: fired.append("cancelled"))
    world.engine.deadline(0.4, lambda: fired.append("first"))
    moved.rearm(1.6)
    cancelled.cancel()
    cancelled.cancel()
    await world.until(lambda: fired)
    assert fired == ["first"]
    await world.until(lambda: len(fired) > 1)
    assert fired == ["first", "moved"]


async def test_deadlines_that_fired_or_were_cancelled_can_be_armed_again(world: World) -> None:
    fired: list[str] = []
    cancelled = world.engine.deadline(0.1, lambda: fired.append("was cancelled"))
    cancelled.cancel()
    again = world.engine.deadline(0.1, lambda: fired.append("again"))
    await world.until(lambda: fired == ["again"])
    again.rearm(0.1)
    cancelled.rearm(0.2)
    await world.until(lambda: fired == ["again", "again", "was cancelled"])


async def test_a_deadline_whose_callback_raises_costs_no_other(
    world: World, logged_errors: Callable[[], list[LogEvent]]
) -> None:
    fired: list[None] = []
    world.engine.deadline(0.1, lambda: [][0])
    world.engine.deadline(0.2, lambda: fired.append(None))
    await world.until(lambda: fired)
    assert len(logged_errors()) == 1


async def test_names_are_resolved_without_blocking(world: World) -> None:
    assert await world.engine.resolve("127.0.0.1") == ["127.0.0.1"]
    assert set(await world.engine.resolve("localhost")) & {"127.0.0.1", "::1"}


async def test_a_name_that_has_no_address_has_none(world: World) -> None:
    assert await world.engine.resolve("x" * 64 + ".invalid") == []
