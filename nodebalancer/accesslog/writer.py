"""Lines are made and written by a thread of their own; the hot path only adds to a queue.

Rules:

* The queue is bounded in bytes. When the file does not keep up, lines are lost and counted: never a request waits.
* Python lets one thread run at a time, so the writer makes few lines at once, and lets go with every write.
* The writer sleeps while there is nothing, and once woken waits for more before it begins.
* Each file has a thread of its own, which ends with the last line for it: one that hangs hangs alone.
* The thread begins with the first file: whoever forks before that has one thread only. It does not keep the process from ending.
* What was lost is told in the reactor's thread, and by it if need be: the writer may be the one that hangs.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.logger import Logger
from twisted.python.failure import Failure

from nodebalancer.accesslog.entry import Entry
from nodebalancer.accesslog.file import LogFile
from nodebalancer.errors import LinesLostError

log = Logger()

Format = Callable[[Entry], bytes]
"""Makes a line of an entry."""

InReactor = Callable[[Callable[[], object]], object]
"""Has its argument called in the reactor's thread (``IReactorFromThreads.callFromThread``)."""

Told = Callable[[int, str], object]
"""Hears how many lines were lost since it heard the last time, and why."""

QUEUE_BYTES_MAX: Final = 8 << 20
"""What entries that are not written yet may take, about; at 400 bytes a line that is a second or so of the fastest traffic."""

ENTRY_BYTES: Final = 500
"""What an entry takes besides the bytes of its request, about."""

BATCH: Final = 32
BATCH_BYTES: Final = 16 << 10
"""Lines and bytes made at once: some tenths of a millisecond in which the hot path may have to wait for its turn."""

GATHER_SECONDS: Final = 0.05
"""How long the writer waits for more."""

LOOK_SECONDS: Final = 1.0
"""How often it looks whether the file was moved away, while there is something to write."""

QUIET_SECONDS: Final = 10.0
"""That lines are lost is told at most this often."""

CLOSE_SECONDS: Final = 2.0
"""How long the end of the process waits for the last lines."""


class _Reopen:
    """In the queue: the file is to be opened anew here."""


class Writer:
    """A file, the queue before it, and the thread between them.

    Args:
        file: Closed when all is written after ``finish``.
        line: Makes the lines.
        heard: Called in the writer's thread now and then while something is ``untold``.
        in_reactor: See ``AccessLog``.

    Attributes:
        overflowed: Entries that found the queue full; ``unwritten``: lines that could not be written. ``told``: how many of
            both the operator knows of.
        reason: Why lines were lost last, or would be; empty: they were not, or that was told.
    """

    def __init__(self, file: LogFile, line: Format, heard: Callable[[], object], in_reactor: InReactor) -> None:
        self._file = file
        self._line = line
        self._heard = heard
        self._in_reactor = in_reactor
        self._queue: deque[Entry | Format | _Reopen] = deque()
        # Each is written by one thread only: what was put in, and what was taken out.
        self._put = self._taken = 0
        self.overflowed = self.unwritten = self.told = 0
        self.reason = ""
        self._wake = threading.Event()
        self._idle = False
        self._finishing = False
        self._look_at = 0.0
        self.thread = threading.Thread(target=self._run, name="access log", daemon=True)
        self.thread.start()

    # What the reactor's thread calls.

    def note(self, entry: Entry) -> bool:
        """Have a line written, some time; False: it is lost, since too many wait already."""
        if self._put - self._taken > QUEUE_BYTES_MAX:
            self.overflowed += 1
            return False
        self._put += size_of(entry)
        self._queue.append(entry)
        if self._idle:
            self._wake.set()
        return True

    def order(self, item: Format | _Reopen) -> None:
        """What is noted from now on looks so, or goes to a file that is opened anew."""
        self._queue.append(item)
        self._wake.set()

    def finish(self) -> None:
        """Write what there is, and end."""
        self._finishing = True
        self._wake.set()

    @property
    def lost(self) -> int:
        """Lines that were lost."""
        return self.overflowed + self.unwritten

    @property
    def untold(self) -> bool:
        """Whether the operator has to hear something."""
        return bool(self.reason) or self.lost != self.told

    @property
    def waiting(self) -> int:
        """Entries in the queue, about."""
        return len(self._queue)

    # What the writer's thread does.

    def _run(self) -> None:
        while True:
            if self._queue:
                try:
                    self._take()
                except Exception:
                    # A fault of ours costs these lines, not all that would come.
                    self._in_reactor(partial(log.failure, "the access log has lost some lines", Failure()))
            elif self._finishing:
                break
            else:
                self._rest()
        self._file.close()

    def _rest(self) -> None:
        """Sleep until there is something, and then a little more."""
        self._idle = True
        # What was put in before this line was written may have woken nobody.
        if not self._queue and not self._finishing:
            self._wake.wait(QUIET_SECONDS if self.untold else None)
            if self.untold:
                self._heard()
        self._idle = False
        self._wake.clear()
        if self._queue and not self._finishing:
            time.sleep(GATHER_SECONDS)

    def _take(self) -> None:
        """The next few of the queue, up to one that is no entry."""
        queue = self._queue
        lines: list[bytes] = []
        size = 0
        while queue and len(lines) < BATCH and size < BATCH_BYTES:
            item = queue.popleft()
            if isinstance(item, Entry):
                # Before anything can fail, or what failed would count as waiting for ever.
                self._taken += size_of(item)
                lines.append(self._line(item))
                size += len(lines[-1])
                continue
            self._write(lines)
            lines = []
            if isinstance(item, _Reopen):
                self._reopen()
            else:
                self._line = item
        self._write(lines)

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            if self._file.moved():
                self._reopen()
        try:
            self._file.append(b"".join(lines))
        except LinesLostError as e:
            self.unwritten += e.count
            self.reason = e.reason
            self._heard()

    def _reopen(self) -> None:
        try:
            self._file.reopen()
        except OSError as e:
            self.reason = f"it cannot be opened again: {e.strerror}"
            self._heard()


