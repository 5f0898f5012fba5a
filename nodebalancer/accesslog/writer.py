"""Lines are made and written by a thread of their own; the hot path only adds to a queue.

Rules:

* The queue is bounded in bytes. When the file does not keep up, lines are lost and counted: never a request waits.
* Python lets one thread run at a time, so the writer makes few lines at once, and lets go with every write.
* The writer sleeps while there is nothing, and once woken waits for more before it begins.
* The thread begins with the first file: whoever forks before that has one thread only. It does not keep the process from ending.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from nodebalancer.accesslog.entry import Entry
from nodebalancer.accesslog.file import LogFile
from nodebalancer.errors import LinesLostError

log = Logger()

QUEUE_BYTES_MAX: Final = 8 << 20
"""What entries that are not written yet may take, about; at 400 bytes a line that is a second or so of the fastest traffic."""

ENTRY_BYTES: Final = 500
"""What an entry takes besides the fields of its request, about."""

BATCH: Final = 32
"""Lines made at once: some tenths of a millisecond in which the hot path may have to wait for its turn."""

GATHER_SECONDS: Final = 0.05
"""How long the writer waits for more."""

LOOK_SECONDS: Final = 1.0
"""How often it looks whether the file was moved away, while there is something to write."""

QUIET_SECONDS: Final = 10.0
"""That lines are lost is told at most this often."""

CLOSE_SECONDS: Final = 2.0
"""How long the end of the process waits for the last lines."""


class Outlet:
    """Where lines go, and how they look.

    Args:
        file: Open; None: nowhere.
        line: Makes a line of an entry.
    """

    __slots__ = ("file", "line")

    def __init__(self, file: LogFile | None, line: Callable[[Entry], bytes]) -> None:
        self.file = file
        self.line = line


class _Reopen:
    """In the queue: the file is to be opened anew here."""


class AccessLog:
    """The queue, and the thread that empties it.

    Args:
        in_reactor: Has its arguments called in the reactor's thread (``IReactorFromThreads.callFromThread``).
        tell: Hears in the reactor's thread, now and then, how many lines were lost since, and why.
        clock: Monotonic seconds, for how often that is.

    Attributes:
        on: Whether entries are wanted; asked before one is made.
        lost: Lines that were lost, ever.
    """

    def __init__(
        self,
        in_reactor: Callable[..., object] = lambda call, *args: call(*args),
        tell: Callable[[int, str], object] = lambda count, reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on = False
        self._in_reactor = in_reactor
        self._tell = tell
        self._clock = clock
        self._queue: deque[Entry | Outlet | _Reopen] = deque()
        # Each is written by one thread only: what was put in, and what was taken out.
        self._put = self._taken = 0
        self._overflowed = self._unwritten = 0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._idle = False
        self._closing = False
        self._outlet = Outlet(None, lambda entry: b"")
        self._look_at = 0.0
        self._told = 0
        self._quiet_until = clock()
        self._reason = ""

    # What the reactor's thread calls.

    def note(self, entry: Entry) -> None:
        """Have a line written, some time; or count it as lost, if too many wait already."""
        if self._put - self._taken > QUEUE_BYTES_MAX:
            self._overflowed += 1
            return
        self._put += ENTRY_BYTES + len(entry.lines)
        self._queue.append(entry)
        if self._idle:
            self._wake.set()

    def lead_to(self, outlet: Outlet) -> None:
        """What is noted from now on goes there, and what was before to where it was to go, which is then
        closed if it is another file.
        """
        self.on = outlet.file is not None
        self._queue.append(outlet)
        if self._thread is None and self.on:
            self._thread = threading.Thread(target=self._run, name="access log", daemon=True)
            self._thread.start()
        self._wake.set()

    def reopen(self) -> None:
        """Open the file anew: it was moved away. What was noted before goes to the old one."""
        self._queue.append(_Reopen())
        self._wake.set()

    def close(self) -> None:
        """Write what there is, if that does not take long; then nothing more."""
        self.on = False
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    @property
    def lost(self) -> int:
        """For the metric."""
        return self._overflowed + self._unwritten

    # What the writer's thread does.

    def _run(self) -> None:
        while True:
            if self._queue:
                try:
                    self._take()
                except Exception:
                    # A fault of ours costs these lines, not all that would come.
                    self._in_reactor(log.failure, "the access log has lost some lines", Failure())
            elif self._closing:
                break
            else:
                self._rest()
        self._lead_to(Outlet(None, self._outlet.line))

    def _rest(self) -> None:
        """Sleep until there is something, and then a little more."""
        self._idle = True
        # What was put in before this line was written may have woken nobody.
        if not self._queue and not self._closing:
            self._tell_losses()
            untold = self.lost > self._told or self._reason
            self._wake.wait(max(self._quiet_until - self._clock(), 0) if untold else None)
        self._idle = False
        self._wake.clear()
        if not self._closing:
            time.sleep(GATHER_SECONDS)

    def _take(self) -> None:
        """The next few of the queue, up to one that is no entry."""
        queue = self._queue
        lines: list[bytes] = []
        size = 0
        while queue and len(lines) < BATCH:
            item = queue.popleft()
            if isinstance(item, Entry):
                lines.append(self._outlet.line(item))
                size += ENTRY_BYTES + len(item.lines)
                continue
            self._write(lines)
            lines = []
            if isinstance(item, Outlet):
                self._lead_to(item)
            else:
                self._reopen()
        self._write(lines)
        self._taken += size
        self._tell_losses()

    def _write(self, lines: list[bytes]) -> None:
        file = self._outlet.file
        if not lines or file is None:
            return
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS
            if file.moved():
                self._reopen()
        try:
            file.append(b"".join(lines))
        except LinesLostError as e:
            self._lose(e.count, e.reason)

    def _lead_to(self, outlet: Outlet) -> None:
        old, self._outlet = self._outlet, outlet
        if old.file is not None and old.file is not outlet.file:
            old.file.close()

    def _reopen(self) -> None:
        file = self._outlet.file
        if file is None:
            return
        try:
            file.reopen()
        except OSError as e:
            self._lose(0, f"it cannot be opened again: {e.strerror}")

    def _lose(self, count: int, reason: str) -> None:
        self._unwritten += count
        self._reason = reason

    def _tell_losses(self) -> None:
        """In the reactor's thread: lines that were lost since the last time, or that they would be after a while."""
        lost = self.lost
        if (lost > self._told or self._reason) and self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + QUIET_SECONDS
            count, self._told = lost - self._told, lost
            reason, self._reason = self._reason or "the file is too slow", ""
            self._in_reactor(self._tell, count, reason)
