"""Reloading: from what runs to what the file says, or not at all.

Rules:

* A reload changes everything that the file asks for, or nothing; then the log has every problem, with its line.
* Reloads come one after the other. However many signals come during one, one more reload follows.
* The same file again is a reload too: certificates may be others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodebalancer.changes import Change
from nodebalancer.control.change_lines import in_one_line
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.model import Settings
from nodebalancer.settings.places import NOWHERE

log = Logger()

Stamp = tuple[int, int, int] | None
"""By which a file is known to be as it was; None: it is not there."""


class Reloader:
    """Reloads, and knows how the last one ended.

    Args:
        file: What is reloaded.
        plane: Makes it run.
        last_good: Keeps what runs.
        warnings: What is not right with what was examined last, though it can be used.
        busy: Told True as a reload begins and False when it has ended.
        at: The wall clock, seconds since the epoch.

    Attributes:
        succeeded: Whether the last reload did; True before the first, since what runs is what was asked for.
        succeeded_at: When the last good one ended (before the first: when we came to be), seconds since the epoch.
        count: Reloads that have ended, by whether they succeeded.
        busy: As above.
    """

    def __init__(
        self,
        file: SettingsFile,
        plane: ControlPlane,
        last_good: LastGood,
        *,
        warnings: Callable[[], Iterable[Problem]] = tuple,
        busy: Callable[[bool], None] = lambda busy: None,
        at: Callable[[], float] = time.time,
    ) -> None:
        self.succeeded = True
        self.succeeded_at = at()
        self.count = {True: 0, False: 0}
        self.busy = busy
        self._file = file
        self._plane = plane
        self._last_good = last_good
        self._warnings = warnings
        self._at = at
        self._places = NOWHERE
        self._text = ""
        self._requested = False
        self._seen: tuple[Stamp, Settings | None] = (None, None)
        # What that was compared with, and with which result: with many nodes it takes a while.
        self._compared: Settings | None = None
        self._differed = False

    def request(self, asked_by: str) -> None:
        """Reload as soon as it can be; one that was requested and has not begun will do for this one too."""
        if not self._requested:
            self._requested = True
            self.reload(asked_by).addErrback(_told)

    def reload(self, asked_by: str = "reload()") -> Deferred[tuple[Change, ...]]:
        """Read the file and let run what it says. How it ends is in the log.

        Args:
            asked_by: For the log: ``SIGHUP``.

        Returns:
            What was changed.

        Raises:
            SettingsError: With every problem; nothing has changed. Caught by whoever asked.
        """
        return Deferred.fromCoroutine(self._reload(asked_by))

    def differs(self) -> bool:
        """Whether the file asks for something else than what runs; looks into it only when it, or that, is another than last time."""
        stamp, current = self._stamp(), self._plane.current
        if stamp is None or stamp != self._seen[0]:
            self._seen = stamp, self._wanted_by_file()
            self._compared = None
        if self._compared is not current:
            self._differed = self._seen[1] != current
            self._compared = current
        return self._differed

    async def _reload(self, asked_by: str) -> tuple[Change, ...]:
        self.busy(True)
        self._places = NOWHERE
        ok = False
        try:
            changes = await self._plane.alter(self._load)
            ok = True
        except SettingsError as e:
            problems = tuple(map(self._places.placed, e.problems))
            for problem in problems:
                log.error("{problem}", problem=str(problem))
            log.error(
                "{asked_by}: nothing was changed, what ran goes on; problems in {file}: {count}",
                asked_by=asked_by,
                file=self._file.named,
                count=len(problems),
            )
            raise SettingsError(problems) from None
        finally:
            self._ended(ok)
        self._tell(asked_by, changes)
        self._last_good.keep(self._plane.current, self._file, self._text)
        return changes

    def _load(self, current: Settings) -> Settings:
        self._requested = False
        self._text, loaded = self._file.load()
        self._places = loaded.places
        for warning in loaded.warnings:
            log.warn("{problem}", problem=str(warning))
        return loaded.settings

    def _ended(self, ok: bool) -> None:
        self.succeeded = ok
        self.count[ok] += 1
        if ok:
            self.succeeded_at = self._at()
        self.busy(False)

    def _tell(self, asked_by: str, changes: tuple[Change, ...]) -> None:
        for warning in self._warnings():
            log.warn("{problem}", problem=str(self._places.placed(warning)))
        log.info(
            "{asked_by}: reloaded {file}: {changes}",
            asked_by=asked_by,
            file=self._file.named,
            changes=in_one_line(changes),
        )

    def _stamp(self) -> Stamp:
        try:
            status = os.stat(self._file.path)
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _wanted_by_file(self) -> Settings | None:
        try:
            return self._file.load()[1].settings
        except SettingsError:
            return None


def _told(failure: Failure) -> None:
    """Nobody waits: problems are in the log already, and a fault of ours goes there."""
    if not failure.check(SettingsError):
        log.failure("a reload failed", failure)
