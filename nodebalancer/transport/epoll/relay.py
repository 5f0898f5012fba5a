"""Bytes from one connection on the epoll loop to another, without a protocol in between.

A relay copies until ``SPLICE_AFTER_BYTES`` were moved and a read was full; then the kernel moves the bytes through a pipe, for
as long as it is much that comes at once. Meanwhile the source is not told of every segment: ``WAKE_BYTES`` have to come together,
or the loop has nothing better to do.

While the sink has anything unsent the source is not read. So a pipe is always filled when it is empty, and "nothing" from
the source never means "the pipe is full", which for ``splice`` are the same error.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from select import EPOLLIN, EPOLLRDHUP
from typing import Final

from nodebalancer.transport.epoll.sending import BREAK, BROKEN, LOST, OPEN
from nodebalancer.transport.epoll.transport import CHUNK_BYTES, EpollTransport

SPLICE_AFTER_BYTES: Final = 100_000
"""What is copied first: for less, a pipe costs more than it saves."""

SPLICE_BYTES_MIN: Final = 1 << 14
"""When two pipes full in a row are less, copying is cheaper again: one read and one write."""

SPLICE_GAIN: Final = 4
"""How many bytes are spliced in the time that it takes to copy one."""

WAKE_BYTES: Final = 1 << 20
"""What the kernel gathers of a bulk source before it says so, a pipe full: fewer and larger pieces. (It makes its buffer twice that.)"""

NEVER: Final = sys.maxsize


class EpollRelay:
    """A ``Relay``.

    Attributes:
        moved: ``Relay.moved``.
        ended: ``Relay.ended``.
        spliced: Those of the bytes moved that went through a pipe.
        stalled: The sink takes nothing now; set by the sink.
        most: What the source may read for it at once.
        bulk: The source is to call ``splice`` instead.
    """

    __slots__ = (
        "_done",
        "_held_back",
        "_left",
        "_little",
        "_sink",
        "_source",
        "_splice_after",
        "_wake_bytes",
        "bulk",
        "ended",
        "most",
        "moved",
        "spliced",
        "stalled",
    )

    _done: Callable[[], None] | None
    _left: int | None
    _sink: EpollTransport | None
    _source: EpollTransport | None

    def __init__(
        self, source: EpollTransport, sink: EpollTransport, limit: int | None, done: Callable[[], None]
    ) -> None:
        assert source._relay_out is None, "one relay a source"
        assert sink._relay_in is None, "one relay a sink"
        self.moved = self.spliced = 0
        self.ended = self.stalled = self.bulk = self._held_back = self._little = False
        self.most = CHUNK_BYTES if limit is None or limit > CHUNK_BYTES else limit
        self._left = limit
        self._splice_after = NEVER if source.secure or sink.secure else SPLICE_AFTER_BYTES
        self._wake_bytes = 1
        broken = sink._phase in (BROKEN, LOST)
        if source._phase != OPEN or (sink._mute and not broken):
            self._source = self._sink = self._done = None
            return
        self._source, self._sink, self._done = source, sink, done
        source._relay_out = sink._relay_in = self
        if broken:
            # Its protocol does not know yet, and nothing may come from the source before it does.
            self.stalled = True
        elif sink._unsent is not None:
            self.stalled = True
            sink._congest()
        source._deaf = source._ended
        if not source._watched:
            # Most have sent something by now, and it goes out in this very round.
            source._pending = EPOLLIN
            source._loop.later(source)
        elif source._pending or source._ended:
            source._loop.later(source)

    def stop(self) -> None:
        """``Relay.stop``."""
        source, sink = self._source, self._sink
        if source is not None and sink is not None:
            self._wake_after(1)
            source._relay_out = sink._relay_in = self._source = self._sink = self._done = None
            if self._held_back and not sink._mute:
                sink.push()
            if source._pending and not source._deaf:
                source._loop.later(source)

    # For the two transports.

    def resume(self) -> None:
        """The sink has sent everything."""
        self.stalled = False
        source = self._source
        assert source is not None
        if source._pending and not source._deaf:
            source._loop.later(source)

    def finish(self, *, ended: bool) -> None:
        """All was moved: the source's end of file, or the limit. The source goes on reading for whom it is now."""
        self.ended = ended
        done, source, sink = self._done, self._source, self._sink
        assert done is not None
        assert source is not None
        assert sink is not None
        if self._wake_bytes > 1:
            self._wake_after(1)
        source._relay_out = sink._relay_in = self._source = self._sink = self._done = None
        done()
        if self._held_back and not sink._mute:
            sink.push()

    def take(self, data: bytes) -> None:
        """Send what the source has read."""
        size = len(data)
        self.moved += size
        source, sink = self._source, self._sink
        assert source is not None
        assert sink is not None
        if source._pending == EPOLLRDHUP and sink._unsent is None:
            self._held_back = True
            sink.send_last(data)
        else:
            sink.send(data)
        if size == CHUNK_BYTES:
            self.bulk = self.moved > self._splice_after
        if self._left is not None:
            self._count(size)

    def splice(self) -> int:
        """Move one pipe full from the source to the sink.

        Returns:
            How many bytes of copying that was worth.
        """
        source, sink = self._source, self._sink
        assert source is not None
        assert sink is not None
        pipe = source._loop.pipes.lend()
        if pipe is None:
            self.bulk = False
            self._wake_after(1)
            return 0
        try:
            size = pipe.fill(source._fd, pipe.size if self._left is None else min(pipe.size, self._left))
        except OSError as error:
            source._loop.pipes.take_back(pipe)
            self._look_at(error, source)
            return 0
        if not size:
            source._loop.pipes.take_back(pipe)
            source._end()
            return 0
        source.active_at = source._loop.now
        self.moved += size
        self.spliced += size
        little, self._little = self._little, size < SPLICE_BYTES_MIN
        self.bulk = not (little and self._little)
        if not self.bulk:
            self._wake_after(1)
        full = size == pipe.size
        sink.send_pipe(pipe)
        if self._left is not None:
            self._count(size)
        if self._source is not None and not full and source._pending == EPOLLIN:
            self._rest(source)
        return size // SPLICE_GAIN

    # Inside.

    def _rest(self, source: EpollTransport) -> None:
        """That was all there was: let more come together."""
        source._pending = 0
        if self.bulk:
            self._wake_after(WAKE_BYTES if self._left is None else min(WAKE_BYTES, self._left))
            source._loop.rest(source)

    def _wake_after(self, size: int) -> None:
        """Be told of the source's input when it is ``size`` bytes; if it is already, at once."""
        if size != self._wake_bytes:
            self._wake_bytes = size
            assert self._source is not None
            self._source.wake_after(size)

    def _count(self, size: int) -> None:
        """``size`` bytes less are left of the limit."""
        assert self._left is not None
        self._left = left = self._left - size
        if not left:
            if self._done is not None:  # or somebody has stopped it when the sink took no more
                self.finish(ended=False)
        elif left < self.most:
            self.most = left

    def _look_at(self, error: OSError, source: EpollTransport) -> None:
        """Why the source could not be spliced."""
        if isinstance(error, BlockingIOError):
            source._pending = 0
            self._wake_after(1)
        elif error.errno == errno.EINVAL:
            self.bulk = False
            self._splice_after = NEVER
            self._wake_after(1)
        else:
            source._lose(BREAK)
