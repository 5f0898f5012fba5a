"""Bytes from one connection on the epoll loop to another, without a protocol in between.

A relay copies until ``SPLICE_AFTER_BYTES`` were moved and a read was full; then the kernel moves them through a pipe, for as
long as it is much that comes at once.

While the sink has anything unsent the source is not read. So a pipe is always filled when it is empty, and "nothing" from
the source never means "the pipe is full", which for ``splice`` are the same error.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Final

from nodebalancer.transport.epoll_transport import BREAK, CHUNK_BYTES, OPEN, TURN_BYTES, EpollTransport

SPLICE_AFTER_BYTES: Final = 100_000
"""What is copied first: for less, a pipe costs more than it saves."""

SPLICE_BYTES_MIN: Final = 1 << 14
"""When a round of splicing moves less, copying is cheaper again: one read and one write."""

SPLICE_TURN_BYTES: Final = 1 << 20
"""What is spliced in a round; that takes about as long as copying ``TURN_BYTES``."""

NEVER: Final = sys.maxsize


class EpollRelay:
    """A ``Relay``.

    Attributes:
        moved: ``Relay.moved``.
        ended: ``Relay.ended``.
        spliced: Those of the bytes moved that went through a pipe.
    """

    __slots__ = ("_bulk", "_done", "_left", "_sink", "_source", "_splice_after", "ended", "moved", "spliced")

    def __init__(
        self, source: EpollTransport, sink: EpollTransport, limit: int | None, done: Callable[[], None]
    ) -> None:
        assert source._relay_out is None, "one relay a source"
        assert sink._relay_in is None, "one relay a sink"
        self.moved = 0
        self.spliced = 0
        self.ended = False
        self._left = limit
        self._bulk = False
        self._splice_after = SPLICE_AFTER_BYTES
        self._source: EpollTransport | None = None
        self._sink: EpollTransport | None = None
        self._done: Callable[[], None] | None = None
        if source._phase == OPEN and not sink._mute:
            self._start(source, sink, done)

    def _start(self, source: EpollTransport, sink: EpollTransport, done: Callable[[], None]) -> None:
        self._source, self._sink, self._done = source, sink, done
        source._relay_out = sink._relay_in = self
        if sink._unsent_bytes and not sink.congested:
            sink._congest()
        if source._ended:
            source._later()
        else:
            source.resumeProducing()

    def stop(self) -> None:
        """``Relay.stop``."""
        source = self._source
        if source is not None:
            self._unlink()
            source.wake()

    # For the two transports.

    def resume(self) -> None:
        """The sink has sent everything."""
        assert self._source is not None
        self._source.wake()

    def finish(self, *, ended: bool) -> None:
        """All was moved: the source's end of file or the limit."""
        self.ended = ended
        source, done = self._source, self._done
        self._unlink()
        assert source is not None
        assert done is not None
        done()
        source.wake()

    def pump(self) -> None:
        """Move what the source has and the sink takes."""
        source, sink = self._source, self._sink
        assert source is not None
        assert sink is not None
        budget = TURN_BYTES
        while source._pending and not (sink._unsent_bytes or sink._mute):
            if self._bulk and self._splice(source, sink):
                return
            if budget <= 0:
                source._later()
                return
            size = self._copy(source, sink)
            if not size:
                return
            budget -= size

    # Inside.

    def _copy(self, source: EpollTransport, sink: EpollTransport) -> int:
        """Move one chunk; 0 when there is none, or no more to come."""
        left = self._left
        data = source._receive(CHUNK_BYTES if left is None or left > CHUNK_BYTES else left)
        if not data:
            if data is not None:
                source._end()
            return 0
        size = len(data)
        self.moved += size
        sink._send(data)
        self._bulk = size == CHUNK_BYTES and self.moved > self._splice_after
        if left is not None:
            return self._count(size)
        return size

    def _count(self, size: int) -> int:
        """``size`` bytes less are left of the limit; 0 at the limit."""
        assert self._left is not None
        self._left -= size
        if self._left:
            return size
        self.finish(ended=False)
        return 0

    def _splice(self, source: EpollTransport, sink: EpollTransport) -> bool:
        """Move as much as there is through pipes; False when that is for copying."""
        moved = 0
        while source._pending and not (sink._unsent_bytes or sink._mute):
            if moved >= SPLICE_TURN_BYTES:
                source._later()
                return True
            size = self._splice_some(source, sink)
            if size is None:
                self._bulk = False
                return False
            if not size:
                break
            moved += size
        self._bulk = moved >= SPLICE_BYTES_MIN
        return True

    def _splice_some(self, source: EpollTransport, sink: EpollTransport) -> int | None:
        """Move one pipe full; 0 as ``_copy``; None when there is no pipe, or these two cannot be spliced."""
        pipes = source._loop.pipes
        pipe = pipes.lend()
        if pipe is None:
            return None
        left = self._left
        try:
            size = pipe.fill(source._fd, pipe.size if left is None or left > pipe.size else left)
        except OSError as error:
            pipes.take_back(pipe)
            return self._look_at(error, source)
        if not size:
            pipes.take_back(pipe)
            source._end()
            return 0
        source.active_at = source._loop.now
        self.moved += size
        self.spliced += size
        sink._hold_pipe(pipe)
        if left is not None:
            return self._count(size)
        return size

    def _look_at(self, error: OSError, source: EpollTransport) -> int | None:
        if isinstance(error, BlockingIOError):
            source._pending = 0
        elif error.errno == errno.EINVAL:
            self._splice_after = NEVER
            return None
        else:
            source._lose(BREAK)
        return 0

    def _unlink(self) -> None:
        assert self._source is not None
        assert self._sink is not None
        self._source._relay_out = self._sink._relay_in = None
        self._source = self._sink = self._done = None
