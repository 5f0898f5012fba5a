"""One connection on the epoll loop: a bare descriptor, and what is known about it.

Reading. ``_pending`` is what the kernel has told of the input and we have not taken: 0, nothing; ``EPOLLIN`` and others,
perhaps bytes; ``EPOLLRDHUP`` alone, all bytes were taken and the end of file comes next. ``_deaf`` says that input may not be
delivered: while paused, after the end of file, once closing. Pausing touches nothing else, the kernel's window does the rest.

Watching. A connection that was accepted is watched late: for input when somebody wants it and it is not there, for room when the
kernel has refused bytes. Most requests are answered before either; whoever pauses hears of no loss until then.

``sending`` has the other half, and the phases of a connection's life.
"""

from __future__ import annotations

import os
import socket
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from typing import TYPE_CHECKING, Any, ClassVar, Final

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.fields import Address
from nodebalancer.transport.addresses import address_of
from nodebalancer.transport.epoll.loop import INPUT_EDGES, EpollLoop
from nodebalancer.transport.epoll.sending import ABORT, BREAK, BROKEN, CLOSING, DONE, GONE, LOST, OPEN, Sending
from nodebalancer.transport.sockets import RESET, has_input

if TYPE_CHECKING:
    from nodebalancer.transport.epoll.relay import EpollRelay

TURN_BYTES: Final = 1 << 18
"""What one connection may move in a round; then it is the others' turn, however fast its peer sends."""

CHUNK_BYTES: Final = 1 << 16
"""What is read at once; as Twisted."""

INPUT: Final = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP
"""Events after which reading brings something: bytes, the end of file, or an error."""

UNSURE: Final = EPOLLPRI | EPOLLERR
"""With these, less than was asked for does not mean that this was all: a read stops at urgent data, and before an error."""

UNKNOWN: Final = Address("0.0.0.0", 0)  # noqa: S104 not bound to


