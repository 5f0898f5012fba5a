"""One connection on the epoll loop: a bare descriptor, and what is known about it.

Reading. ``_pending`` is what the kernel has told of the input and we have not taken: 0, nothing; ``EPOLLIN`` and others,
perhaps bytes; ``EPOLLRDHUP`` alone, all bytes were taken and the end of file comes next. ``_deaf`` says whether input may be
delivered: not while paused, nor after the end of file, nor once closing. Pausing touches nothing else, the kernel's window
does the rest.

Writing. What the kernel does not take at once is unsent: either in ``_unsent``, or in ``_pipe`` if a relay spliced it, never
in both. While something is unsent nothing else is sent, so the order holds. ``_mute`` says whether writes are ignored: after
a half-close, and once closing.

The end. ``_phase`` goes from ``OPEN`` in one direction: ``CLOSING`` until all is sent; ``BROKEN`` when sending has failed but
the peer's last words may still be read; ``LOST`` when all that is left is to tell the protocol, which is a task; ``GONE``.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLPRI, EPOLLRDHUP
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.fields import Address
from nodebalancer.transport.addresses import address_of
from nodebalancer.transport.engine import BUFFER_BYTES
from nodebalancer.transport.epoll_loop import EpollLoop, borrowed
from nodebalancer.transport.sockets import RESET

if TYPE_CHECKING:
    from nodebalancer.transport.epoll_relay import EpollRelay
    from nodebalancer.transport.pipes import Pipe

TURN_BYTES: Final = 1 << 18
"""What one connection may move in a round; then it is the others' turn, however fast its peer sends."""

CHUNK_BYTES: Final = 1 << 16
"""What is read at once; as Twisted and nginx."""

PIECES_MAX: Final = 64
"""Pieces of unsent data sent at once; the kernel takes up to 1024."""

INPUT: Final = EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLERR | EPOLLHUP
"""Events after which reading brings something: bytes, the end of file, or an error."""

UNSURE: Final = EPOLLPRI | EPOLLERR
"""With these a read that brings less than was asked does not mean that this was all: it stops at urgent data, and at errors."""

OPEN, CLOSING, BROKEN, LOST, GONE = range(5)

# Failures take microseconds to make, and these never differ.
DONE: Final = Failure(ConnectionDone())  # type: ignore[no-untyped-call]
BREAK: Final = Failure(ConnectionLost())  # type: ignore[no-untyped-call]
ABORT: Final = Failure(ConnectionAborted())  # type: ignore[no-untyped-call]

UNKNOWN: Final = Address("0.0.0.0", 0)  # noqa: S104 not bound to


