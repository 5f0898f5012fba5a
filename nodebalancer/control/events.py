"""What has become of nodes: one log line, one event and one count for every change of a status."""

from __future__ import annotations

from collections import deque
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from nodebalancer.balancing.health import StatusChange
from nodebalancer.balancing.member import Status

log = Logger()

EVENTS_MAX: Final = 1000
"""Changes that are remembered; the oldest go first."""

LINES_A_TURN: Final = 50
"""Log lines written at once: a thousand nodes that change at once must not stop the traffic for as long as that takes."""

LEVELS: Final = {Status.UP: LogLevel.info, Status.UNKNOWN: LogLevel.info, Status.DOWN: LogLevel.warn}


class Events:
    """An ``IStatusSink``.

    Args:
        clock: Has the turns in which lines are written.

    Attributes:
        changes: The newest ``EVENTS_MAX``, the oldest first.
        count: All there ever were.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.changes: deque[StatusChange] = deque(maxlen=EVENTS_MAX)
        self.count = 0
        self._clock = clock
        self._unwritten: deque[StatusChange] = deque()

    def status_changed(self, change: StatusChange) -> None:
        """``IStatusSink.status_changed``; the line is written in a later turn."""
        self.changes.append(change)
        self.count += 1
        if not self._unwritten:
            self._clock.callLater(0, self._write)
        self._unwritten.append(change)

    def _write(self) -> None:
        for _ in range(min(LINES_A_TURN, len(self._unwritten))):
            change = self._unwritten.popleft()
            log.emit(
                LEVELS[change.new],
                "[nodes {config}] {node} is {new} (was {old}): {reason}; change {number}",
                config=change.config,
                node=change.node,
                new=change.new.value,
                old=change.old.value,
                reason=change.reason,
                number=change.number,
            )
        if self._unwritten:
            self._clock.callLater(0, self._write)
