"""Coarse deadlines: one set of those that are live, looked through once a second.

Rules:

* Never early; at most ``TICK_SECONDS`` late while the loop of the reactor turns.
* ``rearm`` of a live deadline is an attribute write, since it comes with every chunk of data.
* A callback that raises is logged, and costs nobody else anything.
* A tick that comes late (a paused machine, a blocked loop) is passed over, so that sockets are served first: what would
  have arrived in time must not be called silence. One turn would not do, since a turn serves only so many. A loop that
  never comes in time still has every fourth tick.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodebalancer.looping import GuardedLoop
from nodebalancer.transport.engine import TICK_SECONDS

log = Logger()

PASSED_OVER_MAX: Final = 3
"""Late ticks in a row that are passed over."""


class CoarseDeadline:
    """A ``Deadline`` of ``Deadlines``.

    It keeps its callback for a later ``rearm``: whoever is called back drops it in the end, or the two form a cycle.
    """

    __slots__ = ("_at", "_callback", "_deadlines", "_live")

    def __init__(self, deadlines: Deadlines, callback: Callable[[], None], at: float) -> None:
        self._deadlines = deadlines
        self._callback = callback
        self._at = at
        self._live = True

    def rearm(self, seconds: float) -> None:
        """Fire ``seconds`` from now, whenever it was to fire before, and also if it has fired or was cancelled."""
        self._at = self._deadlines.now() + seconds
        if not self._live:
            self._live = True
            self._deadlines._add(self)

    def cancel(self) -> None:
        """Do not fire; without effect when it has."""
        self._live = False
        self._deadlines._live.discard(self)


class Deadlines:
    """All deadlines of an engine.

    The loop runs only while there is something to wait for.

    Args:
        clock: Makes the ticks.
        now: Monotonic seconds. (A reactor's own ``seconds`` follow the wall clock, which can be set.)
    """

    __slots__ = ("_live", "_loop", "_passed_over", "_ticked_at", "_ticking", "now")

    def __init__(self, clock: IReactorTime, now: Callable[[], float]) -> None:
        self.now = now
        self._live: set[CoarseDeadline] = set()
        self._loop = GuardedLoop(clock, TICK_SECONDS, self._tick, name="the scan of deadlines")
        self._ticking = False
        self._ticked_at = 0.0
        self._passed_over = 0

    def __len__(self) -> int:
        """How many are live."""
        return len(self._live)

    def deadline(self, seconds: float, callback: Callable[[], None]) -> CoarseDeadline:
        """``Engine.deadline``."""
        deadline = CoarseDeadline(self, callback, self.now() + seconds)
        self._add(deadline)
        return deadline

    def _add(self, deadline: CoarseDeadline) -> None:
        self._live.add(deadline)
        if not self._ticking:
            self._ticking = True
            self._ticked_at = self.now()
            self._loop.start()

    def _tick(self) -> None:
        since, self._ticked_at = self._ticked_at, self.now()
        if not self._live:
            self._ticking = False
            self._loop.stop()
        elif self._ticked_at - since > 2 * TICK_SECONDS and self._passed_over < PASSED_OVER_MAX:
            self._passed_over += 1
        else:
            self._passed_over = 0
            self._scan()

    def _scan(self) -> None:
        now = self.now()
        for deadline in sorted((d for d in self._live if d._at <= now), key=attrgetter("_at")):
            # The callback of one before may have cancelled or moved it.
            if deadline._live and deadline._at <= now:
                deadline.cancel()
                try:
                    deadline._callback()
                except Exception:
                    log.failure("a deadline's callback failed")
