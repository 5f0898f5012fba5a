"""What takes events of ``twisted.logger`` and writes those that matter."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.model import Service, Settings
from nodebalancer.process.servicelog.lines import FORMATS
from nodebalancer.process.servicelog.outlets import PRIORITIES, Outlet

log = Logger()

INFO: Final = PRIORITIES[LogLevel.info]


TWISTEDS_PORT: Final = re.compile(r".+ starting on \S+|\(\S+ Port \S+ Closed\)")
"""What Twisted says of each port of its own, ``noisy`` or not; where we listen, we say ourselves."""


@implementer(ILogObserver)
class ServiceLog:
    """The service log; follows the settings with its format and level.

    Events come from any thread. What cannot be written is counted, and told with the next event that can.

    Args:
        service: Its first format and level.
        outlet: Where it goes.
        at: The wall clock, seconds since the epoch.
    """

    def __init__(self, service: Service, outlet: Outlet, at: Callable[[], float] = time.time) -> None:
        self._outlet = outlet
        self._at = at
        self._lock = Lock()
        self._lost = 0
        self._why = ""
        self._wanted = service
        self._use(service)

    def __call__(self, event: LogEvent) -> None:
        """Write ``event``, if it matters enough."""
        priority = PRIORITIES.get(event.get("log_level"), INFO)
        if priority > self._least or _is_twisteds_port(event):
            return
        lines = self._lines(event, self._outlet.timed)
        if not lines:
            return
        with self._lock:
            try:
                if self._lost:
                    self._tell_lost()
                self._outlet.write(priority, lines)
            except OSError as e:
                self._lost += 1
                self._why = (e.strerror or str(e)).lower()

    def reopen(self) -> None:
        """Open the file anew, if it is one; if it cannot be, the old one is gone on with, and that is told."""
        with self._lock:
            try:
                self._outlet.reopen()
            except OSError as e:
                why = (e.strerror or str(e)).lower()
            else:
                return
        log.error(
            "the log {path} cannot be opened anew: {reason}; going on with the old file",
            path=self._outlet.path,
            reason=why,
        )

    # IFollower

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Nothing can be wrong."""
        return succeed(())

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Take note."""
        self._wanted = wanted.service
        return succeed(())

    def commit(self) -> Deferred[None]:
        """From now on in that format and level."""
        self._use(self._wanted)
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        """Nothing is held."""
        return succeed(None)

    def _use(self, service: Service) -> None:
        self._lines = FORMATS[service.log_format]
        self._least = PRIORITIES[LogLevel.levelWithName(service.log_level.value)]

    def _tell_lost(self) -> None:
        """Say what is missing here; called with the lock, and not through ``log``, which would come back to us."""
        event: dict[str, Any] = {
            "log_format": "{count} events are missing here, they could not be written: {reason}",
            "log_level": LogLevel.warn,
            "log_namespace": __name__,
            "log_time": self._at(),
            "count": self._lost,
            "reason": self._why,
        }
        self._outlet.write(PRIORITIES[LogLevel.warn], self._lines(event, self._outlet.timed))
        self._lost = 0


def _is_twisteds_port(event: LogEvent) -> bool:
    return event.get("log_namespace") == "log_legacy" and TWISTEDS_PORT.fullmatch(formatEvent(event)) is not None