class AccessLog:
    """Where entries go: a writer, or nowhere.

    Args:
        in_reactor: How the reactor's thread is reached.
        tell: Hears of losses, in the reactor's thread, at most every ``QUIET_SECONDS``.
        clock: Monotonic seconds, for how often that is.

    Attributes:
        on: Whether entries are wanted; asked before one is made.
    """

    def __init__(
        self,
        in_reactor: InReactor = lambda call: call(),
        tell: Told = lambda count, reason: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on = False
        self._in_reactor = in_reactor
        self._tell = tell
        self._clock = clock
        self._writer: Writer | None = None
        self._before: list[Writer] = []
        self._lost_before = 0
        self._quiet_until = clock()

    def note(self, entry: Entry) -> None:
        """Have a line written, some time; or count it as lost, if too many wait already. Only while ``on``."""
        if not self._writer.note(entry):  # type: ignore[union-attr] # there is one while on
            self._tell_losses()

    def lead_to(self, file: LogFile | None, line: Format) -> None:
        """What is noted from now on goes to another file, None: nowhere; what was before to where it was to go.

        Args:
            file: Open; closed when it is left and all is written.
            line: Makes lines of entries.
        """
        old, self._writer = self._writer, None
        if old is not None:
            old.finish()
            self._before.append(old)
        self.on = file is not None
        if file is not None:
            self._writer = Writer(file, line, self._heard, self._in_reactor)

    def write_as(self, line: Format) -> None:
        """What is noted from now on looks so, in the same file."""
        if self._writer is not None:
            self._writer.order(line)

    def reopen(self) -> None:
        """Open the file anew: it was moved away. What was noted before goes to the old one."""
        if self._writer is not None:
            self._writer.order(_Reopen())

    def close(self) -> None:
        """Write what there is, if that does not take long; then nothing more."""
        self.on = False
        until = self._clock() + CLOSE_SECONDS
        writers = self._writers()
        for writer in writers:
            writer.finish()
        for writer in writers:
            writer.thread.join(max(until - self._clock(), 0))
        hanging = [writer for writer in writers if writer.thread.is_alive()]
        if hanging:
            self._tell(sum(writer.waiting for writer in hanging), "the file hangs, and the process ends")

    @property
    def lost(self) -> int:
        """Lines that were lost, ever."""
        return self._lost_before + sum(writer.lost for writer in self._writers())

    def _writers(self) -> list[Writer]:
        """Those that still write, the newest last; what others have lost is remembered."""
        for writer in tuple(self._before):
            if not (writer.thread.is_alive() or writer.untold):
                self._before.remove(writer)
                self._lost_before += writer.lost
        return self._before if self._writer is None else [*self._before, self._writer]

    def _heard(self) -> None:
        """In a writer's thread: there is something to tell."""
        if self._clock() >= self._quiet_until:
            self._in_reactor(self._tell_losses)

    def _tell_losses(self) -> None:
        """In the reactor's thread: what was lost since the last time, and why nothing new is opened."""
        if self._clock() < self._quiet_until:
            return
        count, reason = 0, ""
        for writer in self._writers():
            lost = writer.lost
            count += lost - writer.told
            reason = writer.reason or reason
            writer.told, writer.reason = lost, ""
        if count or reason:
            self._quiet_until = self._clock() + QUIET_SECONDS
            self._tell(count, reason or "the file does not keep up")


def size_of(entry: Entry) -> int:
    """Memory that an entry takes, about; its target is in its lines too."""
    return ENTRY_BYTES + 2 * len(entry.lines) + len(entry.forwarded_for) + len(entry.begun)