@implementer(IPushProducer)
class EpollTransport:
    """A ``Transport``.

    Args:
        loop: Watches ``fd`` for it.
        fd: Connected, not blocking; its own from now on.
        protocol: Hears of it.
        peer: The other end.
    """

    __slots__ = (
        "_deaf",
        "_ended",
        "_fd",
        "_host",
        "_loop",
        "_mute",
        "_peer",
        "_pending",
        "_phase",
        "_pipe",
        "_producer",
        "_protocol",
        "_queued",
        "_reason",
        "_relay_in",
        "_relay_out",
        "_unsent",
        "_unsent_bytes",
        "active_at",
        "congested",
    )

    def __init__(self, loop: EpollLoop, fd: int, protocol: Any, peer: Address) -> None:
        self.active_at = loop.now
        self.congested = False
        self._loop = loop
        self._fd = fd
        self._protocol = protocol
        self._peer = peer
        self._host: Address | None = None
        self._phase = OPEN
        self._reason = DONE
        self._queued = False
        self._pending = 0
        self._deaf = False
        self._ended = False
        self._mute = False
        self._unsent: list[bytes | memoryview] | None = None
        self._unsent_bytes = 0
        self._pipe: Pipe | None = None
        self._producer: Any = None
        self._relay_in: EpollRelay | None = None
        self._relay_out: EpollRelay | None = None

    # What the loop calls.

    def handle(self, events: int) -> None:
        """The kernel has taken what was unsent, or has input, or an error."""
        if self._unsent_bytes and events & EPOLLOUT:
            self._flush()
        if events & INPUT:
            self._pending |= events & INPUT
            if not self._deaf:
                self._read()
            elif events & EPOLLERR:
                self._look_for_reset()

    def run(self) -> None:
        """Resume, or tell of the loss."""
        self._queued = False
        if self._phase == LOST:
            self._tell_loss()
        elif self._phase == BROKEN:
            self._hear_last_words()
        elif self._relay_out is not None and self._ended:
            self._relay_out.finish(ended=True)
        elif not self._deaf:
            self._read()

    def give_up(self) -> None:
        """The protocol has raised."""
        self.abortConnection()

    # Reading.

    def _read(self) -> None:
        """Deliver input until there is none, or it is the others' turn."""
        budget = TURN_BYTES
        while self._pending and not self._deaf:
            if self._relay_out is not None:
                self._relay_out.pump()
                return
            if budget <= 0:
                self._later()
                return
            data = self._receive(CHUNK_BYTES)
            if data:
                budget -= len(data)
                self._protocol.dataReceived(data)
            elif data is not None:
                self._end()

    def _receive(self, most: int) -> bytes | None:
        """The next bytes; none at the end of file; None when there is nothing now, or nothing ever again."""
        if self._pending == EPOLLRDHUP:
            return b""
        try:
            data = os.read(self._fd, most)
        except BlockingIOError:
            self._pending = 0
            return None
        except OSError:
            self._lose(BREAK)
            return None
        self.active_at = self._loop.now
        if 0 < len(data) < most and not self._pending & UNSURE:
            # That was all. An end of file that had come before is still there, and all that is.
            self._pending &= EPOLLRDHUP
        return data

    def _end(self) -> None:
        """End of file."""
        self._pending = 0
        self._deaf = self._ended = True
        if self._relay_out is not None:
            self._relay_out.finish(ended=True)
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
        connection = borrowed(self._fd)
        try:
            return bool(connection.recv(1, socket.MSG_PEEK))
        except OSError:
            return False
        finally:
            connection.detach()

    def _hear_last_words(self) -> None:
        """The peer takes no more, but may have said why."""
        if not self._deaf:
            self._pending |= EPOLLIN
            self._read()
        if self._phase == BROKEN and not self._queued:
            self._lose(BREAK)

    # Writing.

    def write(self, data: bytes) -> None:
        """``Transport.write``."""
        if data and not self._mute:
            self._send(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """``Transport.writeSequence``."""
        self.write(b"".join(iovec))

    def _send(self, data: bytes) -> None:
        """Send at once what the kernel takes, if nothing waits already."""
        if self._unsent_bytes:
            self._hold(data)
            return
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            self._hold(data)
            return
        except OSError:
            self._break()
            return
        self.active_at = self._loop.clock()
        if sent < len(data):
            self._hold(memoryview(data)[sent:])

    def _hold(self, data: bytes | memoryview) -> None:
        if self._pipe is not None:
            self._unsent = [self._pipe.empty()]
            self._return_pipe()
        if self._unsent is None:
            self._unsent = []
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if not self.congested and (self._unsent_bytes > BUFFER_BYTES or self._relay_in is not None):
            self._congest()

    def _hold_pipe(self, pipe: Pipe) -> None:
        """A relay has put bytes into ``pipe``; nothing else is unsent."""
        self._pipe = pipe
        self._unsent_bytes = pipe.held
        self._flush()
        if self._unsent_bytes and not self.congested:
            self._congest()

    def _flush(self) -> None:
        """Send what is unsent, as far as the kernel takes it."""
        try:
            while self._unsent_bytes:
                self._unsent_bytes -= self._flush_some()
                self.active_at = self._loop.now
        except BlockingIOError:
            return
        except OSError:
            self._break()
            return
        self._sent_all()

    def _flush_some(self) -> int:
        if self._pipe is not None:
            return self._pipe.drain(self._fd)
        unsent = self._unsent
        assert unsent is not None
        sent = left = os.writev(self._fd, unsent[:PIECES_MAX])
        whole = 0
        while whole < len(unsent) and len(unsent[whole]) <= left:
            left -= len(unsent[whole])
            whole += 1
        del unsent[:whole]
        if left:
            unsent[0] = memoryview(unsent[0])[left:]
        return sent

    def _sent_all(self) -> None:
        self._unsent = None
        self._return_pipe()
        if self._phase == CLOSING:
            self._lose(DONE)
            return
        if self._mute:
            self._shut()
        if self.congested:
            self._relieve()

    def _return_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._loop.pipes.take_back(pipe)

    def _congest(self) -> None:
        self.congested = True
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
            if not self._unsent_bytes:
                self._shut()

    def _shut(self) -> None:
        connection = borrowed(self._fd)
        try:
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # reset already, of which an event tells
        finally:
            connection.detach()

    # Back-pressure.

    def pauseProducing(self) -> None:
        """``Transport.pauseProducing``."""
        self._deaf = True

    def resumeProducing(self) -> None:
        """``Transport.resumeProducing``."""
        if self._phase == OPEN and not self._ended:
            self._deaf = False
            self.wake()

    def wake(self) -> None:
        """Deliver input that waits, later."""
        if self._pending and not self._deaf:
            self._later()

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

    # The end.

    def loseConnection(self) -> None:
        """``Transport.loseConnection``."""
        if self._phase == OPEN:
            self._phase = CLOSING
            self._deaf = self._mute = True
            self._stop_relays()
            if not self._unsent_bytes:
                self._lose(DONE)

    stopProducing = loseConnection

    def abortConnection(self) -> None:
        """``Transport.abortConnection``."""
        if self._phase != GONE:
            self._lose(ABORT)

    def _break(self) -> None:
        """Sending has failed. What the peer had sent before is still there, perhaps an answer that says why."""
        self._mute = True
        self._forget_unsent()
        if self._phase == OPEN:
            self._phase = BROKEN
            self._later()
        elif self._phase == CLOSING:
            self._lose(BREAK)

    def _lose(self, reason: Failure) -> None:
        """It is over; the protocol hears of it later.

        Relays end only then: what the other side receives meanwhile must not reach its protocol before the loss does.
        """
        self._phase = LOST
        self._deaf = self._mute = True
        self._reason = reason
        self._later()

    def _stop_relays(self) -> None:
        if self._relay_out is not None:
            self._relay_out.stop()
        if self._relay_in is not None:
            self._relay_in.stop()

    def _later(self) -> None:
        if not self._queued:
            self._queued = True
            self._loop.later(self)

    def _forget_unsent(self) -> None:
        self._unsent = None
        self._unsent_bytes = 0
        self._return_pipe()

    def _tell_loss(self) -> None:
        self._phase = GONE
        self._forget_unsent()
        self._stop_relays()
        if self._reason is ABORT:
            connection = borrowed(self._fd)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.detach()
        self._loop.close(self._fd)
        protocol, self._protocol = self._protocol, None
        self._producer = None
        protocol.connectionLost(self._reason)

    # Who it is.

    def getPeer(self) -> Address:
        """The other end."""
        return self._peer

    def getHost(self) -> Address:
        """Our end; ``0.0.0.0:0`` when it is asked for the first time after the loss."""
        if self._host is None:
            if self._phase == GONE:
                return UNKNOWN
            connection = borrowed(self._fd)
            self._host = address_of(connection.getsockname())
            connection.detach()
        return self._host
