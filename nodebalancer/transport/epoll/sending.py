# mypy: allow-untyped-calls
# Twisted's Failure is not annotated.
"""The sending half of a connection on the epoll loop.

``_unsent`` is what the kernel did not take at once; while there is something, everything else waits behind it. ``_mute`` says
that writes are ignored: after a half-close, once closing. ``_nagle`` is after how many writes small pieces will not be delayed
any more; 0: they are not. ``_watched`` is what the loop watches the descriptor for.

The last bytes before an end of file are held back by the kernel until it is decided what becomes of it, so that both leave in
one segment. A new connection is acknowledged to the node with the first bytes for it, or by ``acknowledge``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from errno import EPIPE
from select import EPOLLOUT
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from nodebalancer.transport.engine import BUFFER_BYTES
from nodebalancer.transport.epoll.loop import EDGES, EpollLoop, borrowed
from nodebalancer.transport.epoll.unsent import Unsent
from nodebalancer.transport.sockets import undelivered

if TYPE_CHECKING:
    from nodebalancer.transport.epoll.pipes import Pipe
    from nodebalancer.transport.epoll.relay import EpollRelay

# Plain numbers: these are used for every connection.
IPPROTO_TCP: Final = int(socket.IPPROTO_TCP)
TCP_NODELAY: Final = int(socket.TCP_NODELAY)
SHUT_WR: Final = int(socket.SHUT_WR)
MSG_MORE: Final = int(socket.MSG_MORE)

OPEN, CLOSING, BROKEN, LOST, GONE = range(5)
"""The life of a connection, in one direction: ``CLOSING`` until all is sent; ``BROKEN`` when sending has failed but the peer's
last words may still be read; ``LOST`` when all that is left is to tell the protocol, which is a task; ``GONE``."""

# Failures take microseconds to make, and these never differ.
DONE: Final = Failure(ConnectionDone())
BREAK: Final = Failure(ConnectionLost())
ABORT: Final = Failure(ConnectionAborted())


class Sending:
    """What ``EpollTransport`` is on its way out.

    Attributes:
        active_at: ``Transport.active_at``.
        congested: ``Transport.congested``.
    """

    __slots__ = (
        "_connection",
        "_ended_well",
        "_fd",
        "_loop",
        "_mute",
        "_nagle",
        "_phase",
        "_producer",
        "_relay_in",
        "_unsent",
        "_watched",
        "active_at",
        "congested",
    )

    _connection: socket.SocketType | None
    _ended_well: bool
    _fd: int
    _loop: EpollLoop
    _mute: bool
    _nagle: int
    _phase: int
    _producer: Any
    _relay_in: EpollRelay | None
    _unsent: Unsent | None
    _watched: int
    active_at: float
    congested: bool

    def handle(self, events: int) -> None:
        """``Handler.handle``."""

    def run(self) -> None:
        """``Handler.run``."""

    def give_up(self) -> None:
        """``Handler.give_up``."""

    def _lose(self, reason: Failure) -> None:
        """The connection is over."""

    def write(self, data: bytes) -> None:
        """``Transport.write``."""
        if data and not self._mute:
            self.send(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """``Transport.writeSequence``."""
        self.write(b"".join(iovec))

    def send(self, data: bytes) -> None:
        """Send at once what the kernel takes, unless something waits already."""
        if self._unsent is not None:
            self._hold(data)
            return
        if self._nagle:
            self._look_at_nagle()
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._break(error)
            return
        self.active_at = self._loop.clock()
        if sent < len(data):
            self._hold(memoryview(data)[sent:] if sent else data)

    def send_last(self, data: bytes) -> None:
        """``send`` before what is probably the end: what closes this direction takes ``data`` along; else ``push`` it.

        Nothing waits.
        """
        try:
            sent = self._socket().send(data, MSG_MORE)
        except BlockingIOError:
            Sending.send(self, data)
            return
        except OSError as error:
            self._break(error)
            return
        self.active_at = self._loop.clock()
        if sent < len(data):
            self._hold(memoryview(data)[sent:])

    def acknowledge(self) -> None:
        """Tell the peer now what the kernel was told to put off."""
        if self._phase != GONE:
            self._socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def keep_alive(self) -> None:
        """Let the kernel ask a silent peer now and then whether it is still there."""
        self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _look_at_nagle(self) -> None:
        """Nagle's algorithm delays only what follows other bytes: most nodes are sent one piece, and need no TCP_NODELAY."""
        self._nagle -= 1
        if not self._nagle:
            self._socket().setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    def undelivered(self) -> int:
        """``Transport.undelivered``."""
        if self._phase >= LOST:
            return 0
        return undelivered(self._fd) + (0 if self._unsent is None else self._unsent.bytes)

    def push(self) -> None:
        """It was not the end."""
        if self._phase < LOST:
            self._socket().setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)

    def send_pipe(self, pipe: Pipe) -> None:
        """Send what ``pipe`` holds; nothing waits."""
        if self._nagle:
            self._look_at_nagle()
        self._unsent = Unsent(self._loop.pipes)
        self._unsent.begin_with(pipe)
        self._flush()
        if self._unsent is not None:
            self._watch_for_room()
            self._congest()

    def _hold(self, data: bytes | memoryview) -> None:
        if self._unsent is None:
            self._unsent = Unsent(self._loop.pipes)
            self._watch_for_room()
        self._unsent.add(data)
        if self._unsent.bytes > BUFFER_BYTES or self._relay_in is not None:
            self._congest()

    def watch(self, events: int) -> None:
        """Hear of ``events`` from now on, beginning with those that are true already."""
        if self._watched:
            self._loop.rewatch(self._fd, events)
            self._watched = events
            return
        try:
            self._loop.watch(self._fd, self, events)
        except OSError as error:
            self._loop.cannot_watch(error)
            self._lose(BREAK)
        else:
            self._watched = events

    def _watch_for_room(self) -> None:
        if not self._watched & EPOLLOUT:
            self.watch(EDGES)

    def _flush(self) -> None:
        """Send what is unsent, as far as the kernel takes it."""
        unsent = self._unsent
        assert unsent is not None
        self.active_at = self._loop.now
        try:
            unsent.send(self._fd)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        self._unsent = None
        if self._phase == CLOSING:
            self._lose(DONE)
            return
        if self._mute:
            self._shut()
        if self.congested:
            self._relieve()

    def _congest(self) -> None:
        """We wait for this peer."""
        if not self.congested:
            self.congested = True
            if self._relay_in is not None:
                self._relay_in.stalled = True
            if self._producer is not None:
                self._producer.pauseProducing()

    def _relieve(self) -> None:
        self.congested = False
        if self._relay_in is not None:
            self._relay_in.resume()
        if self._producer is not None:
            self._producer.resumeProducing()

    def loseWriteConnection(self) -> None:
        """``Transport.loseWriteConnection``."""
        if not self._mute:
            self._mute = True
            if self._relay_in is not None:
                self._relay_in.stop()
            if self._unsent is None:
                self._shut()

    def _shut(self) -> None:
        try:  # noqa: SIM105 half a microsecond faster
            self._socket().shutdown(SHUT_WR)
        except OSError:
            pass  # reset already, of which an event tells

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """``Transport.registerProducer``."""
        if self._producer is not None:
            raise RuntimeError(f"there is a producer already: {self._producer!r}")
        if self._phase < LOST:
            self._producer = producer
            if self.congested:
                producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """``Transport.unregisterProducer``."""
        self._producer = None

    # Inside.

    def _forget_unsent(self) -> None:
        if self._unsent is not None:
            self._unsent.forget()
            self._unsent = None

    def _socket(self) -> socket.SocketType:
        """For what a bare descriptor is not enough for."""
        if self._connection is None:
            self._connection = borrowed(self._fd)
        return self._connection

    def _break(self, error: OSError) -> None:
        """Sending has failed. What the peer had sent before is still there, perhaps an answer that says why.

        The kernel tells of a reset once, and we have taken that: from now on the end of what is there looks like an end of file.
        It is one only if it came before the reset, and then the error was ``EPIPE``.
        """
        self._ended_well = error.errno == EPIPE
        self._forget_unsent()
        if self._phase == OPEN:
            self._phase = BROKEN
            self._mute = True
            if self._relay_in is not None:
                self._relay_in.stalled = True
            self._loop.later(self)
        else:
            self._lose(BREAK)
