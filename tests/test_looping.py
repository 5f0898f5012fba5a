from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from nodebalancer.looping import GuardedLoop


def test_it_calls_after_each_interval_until_it_is_stopped() -> None:
    clock, calls = Clock(), list[float]()
    loop = GuardedLoop(clock, 2, lambda: calls.append(clock.seconds()), name="a test")
    loop.start()
    clock.pump([2, 2])
    loop.stop()
    clock.advance(2)
    assert calls == [2, 4]


def test_it_can_call_at_once() -> None:
    clock, calls = Clock(), list[float]()
    GuardedLoop(clock, 2, lambda: calls.append(clock.seconds()), name="a test").start(at_once=True)
    assert calls == [0]


def test_starting_and_stopping_twice_is_harmless() -> None:
    clock, calls = Clock(), list[float]()
    loop = GuardedLoop(clock, 1, lambda: calls.append(clock.seconds()), name="a test")
    loop.start()
    loop.start()
    clock.advance(1)
    assert loop.running
    loop.stop()
    loop.stop()
    assert not loop.running
    assert calls == [1]
    assert not clock.getDelayedCalls()


def test_an_exception_is_logged_and_costs_only_that_call(logged_errors: Callable[[], list[LogEvent]]) -> None:
    clock, calls = Clock(), list[float]()

    def action() -> None:
        calls.append(clock.seconds())
        if len(calls) == 1:
            raise ValueError("the first time")

    GuardedLoop(clock, 1, action, name="a test").start()
    clock.pump([1, 1])
    assert calls == [1, 2]
    (event,) = logged_errors()
    assert event["name"] == "a test"
    assert event["log_failure"].check(ValueError)


def test_a_failed_deferred_is_logged_and_costs_only_that_call(logged_errors: Callable[[], list[LogEvent]]) -> None:
    clock, calls = Clock(), list[float]()

    def action() -> Deferred[None]:
        calls.append(clock.seconds())
        return fail(ValueError())

    GuardedLoop(clock, 1, action, name="a test").start()
    clock.pump([1, 1])
    assert calls == [1, 2]
    assert len(logged_errors()) == 2


def test_a_deferred_is_waited_for() -> None:
    clock, waiting = Clock(), list[Deferred[None]]()

    def action() -> Deferred[None]:
        waiting.append(Deferred())
        return waiting[-1]

    GuardedLoop(clock, 1, action, name="a test").start()
    clock.pump([1, 1, 1])
    assert len(waiting) == 1
    waiting[0].callback(None)
    clock.advance(1)
    assert len(waiting) == 2
