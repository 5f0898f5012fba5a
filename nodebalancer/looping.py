"""Doing something every so many seconds, for as long as it is wanted.

Twisted's ``LoopingCall`` and ``TimerService`` stop for good at the first exception; ``GuardedLoop`` logs it and goes
on. It is the only timer loop of the house.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()


class GuardedLoop:
    """Calls ``action`` every ``interval`` seconds from ``start`` to ``stop``, whatever it raises.

    A Deferred that ``action`` returns is waited for: the next call comes at the first interval after it has fired. Calls
    that were missed meanwhile are not made up for.

    Args:
        clock: Whose time it is.
        interval: Seconds between two calls, more than 0.
        action: What to do. An exception or failure is logged and costs only that call.
        name: What it does, for the log: ``the scan of deadlines``.
    """

    def __init__(self, clock: IReactorTime, interval: float, action: Callable[[], Any], *, name: str) -> None:
        self._action = action
        self._name = name
        self._interval = interval
        self._loop = LoopingCall(self._call)
        self._loop.clock = clock

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return bool(self._loop.running)

    def start(self, *, at_once: bool = False) -> None:
        """Begin, with a first call right now or after one interval; without effect while running."""
        if not self._loop.running:
            self._loop.start(self._interval, now=at_once)

    def stop(self) -> None:
        """Call no more; without effect when not running. A Deferred that is being waited for goes on by itself."""
        if self._loop.running:
            self._loop.stop()

    def _call(self) -> Deferred[Any]:
        return maybeDeferred(self._action).addErrback(self._tell)

    def _tell(self, failure: Failure) -> None:
        log.failure("{name} failed; it goes on", failure, name=self._name)
