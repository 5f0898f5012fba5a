"""What signals do to a reactor and to us; the integration tests send real ones."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest
from twisted.internet.error import ReactorNotRunning

from nodebalancer.process.signals import Signals


class Reactor:
    """Takes note of what it is asked for, and is stopped by the first ``stop``."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.later: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.when_running: list[Callable[[], object]] = []

    def callWhenRunning(self, f: Callable[[], object]) -> None:
        self.when_running.append(f)

    def callFromThread(self, f: Callable[..., object], *args: Any) -> None:
        self.later.append((f, args))

    def stop(self) -> None:
        if "stop" in self.calls:
            raise ReactorNotRunning
        self.calls.append("stop")

    def turn(self) -> None:
        while self.later:
            f, args = self.later.pop(0)
            f(*args)


class System:
    """Signal handlers as the system keeps them, and a process that they belong to."""

    def __init__(self, handlers: Mapping[int, Any] = MappingProxyType({})) -> None:
        self.handlers: dict[int, Any] = {}
        self.reactor = Reactor()
        end_now = partial(self.reactor.calls.append, "end now")
        self.reloads: list[str] = []
        self.during: list[signal.Signals] = []
        reopen = partial(self.reactor.calls.append, "reopen")
        self.handlers.update(handlers)
        Signals(self.reactor, end_now, self.reload, self.handlers.__setitem__, self.handler, reopen=reopen).install()

    def reload(self, name: str) -> None:
        """Takes so long that ``during`` comes meanwhile."""
        self.reloads.append(name)
        while self.during:
            number = self.during.pop()
            self.handlers[number](number, None)

    def handler(self, number: int) -> Any:
        return self.handlers.get(number, signal.SIG_DFL)

    def send(self, number: signal.Signals) -> list[str]:
        """Interrupt the process with a signal; what it has done by the end of the reactor's turn."""
        self.handlers[number](number, None)
        self.reactor.turn()
        return self.reactor.calls


def test_the_first_signal_to_stop_stops_in_good_order() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        assert System().send(number) == ["stop"]


def test_the_second_signal_to_stop_ends_at_once_whichever_it_is() -> None:
    system = System()
    system.send(signal.SIGTERM)
    assert system.send(signal.SIGINT) == ["stop", "end now"]
    assert system.send(signal.SIGTERM) == ["stop", "end now", "end now"]


def test_a_signal_interrupts_nothing() -> None:
    system = System()
    system.handlers[signal.SIGTERM](signal.SIGTERM, None)
    assert system.reactor.calls == []


def test_sighup_reloads_and_stops_nothing() -> None:
    system = System()
    assert system.send(signal.SIGHUP) == []
    assert system.reloads == ["SIGHUP"]


def test_however_many_sighups_come_during_a_reload_one_more_follows() -> None:
    system = System()
    system.during = [signal.SIGHUP] * 30
    system.send(signal.SIGHUP)
    assert system.reloads == ["SIGHUP"] * 2
    system.send(signal.SIGHUP)
    assert system.reloads == ["SIGHUP"] * 3


def test_however_many_sighups_come_before_one_reload_does_for_all() -> None:
    system = System()
    for _ in range(30):
        system.handlers[signal.SIGHUP](signal.SIGHUP, None)
    system.send(signal.SIGUSR1)
    assert (system.reloads, system.reactor.calls) == (["SIGHUP"], ["reopen"])


def test_sighup_is_ignored_while_we_are_stopping() -> None:
    system = System()
    system.send(signal.SIGTERM)
    assert system.send(signal.SIGHUP) == ["stop"]
    assert system.reloads == []


def test_our_handlers_outlive_those_that_the_reactor_sets_when_it_starts() -> None:
    system = System()
    ours = dict(system.handlers)
    system.handlers[signal.SIGTERM] = "the reactor's"
    for f in system.reactor.when_running:
        f()
    assert ours.keys() == system.handlers.keys()
    assert system.send(signal.SIGTERM) == ["stop"]


def test_sigusr1_opens_logs_anew_and_interrupts_nothing() -> None:
    system = System()
    system.handlers[signal.SIGUSR1](signal.SIGUSR1, None)
    assert system.reactor.calls == []
    system.reactor.turn()
    assert system.reactor.calls == ["reopen"]


@pytest.mark.parametrize("nobody", [signal.SIG_DFL, signal.SIG_IGN, None])
def test_sigusr1_is_ours_when_nobody_has_handled_it(nobody: Any) -> None:
    assert System({signal.SIGUSR1: nobody}).send(signal.SIGUSR1) == ["reopen"]


def test_who_has_handled_sigusr1_before_us_still_gets_it_once_and_before_us() -> None:
    def rotate(number: int, frame: Any) -> None:
        system.reactor.calls.append("rotate")

    system = System({signal.SIGUSR1: rotate})
    for f in system.reactor.when_running:
        f()
    assert system.send(signal.SIGUSR1) == ["rotate", "reopen"]
