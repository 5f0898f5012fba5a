"""The file that lines go to, which may be moved away, be full, or not be there for a while."""

from __future__ import annotations

import os
from typing import Final

from nodebalancer.errors import LinesLostError

STANDARD_OUTPUT: Final = "-"
"""What stands for it in the settings."""

_NEWLINE = ord("\n")

MODE: Final = 0o640
"""Of a file that is made: who was here is not for everybody to read. Less what the umask takes away."""


class LogFile:
    """A file that lines are appended to. Used by one thread at a time.

    Args:
        path: Its absolute path; made if it is not there. ``-`` is standard output.

    Raises:
        OSError: It cannot be opened; caught by the follower. A fifo that nobody reads is one of these.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._torn = False
        self._fd = self._open()

    def append(self, lines: bytes) -> None:
        """Write whole lines.

        Raises:
            LinesLostError: Not all could be written; those that were not are lost. What comes next begins on a line of its own.
        """
        data = b"\n" + lines if self._torn else lines
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:] if done else data)
        except OSError as e:
            if done:
                self._torn = data[done - 1] != _NEWLINE
            rest = data[max(done, len(data) - len(lines)) :]
            raise LinesLostError(rest.count(b"\n"), os.strerror(e.errno or 0)) from e
        self._torn = False

    def moved(self) -> bool:
        """Whether its path leads to another file by now, or nowhere."""
        if self.path == STANDARD_OUTPUT:
            return False
        try:
            there, here = os.stat(self.path), os.fstat(self._fd)
        except OSError:
            return True
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def reopen(self) -> None:
        """Go on with what is at its path now.

        Raises:
            OSError: That cannot be opened; the old one is gone on with.
        """
        old, self._fd = self._fd, self._open()
        os.close(old)
        self._torn = False

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)

    def _open(self) -> int:
        if self.path == STANDARD_OUTPUT:
            return os.dup(1)
        # A fifo without a reader fails this way, instead of stopping everything until there is one.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        fd = os.open(self.path, flags, MODE)
        os.set_blocking(fd, True)
        return fd
