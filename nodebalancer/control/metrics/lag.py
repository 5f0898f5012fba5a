"""How late timers come: for so long nobody was served."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IReactorTime

from nodebalancer.balancing.counters import Durations
from nodebalancer.looping import GuardedLoop

SECONDS: Final = 0.25
"""Between two looks."""


class Lag:
    """Measures the lag of the event loop from ``start`` to ``stop``.

    Args:
        clock: Has the timers.
        now: A clock that never jumps, in seconds.

    Attributes:
        durations: How late timers came.
    """

    def __init__(self, clock: IReactorTime, now: Callable[[], float] = time.monotonic) -> None:
        self.durations = Durations()
        self._now = now
        self._due = 0.0
        self._loop = GuardedLoop(clock, SECONDS, self._look, name="the look at the event loop's lag")
        self._began = 0.0

    def start(self) -> None:
        """Measure from now on; without effect while measuring."""
        if not self._loop.running:
            self._began = self._now()
            self._due = self._began + SECONDS
            self._loop.start()

    def stop(self) -> None:
        """Measure no more."""
        self._loop.stop()

    def _look(self) -> None:
        now = self._now()
        self.durations.note(max(now - self._due, 0.0))
        # The loop keeps to its beat, and leaves out what it has missed.
        self._due = self._began + ((now - self._began) // SECONDS + 1) * SECONDS
