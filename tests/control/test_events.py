"""What has become of nodes is told: a line, an event and a count for every change."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock

from nodebalancer.balancing.health import StatusChange
from nodebalancer.balancing.member import Status
from nodebalancer.control.events import EVENTS_MAX, LEVELS, LINES_A_TURN, Events
from nodebalancer.testing.logs import logged


def change(number: int = 1, new: Status = Status.DOWN) -> StatusChange:
    return StatusChange("www/web", "app-1", Status.UNKNOWN, new, "3 probes in a row failed: HTTP 503", 1.7e9, number)


def test_a_change_is_one_line_with_the_reason_and_one_event() -> None:
    clock = Clock()
    events = Events(clock)
    with logged() as lines:
        events.status_changed(change(7))
        assert lines == []
        clock.advance(0)
        clock.advance(9)
    assert lines == [
        "[nodes www/web] app-1 is DOWN (was Unknown): 3 probes in a row failed: HTTP 503; change 7",
    ]
    assert (list(events.changes), events.count) == ([change(7)], 1)


class Turns:
    """A reactor: what is called later is called in the next turn. (A ``Clock`` knows no turns.)"""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def callLater(self, seconds: float, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_a_thousand_nodes_that_change_at_once_are_told_over_several_turns_and_in_order() -> None:
    clock = Turns()
    events = Events(cast(IReactorTime, clock))
    with logged() as lines:
        for number in range(1000):
            events.status_changed(change(number))
        for turn in range(1, 1000 // LINES_A_TURN + 1):
            clock.turn()
            assert len(lines) == turn * LINES_A_TURN
    assert [line.rpartition(" ")[2] for line in lines] == [str(number) for number in range(1000)]
    assert clock.calls == []


def test_memory_is_bounded_and_the_count_is_not() -> None:
    events = Events(Clock())
    for number in range(EVENTS_MAX + 5):
        events.status_changed(change(number))
    assert (len(events.changes), events.changes[0].number, events.count) == (EVENTS_MAX, 5, EVENTS_MAX + 5)


def test_every_status_has_a_level() -> None:
    assert set(LEVELS) == set(Status)
