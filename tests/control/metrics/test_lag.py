"""How late timers come."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from nodebalancer.control.metrics.lag import SECONDS, Lag


def made() -> tuple[Clock, Lag]:
    clock = Clock()
    return clock, Lag(clock, clock.seconds)


def counted(lag: Lag) -> int:
    return sum(lag.durations.counts)


def test_a_loop_that_turns_has_none() -> None:
    clock, lag = made()
    lag.start()
    clock.pump([SECONDS] * 8)
    assert counted(lag) == lag.durations.counts[0] == 8
    lag.stop()


def test_a_loop_that_was_busy_has_as_much_as_it_was_late() -> None:
    clock, lag = made()
    lag.start()
    clock.advance(SECONDS + 0.1)
    clock.advance(3 * SECONDS)
    assert lag.durations.seconds == pytest.approx(0.1 + 2 * SECONDS + 0.1)
    before = lag.durations.seconds
    clock.advance(SECONDS - 0.1)
    assert counted(lag) == 3
    assert lag.durations.seconds == pytest.approx(before)


def test_it_is_measured_while_that_is_wanted() -> None:
    clock, lag = made()
    lag.start()
    clock.advance(SECONDS)
    lag.start()
    lag.stop()
    lag.stop()
    assert clock.getDelayedCalls() == []
    clock.advance(10)
    lag.start()
    clock.advance(SECONDS)
    assert counted(lag) == lag.durations.counts[0] == 2
    lag.stop()
