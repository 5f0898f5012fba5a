"""Where the service log goes, as twistd's own options say: standard output, ``--logfile`` or ``--syslog``.

An outlet does not wait: a reader that stands still, a full disk or a missing syslog cost lines, and traffic goes on. Only a file
on a disk that hangs does, as the system has nothing else for files.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Protocol

from twisted.logger import LogLevel

from nodebalancer.appending import moved, open_to_append

PRIORITIES: Final[Mapping[Any, int]] = {
    LogLevel.debug: 7,
    LogLevel.info: 6,
    LogLevel.warn: 4,
    LogLevel.error: 3,
    LogLevel.critical: 2,
}
"""Of syslog(3) and sd-daemon(3); the lower, the more important."""

DAEMON: Final = 3 << 3
"""syslog's facility for what we are."""


class Outlet(Protocol):
    """Takes lines.

    Attributes:
        timed: Whether lines have to tell the time themselves.
        path: A file's; empty for what cannot be opened anew.
    """

    timed: bool
    path: str

    def write(self, priority: int, lines: Iterable[str]) -> None:
        """Write an event's lines, without waiting.

        Args:
            priority: One of ``PRIORITIES``.
            lines: Without their ends, and with none inside.

        Raises:
            OSError: They are lost; caught by the observer.
        """
        ...

    def reopen(self) -> None:
        """Go on with what is at ``path`` now.

        Raises:
            OSError: That cannot be opened, the old one is gone on with; caught by the observer.
        """
        ...


class Stream:
    """A descriptor: a pipe, a terminal, the journal's socket.

    What cannot be written at once of an event is written before the next one, so that no line is torn; the next one is
    lost if that cannot be done.

    Args:
        fd: Stays ours.
        journal: Whether systemd reads it: it has its own clock, and takes a priority at the beginning of a line.
    """

    path = ""

    def __init__(self, fd: int, journal: bool = False) -> None:
        self.timed = not journal
        self._journal = journal
        self._fd = fd
        self._unsent = b""
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)

    def write(self, priority: int, lines: Iterable[str]) -> None:
        """``Outlet.write``; what is left in the end is tried again before the next event."""
        self._send()
        before = f"<{priority}>" if self._journal else ""
        self._unsent = "".join(f"{before}{line}\n" for line in lines).encode()
        with contextlib.suppress(OSError):
            self._send()

    def reopen(self) -> None:
        """There is nothing to be opened."""

    def _send(self) -> None:
        # What is ready takes PIPE_BUF bytes without waiting, though others share it and it must stay as they set it.
        while self._unsent:
            if not self._poll.poll(0):
                raise BlockingIOError(errno.EAGAIN, "nobody reads it")
            self._unsent = self._unsent[os.write(self._fd, self._unsent[: select.PIPE_BUF]) :]


class File(Stream):
    """A file, which may be moved away: lines go on in a new one.

    Args:
        path: Its absolute path; made if it is not there.
        uid: As ``open_to_append`` has it, and ``gid``.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: str, uid: int | None = None, gid: int | None = None) -> None:
        self.path = path
        super().__init__(open_to_append(path, uid, gid))

    def write(self, priority: int, lines: Iterable[str]) -> None:
        """``Outlet.write``, to a new file if it was moved away and a new one can be made."""
        if moved(self._fd, self.path):
            with contextlib.suppress(OSError):
                self.reopen()
        super().write(priority, lines)

    def reopen(self) -> None:
        """``Outlet.reopen``; what is still unsent was begun in the old file and ends there."""
        fd = open_to_append(self.path)
        os.dup2(fd, self._fd, inheritable=False)
        os.close(fd)
        self._unsent = b""


class Syslog:
    """The system's log daemon, a datagram a line.

    Args:
        name: Who we are (twistd's ``--prefix``).
        address: Its socket.
    """

    timed = False
    path = ""

    def __init__(self, name: str, address: str = "/dev/log") -> None:
        self._name = name
        self._address = address
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):  # it may come later
            self._connect()

    def write(self, priority: int, lines: Iterable[str]) -> None:
        """``Outlet.write``."""
        head = f"<{DAEMON | priority}>{time.strftime('%b %e %H:%M:%S')} {self._name}[{os.getpid()}]: "
        for line in lines:
            self._send(f"{head}{line}".encode())

    def reopen(self) -> None:
        """There is nothing to be opened."""

    def _send(self, data: bytes) -> None:
        if self._socket is not None:
            try:
                self._socket.send(data)
            except BlockingIOError:
                raise
            except OSError:  # it was started anew
                self._socket.close()
                self._socket = None
            else:
                return
        self._connect().send(data)

    def _connect(self) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.connect(self._address)
        except OSError:
            opened.close()
            raise
        self._socket = opened
        return opened


def outlet_of(twistd: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Outlet:
    """What twistd's own options name, as twistd understands them.

    Raises:
        OSError: ``--logfile`` cannot be opened.
        ValueError: ``--logfile=-`` without ``-n``: a daemon has no standard output. Both are caught by the command line.
    """
    if twistd.get("syslog"):
        return Syslog(twistd["prefix"])
    file = twistd.get("logfile")
    if file == "-" and not twistd.get("nodaemon"):
        raise ValueError("a daemon has no standard output; name a file, or stay in the foreground with -n")
    if to_standard_output(twistd):
        return _standard_output(environ)
    return File(os.path.abspath(file or "twistd.log"), twistd.get("uid"), twistd.get("gid"))


def to_standard_output(twistd: Mapping[str, Any]) -> bool:
    """Whether that is where twistd's own options have the log go, ours or another one."""
    return bool(twistd.get("nodaemon")) and not twistd.get("syslog") and twistd.get("logfile") in (None, "", "-")


def _standard_output(environ: Mapping[str, str]) -> Outlet:
    if sys.stdout is None:  # closed; its number may be a socket's by now
        return Stream(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
    sys.stdout.flush()
    fd = sys.stdout.fileno()
    there = os.fstat(fd)
    return Stream(fd, journal=environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}")
