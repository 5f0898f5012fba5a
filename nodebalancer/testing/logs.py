"""What is logged while something happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from nodebalancer.accesslog.entry import Entry
from nodebalancer.accesslog.writer import AccessLog


@contextmanager
def logged(beginning: str = "[") -> Iterator[list[str]]:
    """The lines that begin so, as they come; all of ours about a section do with its header.

    Use it in a ``with`` statement; after it no more are added.
    """
    lines: list[str] = []

    def note(event: LogEvent) -> None:
        line = formatEvent(event)
        if line.startswith(beginning):
            lines.append(line)

    observer = cast(ILogObserver, note)
    globalLogPublisher.addObserver(observer)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observer)


class KeptEntries(AccessLog):
    """An access log without a file: it keeps what it is told.

    Attributes:
        entries: In the order of their ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.on = True
        self.entries: list[Entry] = []

    def note(self, entry: Entry) -> None:
        self.entries.append(entry)
