"""The file that lines go to, which may be moved away, be full, or not be there for a while."""

from __future__ import annotations

import os
from typing import Final

from nodebalancer.appending import moved, open_to_append
from nodebalancer.errors import LinesLostError

Owner = tuple[int | None, int | None]

STANDARD_OUTPUT: Final = "-"
"""What stands for it in the settings."""

_NEWLINE = ord("\n")


class LogFile:
    """A file that lines are appended to. Used by one thread at a time.

    Args:
        path: Its absolute path; made if it is not there. ``-`` is standard output.
        owner: As ``open_to_append`` has it: user and group.

    Raises:
        OSError: It cannot be opened; caught by the follower.
    """

    def __init__(self, path: str, owner: Owner = (None, None)) -> None:
        self.path = path
        self._owner = owner
        self._torn = False
        self._fd = self._open()

    def append(self, lines: bytes) -> None:
        """Write whole lines.

        Raises:
            LinesLostError: Not all could be written; those that were not are lost. What comes next begins on a line of its own.
        """
        # One that was emptied meanwhile is not torn any more.
        data = b"\n" + lines if self._torn and os.fstat(self._fd).st_size else lines
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
        return self.path != STANDARD_OUTPUT and moved(self._fd, self.path)

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
        fd = open_to_append(self.path, *self._owner)
        os.set_blocking(fd, True)
        return fd
