from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from nodebalancer.transport.deadlines import PASSED_OVER_MAX, CoarseDeadline, Deadlines
from nodebalancer.transport.engine import TICK_SECONDS


class World:
    def __init__(self) -> None:
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock, self.clock.seconds)
        self.fired: list[float] = []

    def arm(self, seconds: float) -> CoarseDeadline:
        return self.deadlines.deadline(seconds, lambda: self.fired.append(self.clock.seconds()))

    def advance(self, seconds: float, step: float = 0.25) -> None:
        self.clock.pump([step] * round(seconds / step))


@pytest.fixture
def world() -> World:
    return World()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 5)), max_size=5))
def test_never_early_and_at_most_a_second_late(waits: list[tuple[float, float]]) -> None:
    """However deadlines come in, each fires within the second after it is due."""
    clock = Clock()
    deadlines = Deadlines(clock, clock.seconds)
    late: list[float] = []
    for pause, seconds in waits:
        clock.pump([1 / 8] * round(pause * 8))
        due = clock.seconds() + seconds
        deadlines.deadline(seconds, lambda due=due: late.append(clock.seconds() - due))  # type: ignore[misc]
    clock.pump([1 / 8] * 64)
    assert len(late) == len(waits)
    assert all(0 <= seconds <= TICK_SECONDS + 1 / 8 for seconds in late)


def test_it_fires_once(world: World) -> None:
    world.arm(1.5)
    world.advance(10)
    assert world.fired == [2.0]


def test_a_rearmed_deadline_fires_at_its_new_time_only(world: World) -> None:
    deadline = world.arm(2)
    world.advance(1)
    deadline.rearm(4)
    world.advance(10)
    assert world.fired == [5.0]


def test_rearming_to_an_earlier_time_counts(world: World) -> None:
    world.arm(9).rearm(1)
    world.advance(1)
    assert world.fired == [1.0]


def test_a_cancelled_deadline_does_not_fire(world: World) -> None:
    deadline = world.arm(1)
    deadline.cancel()
    deadline.cancel()
    world.advance(3)
    assert world.fired == []


def test_a_fired_or_cancelled_deadline_can_be_rearmed(world: World) -> None:
    deadline = world.arm(1)
    world.advance(1)
    deadline.rearm(1)
    world.advance(1)
    deadline.cancel()
    deadline.rearm(1)
    world.advance(1)
    assert world.fired == [1.0, 2.0, 3.0]


def test_one_callback_may_cancel_or_move_another_that_is_due(world: World) -> None:
    world.deadlines.deadline(0.5, lambda: (cancelled.cancel(), moved.rearm(3)))  # type: ignore[arg-type, func-returns-value]
    cancelled, moved = world.arm(0.75), world.arm(0.75)
    world.advance(1)
    assert world.fired == []
    world.advance(3)
    assert world.fired == [4.0]


def test_a_callback_that_raises_costs_nobody_else(world: World, logged_errors: Callable[[], list[LogEvent]]) -> None:
    world.deadlines.deadline(0.5, lambda: [][0])
    world.arm(0.75)
    world.advance(2)
    assert world.fired == [1.0]
    assert len(logged_errors()) == 1


def test_nothing_ticks_when_nothing_is_waited_for(world: World) -> None:
    world.arm(1)
    assert len(world.deadlines) == 1
    world.advance(2)
    assert len(world.deadlines) == 0
    assert not world.clock.getDelayedCalls()


def test_after_a_pause_of_the_machine_sockets_are_served_first(world: World) -> None:
    """What arrived while we stood still is read before anybody is called silent."""
    events: list[str] = []
    world.deadlines.deadline(3, lambda: events.append("deadline"))
    world.advance(1)
    # A reactor serves so many sockets in a turn, and may need several.
    world.clock.callLater(1.5, events.append, "sockets")
    world.clock.advance(10)
    assert events == ["sockets"]
    # It may be paused again at once.
    world.clock.advance(10)
    assert events == ["sockets"]
    world.clock.advance(1)
    assert events == ["sockets", "deadline"]


def test_a_loop_that_is_always_late_has_deadlines_all_the_same(world: World) -> None:
    events: list[float] = []
    world.deadlines.deadline(3, lambda: events.append(world.clock.seconds()))
    for _ in range(PASSED_OVER_MAX + 2):
        world.clock.advance(5)
    assert events == [5.0 * (PASSED_OVER_MAX + 1)]