@implementer(IPushProducer)
class EpollTransport(Sending):
    """A ``Transport``.

    Args:
        loop: Watches ``fd`` for it.
        fd: Connected, not blocking; its own from now on.
        protocol: Hears of it.
        peer: The other end.
        connection: The socket object of ``fd``, if there is one.
        watched: What the loop watches ``fd`` for already: it was dialled. What was accepted has TCP_NODELAY from its listener.
    """

    __slots__ = ("_deaf", "_ended", "_peer", "_pending", "_protocol", "_reason", "_relay_out")

    secure: ClassVar[bool] = False
    """Whether what goes through the kernel is not what the protocol sees."""

    _reason: Failure
    _relay_out: EpollRelay | None

    def __init__(
        self,
        loop: EpollLoop,
        fd: int,
        protocol: Any,
        peer: Address,
        connection: socket.SocketType | None = None,
        watched: int = 0,
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._connection = connection
        self._protocol = protocol
        self._peer = peer
        self._watched = watched
        self._nagle = 2 if watched else 0
        self.active_at = loop.now
        self._phase = OPEN
        self._pending = 0
        self.congested = self._deaf = self._ended = self._mute = False
        self._unsent = self._producer = self._relay_in = self._relay_out = None

    # What the loop calls.

    def handle(self, events: int) -> None:
        """The kernel takes more of what is unsent, or has input, or an error."""
        if self._unsent is not None and events & EPOLLOUT and self._phase < LOST:
            self._flush()
        if events & INPUT:
            self._pending |= events & INPUT
            if not self._deaf:
                self._read()
            elif events & EPOLLERR:
                self._look_for_reset()

    def run(self) -> None:
        """Go on reading, or tell of the loss."""
        phase = self._phase
        if phase == LOST:
            self._tell_loss()
        elif phase == BROKEN:
            self._hear_last_words()
        elif not self._deaf:
            self._read()
            if not (self._watched or self._deaf):
                self.watch(INPUT_EDGES)
        elif self._ended and self._relay_out is not None:
            self._relay_out.finish(ended=True)

    def give_up(self) -> None:
        """The protocol has raised."""
        self.abortConnection()

    # Reading.

    def begin(self, *, client_first: bool) -> None:
        """The protocol has been told that it is connected; ``client_first``: its peer has spoken already."""
        if client_first and not self._deaf:
            self._pending = EPOLLIN
            self._read()
        if not (self._watched or self._deaf):
            self.watch(INPUT_EDGES)

    def has_unread(self) -> bool:
        """``Transport.has_unread``."""
        return self._phase < LOST and has_input(self._fd)

    def _read(self) -> None:
        """Take input until there is none, nobody wants it, or it is the others' turn.

        The one loop that every byte comes through, so it is long rather than in pieces.
        """
        budget = TURN_BYTES
        while self._pending and not self._deaf:
            relay = self._relay_out
            if relay is None:
                most = CHUNK_BYTES
            elif relay.stalled:
                return
            else:
                most = relay.most
            if budget <= 0:
                self._loop.later(self)
                return
            if relay is not None and relay.bulk:
                budget -= relay.splice()
                continue
            if self._pending == EPOLLRDHUP:
                self._end()
                return
            try:
                data = os.read(self._fd, most)
            except BlockingIOError:
                self._pending = 0
                return
            except OSError:
                self._lose(BREAK)
                return
            if not data:
                self._end()
                return
            self.active_at = self._loop.now
            size = len(data)
            if size < most and not self._pending & UNSURE:
                # That was all. An end of file that had come before is right behind it.
                self._pending &= EPOLLRDHUP
            if relay is None:
                self._protocol.dataReceived(data)
            else:
                relay.take(data)
            budget -= size

    def _end(self) -> None:
        """End of file."""
        self._pending = 0
        if self._phase == BROKEN and not self._ended_well:
            self._lose(BREAK)
            return
        self._deaf = self._ended = True
        relay = self._relay_out
        if relay is not None:
            relay.finish(ended=True)
            return
        heard = getattr(self._protocol, "readConnectionLost", None)
        if heard is not None:
            heard()
        else:
            self.loseConnection()

    def _look_for_reset(self) -> None:
        """There is an error and nobody reads. Bytes that came before it are kept until somebody does."""
        if self._phase == OPEN and not self._ended and self._has_input():
            return
        if self._phase < LOST:
            self._lose(BREAK)

    def _has_input(self) -> bool:
        try:
            return bool(self._socket().recv(1, socket.MSG_PEEK))
        except OSError:
            return False

    def _hear_last_words(self) -> None:
        """The peer takes no more, but may have said why."""
        self._pending |= EPOLLIN
        self._read()
        relay = self._relay_out
        no_more = not self._pending or self._deaf or (relay is not None and relay.stalled)
        if no_more and self._phase == BROKEN:
            self._lose(BREAK)

    # Back-pressure.

    def pauseProducing(self) -> None:
        """``Transport.pauseProducing``."""
        self._deaf = True

    def resumeProducing(self) -> None:
        """``Transport.resumeProducing``."""
        if self._phase == OPEN and not self._ended:
            self._deaf = False
            if not self._watched:
                self.watch(INPUT_EDGES)
            elif self._pending:
                self._loop.later(self)

    def wake_after(self, size: int) -> None:
        """Hear of input when it is ``size`` bytes; if it is already, at once."""
        if self._phase < LOST:
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)

    # The end.

    def write_last(self, data: bytes) -> None:
        """``Transport.write_last``."""
        if data and not self._mute:
            if self._unsent is None:
                self.send_last(data)
            else:
                self.send(data)
        self.loseConnection()

    def loseConnection(self) -> None:
        """``Transport.loseConnection``."""
        if self._phase == OPEN:
            self._phase = CLOSING
            self._deaf = self._mute = True
            if self._relay_in is not None or self._relay_out is not None:
                self._stop_relays()
            if self._unsent is None:
                self._lose(DONE)
        elif self._phase == BROKEN:
            self._lose(BREAK)

    stopProducing = loseConnection

    def abortConnection(self) -> None:
        """``Transport.abortConnection``."""
        if self._phase != GONE:
            self._lose(ABORT)

    def _lose(self, reason: Failure) -> None:
        """It is over; the protocol hears of it later.

        Relays end only then: what the other side receives meanwhile must not reach its protocol before the loss does.
        """
        self._phase = LOST
        self._deaf = self._mute = True
        self._reason = reason
        if self._relay_in is not None:
            self._relay_in.stalled = True
        self._loop.later(self)

    def _tell_loss(self) -> None:
        self._phase = GONE
        if self._relay_in is not None or self._relay_out is not None:
            self._stop_relays()
        if self._unsent is not None:
            self._forget_unsent()
        if self._reason is ABORT:
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if self._connection is not None:
            self._connection.detach()
        self._loop.close(self._fd)
        protocol, self._protocol = self._protocol, None
        self._producer = None
        protocol.connectionLost(self._reason)

    def _stop_relays(self) -> None:
        if self._relay_out is not None:
            self._relay_out.stop()
        if self._relay_in is not None:
            self._relay_in.stop()

    # Who it is.

    def getPeer(self) -> Address:
        """The other end."""
        return self._peer

    def getHost(self) -> Address:
        """Our end; ``0.0.0.0:0`` after the loss, when there is none any more."""
        if self._phase == GONE:
            return UNKNOWN
        return address_of(self._socket().getsockname())
