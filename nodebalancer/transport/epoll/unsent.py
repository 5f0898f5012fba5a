"""What a connection was given to send and the kernel did not take yet."""

from __future__ import annotations

import os
from typing import Final

from nodebalancer.transport.epoll.pipes import Pipe, PipePool

PIECES_MAX: Final = 64
"""Pieces sent by one system call; the kernel allows 1024."""


class Unsent:
    """Bytes in order: those in a pipe, if a relay has spliced them there, then pieces of our own memory.

    Args:
        pipes: Where the pipe goes back to.

    Attributes:
        bytes: How many there are.
    """

    __slots__ = ("_pieces", "_pipe", "_pipes", "bytes")

    def __init__(self, pipes: PipePool) -> None:
        self.bytes = 0
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._pieces: list[bytes | memoryview] = []

    def add(self, piece: bytes | memoryview) -> None:
        """Send ``piece`` after everything else."""
        self._pieces.append(piece)
        self.bytes += len(piece)

    def begin_with(self, pipe: Pipe) -> None:
        """Send what ``pipe`` holds; there is nothing else yet."""
        self._pipe = pipe
        self.bytes = pipe.held

    def send(self, fd: int) -> None:
        """Give it to the socket ``fd``.

        Raises:
            BlockingIOError: It takes no more now; ``bytes`` are left.
            OSError: The connection is broken.
        """
        if self._pipe is not None:
            self._send_pipe(self._pipe, fd)
        pieces = self._pieces
        while pieces:
            sent = os.writev(fd, pieces[:PIECES_MAX])
            self.bytes -= sent
            self._drop(sent)

    def forget(self) -> None:
        """It is not to be sent any more."""
        if self._pipe is not None:
            self._pipes.take_back(self._pipe)
            self._pipe = None

    def _send_pipe(self, pipe: Pipe, fd: int) -> None:
        while pipe.held:
            self.bytes -= pipe.drain(fd)
        self.forget()

    def _drop(self, sent: int) -> None:
        pieces = self._pieces
        whole = 0
        while whole < len(pieces) and len(pieces[whole]) <= sent:
            sent -= len(pieces[whole])
            whole += 1
        del pieces[:whole]
        if sent:
            pieces[0] = memoryview(pieces[0])[sent:]
