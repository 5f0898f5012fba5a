"""A TLS connection on one of Twisted's own transports.

The same codec as the lean engine's, not Twisted's ``TLSMemoryBIOProtocol``: that one cannot half-close, and takes the peer's
close_notify for the end of both directions.

Until the handshake is done the stock transport is read whether the protocol has paused or not, and what the protocol writes
waits in ``_early``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.python.failure import Failure

from nodebalancer.fields import Address
from nodebalancer.transport import engine as seam
from nodebalancer.transport.engine import HANDSHAKE_SECONDS
from nodebalancer.transport.reactor.stream import ReactorStream
from nodebalancer.transport.stream import Turns
from nodebalancer.transport.tls import (
    ANSWERS_BYTES_MAX,
    CORRUPT,
    PEER_CLOSED,
    PEER_GONE,
    PIECE_BYTES,
    TIMED_OUT,
    TLSCodec,
    handshake_failure,
)


class Times(Turns, Protocol):
    """What a ``TLSStream`` needs of its engine."""

    def deadline(self, seconds: float, callback: Callable[[], None]) -> seam.Deadline:
        """``Engine.deadline``."""


class TLSStream(ReactorStream):
    """A connection that speaks TLS, as the server.

    Args:
        engine: Knows the time, the next turn and deadlines.
        protocol: Who hears what comes in.
        peer: The other end.
        host: Our end.
        tls: Has the context.
    """

    _codec: TLSCodec

    def __init__(self, engine: Times, protocol: Any, peer: Address, host: Address, tls: seam.TLS) -> None:
        super().__init__(engine, protocol, peer, host)
        self._tls = tls
        self._established = False
        self._early: list[bytes] = []
        self._then: Callable[[], None] | None = None
        self._failure: Failure | None = None
        self._deadline: seam.Deadline | None = engine.deadline(HANDSHAKE_SECONDS, self._time_out)

    # What the stock transport calls.

    def makeConnection(self, transport: Any) -> None:
        """The stock transport is connected."""
        super().makeConnection(transport)
        self._tell(self._begin)

    def dataReceived(self, data: bytes) -> None:
        """Ciphertext came in."""
        self.active_at = self._engine.now
        self._codec.feed(data)
        if self._established:
            self._hear()
        elif not self._closing or self._then is not None:
            self._shake()

    def readConnectionLost(self) -> None:
        """The end of file came in."""
        if not self._established:
            self._fail(PEER_CLOSED)
        elif not self._ended:
            super().readConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """The stock transport is gone; nothing refers to it any more."""
        self._forget_deadline()
        self._then = None
        failure, self._failure = self._failure, None
        if failure is not None:
            reason = failure
        elif not self._established and not self._closing:
            reason = PEER_GONE
        super().connectionLost(reason)

    # The handshake.

    def _begin(self) -> None:
        self._codec = TLSCodec(self._tls.context())

    def _shake(self) -> None:
        try:
            done = self._codec.shake()
        except SSL.Error as error:
            self._send_pending()
            self._fail(handshake_failure(error))
            return
        if not done or self._codec.prompt:
            self._send_pending()
        if done:
            self._go_on()

    def _go_on(self) -> None:
        """The handshake is done: all that has waited for it comes now."""
        self._established = True
        self._forget_deadline()
        early, self._early = self._early, []
        if early:
            self._lower_write(b"".join(early))
        if not self._reading:
            super()._lower_read(False)
        then, self._then = self._then, None
        if then is not None:
            then()
        if not self._closing:
            heard = getattr(self._protocol, "handshakeCompleted", None)
            if heard is not None:
                self._tell(heard)
            self._hear()

    def _fail(self, failure: Failure) -> None:
        """There will be no connection."""
        self._failure = failure
        self._close()
        super()._lower_close()

    def _time_out(self) -> None:
        self._deadline = None
        if not self._lost:
            self._failure = TIMED_OUT
            self._close()
            self._lower_reset()

    def _forget_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    # Both directions.

    def _hear(self) -> None:
        """Decrypt what has come."""
        while not self._closing:
            try:
                data = self._codec.read(PIECE_BYTES)
            except SSL.Error:
                self._send_pending()
                self._give_up()
                return
            if data is None:
                break
            if not data:
                super().readConnectionLost()
                return
            super().dataReceived(data)
        if self._codec.prompt and self._send_pending() and self._unsent > ANSWERS_BYTES_MAX:
            self._give_up()

    def _send_pending(self) -> bool:
        """What OpenSSL has for the peer, if it has something."""
        data = self._codec.take()
        if not data:
            return False
        self._unsent += len(data)
        super()._lower_write(data)
        return True

    def _give_up(self) -> None:
        """What comes, or what we have sent, is broken: there is nobody to say good-bye to."""
        self._failure = CORRUPT
        self._close()
        self._lower_reset()

    # What ``Stream`` calls.

    def _lower_write(self, data: bytes) -> None:
        if not self._established:
            self._early.append(data)
            return
        self._unsent -= len(data)
        view = memoryview(data)
        try:
            for start in range(0, len(data), PIECE_BYTES):
                self._codec.write(view[start : start + PIECE_BYTES])
                self._send_pending()
        except SSL.Error:
            self._give_up()

    def _lower_read(self, wanted: bool) -> None:
        if self._established:
            super()._lower_read(wanted)

    def _lower_end(self) -> None:
        if not self._established:
            self._then = self._lower_end
            return
        self._codec.close()
        self._send_pending()
        super()._lower_end()

    def _lower_close(self) -> None:
        if self._established:
            if not self._write_shut:
                self._codec.close()
                self._send_pending()
        elif self._early:
            self._then = self._lower_close
            return
        super()._lower_close()
