"""Pipes through which the kernel moves bytes from one socket to another without copying them.

A pipe is two descriptors and kernel memory, so an engine has a limited number of them: a connection holds one only while
it carries bytes. Without a pipe, or with a small one, bytes are copied; nothing is lost by that but time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Final

PIPE_BYTES: Final = 1 << 20
"""How large pipes are made; the most that an ordinary user may ask for (``fs.pipe-max-size``)."""

PIPE_BYTES_MIN: Final = 1 << 16
"""Smaller ones cost more system calls than they save; a user with many pipes gets them (``fs.pipe-user-pages-soft``)."""

POOL_BYTES: Final = 64 << 20
"""Kernel memory that the pipes of an engine may pin."""

FLAGS: Final = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class Pipe:
    """One pipe.

    Attributes:
        size: Bytes that fit, if they come in large pieces: it has a slot per page, and a segment of two bytes takes one.
        held: Bytes that are in it.
    """

    __slots__ = ("_inlet", "_outlet", "held", "size")

    def __init__(self, size: int) -> None:
        self._outlet, self._inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        with contextlib.suppress(OSError):  # the kernel refuses; then it is as small as it is
            fcntl.fcntl(self._inlet, fcntl.F_SETPIPE_SZ, size)
        self.size: int = fcntl.fcntl(self._inlet, fcntl.F_GETPIPE_SZ)

    def fill(self, fd: int, most: int) -> int:
        """Take at most ``most`` bytes from the socket ``fd``. The pipe is empty, or "nothing" might mean "full".

        Returns:
            How many; 0 is the end of file.

        Raises:
            BlockingIOError: The socket has nothing now.
            OSError: The connection is broken, or these two cannot be spliced (``EINVAL``); the relay decides.
        """
        self.held = os.splice(fd, self._inlet, most, flags=FLAGS)
        return self.held

    def drain(self, fd: int) -> int:
        """Give the socket ``fd`` what it takes of the bytes held; how many those were.

        Raises:
            BlockingIOError: It takes none now.
            OSError: The connection is broken.
        """
        count = os.splice(self._outlet, fd, self.held, flags=FLAGS)
        self.held -= count
        return count

    def close(self) -> None:
        """Give it back to the system, with whatever is in it."""
        os.close(self._inlet)
        os.close(self._outlet)


class PipePool:
    """The pipes of an engine.

    Args:
        budget: Bytes of all pipes together; 0 for none.
        size: Bytes of one.

    Attributes:
        made: How many there are, free or lent.
    """

    __slots__ = ("_budget", "_free", "_pinned", "_size", "made")

    def __init__(self, budget: int = POOL_BYTES, size: int = PIPE_BYTES) -> None:
        self._budget = budget
        self._size = size
        self._free: list[Pipe] = []
        self._pinned = 0
        self.made = 0

    def lend(self) -> Pipe | None:
        """An empty pipe; None when there is none to be had, or only a small one."""
        if self._free:
            return self._free.pop()
        if self._pinned + self._size > self._budget:
            return None
        try:
            pipe = Pipe(self._size)
        except OSError:  # no descriptors
            return None
        if pipe.size < PIPE_BYTES_MIN:
            pipe.close()
            self._budget = self._pinned  # asking again with every chunk would cost more than a pipe saves
            return None
        self._pinned += pipe.size
        self.made += 1
        return pipe

    def take_back(self, pipe: Pipe) -> None:
        """``pipe`` is not needed any more; one that still carries bytes is closed."""
        if pipe.held:
            self._close(pipe)
        else:
            self._free.append(pipe)

    def close(self) -> None:
        """Close the pipes that nobody uses."""
        while self._free:
            self._close(self._free.pop())

    def _close(self, pipe: Pipe) -> None:
        pipe.close()
        self._pinned -= pipe.size
        self.made -= 1
