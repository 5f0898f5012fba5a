"""The follower that has the access log's file."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from nodebalancer.accesslog.file import STANDARD_OUTPUT, LogFile, Owner
from nodebalancer.accesslog.lines import FORMATS
from nodebalancer.accesslog.writer import AccessLog
from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.model import NOTHING, LogFormat, Settings

log = Logger()

Way = tuple[str, LogFormat]
"""File and format."""


class AccessLogFile:
    """Follows the settings with the file and format of the access log.

    Args:
        access_log: What is written.
        owner: Who gets a file that root makes: twistd's ``--uid`` and ``--gid``.
    """

    def __init__(self, access_log: AccessLog, owner: Owner = (None, None)) -> None:
        self._log = access_log
        self._owner = owner
        self._now = self._then = way_of(NOTHING)
        self._file: LogFile | None = None
        self._next: LogFile | None = None  # the same, unless a reload is under way that wants another

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Whether the file can be written, or made; not asked of one that is open, which root may have done."""
        path = wanted.service.access_log
        if path in ("", STANDARD_OUTPUT, self._now[0]):
            return succeed(())
        directory = os.path.dirname(path)
        if not os.path.isabs(path):
            return succeed((_problem(path, "expected a path that begins with /, or - for standard output"),))
        if os.path.isdir(path):
            return succeed((_problem(path, "is a directory; expected a file"),))
        if os.path.exists(path):
            if not os.access(path, os.W_OK):
                return succeed((_problem(path, "cannot be written by this user"),))
        elif not os.path.isdir(directory):
            return succeed((_problem(path, f"there is no directory {directory}"),))
        elif not os.access(directory, os.W_OK | os.X_OK):
            return succeed((_problem(path, f"cannot be made by this user in {directory}"),))
        return succeed(())

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Open the file, unless it is open; one that was opened as root stays open."""
        self._then = way_of(wanted)
        path = self._then[0]
        if path != self._now[0]:
            self._next = None
            if path:
                try:
                    self._next = LogFile(path, self._owner)
                except OSError as e:
                    return succeed((_problem(path, f"cannot be opened: {e.strerror}"),))
        return succeed(())

    def commit(self) -> Deferred[None]:
        """What ends from now on is written there."""
        before, self._now = self._now, self._then
        line = FORMATS[self._now[1]]
        if self._next is not self._file:
            self._file = self._next
            self._log.lead_to(self._file, line)
        elif self._now != before:
            self._log.write_as(line)
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        """Close what was opened; nothing has changed."""
        if self._next is not None and self._next is not self._file:
            self._next.close()
        self._next = self._file
        return succeed(None)


def way_of(settings: Settings) -> Way:
    """The file, empty for none, and the format."""
    return settings.service.access_log, settings.service.access_log_format


def tell_losses(count: int, reason: str) -> None:
    """What ``AccessLog`` has to tell: one line for the operator."""
    if count:
        log.error(
            "access log: {count} lines were lost: {reason}; no request has waited for that", count=count, reason=reason
        )
    else:
        log.error("access log: {reason}; it is written to the old file", reason=reason)


def _problem(path: str, what: str) -> Problem:
    return Problem(f"[service] access_log = {path}", what, ("service", "access_log"))
