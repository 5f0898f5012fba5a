"""A TLS connection on the epoll loop: what goes through the kernel is ciphertext, what the protocol sees is not.

To the kernel this is a connection like any other, so all of ``transport`` and ``sending`` holds for the ciphertext. ``HELD`` in
``_pending`` says that OpenSSL may have bytes that we have not taken: those are read without any event.

Until the handshake is done the connection reads whether it is paused or not, and what the protocol writes waits in ``_early``;
``_ending`` is what is to follow that.
"""

from __future__ import annotations

import os
import socket
from select import EPOLLERR, EPOLLIN, EPOLLOUT, EPOLLRDHUP
from typing import Any, Final

from OpenSSL import SSL
from twisted.python.failure import Failure

from nodebalancer.fields import Address
from nodebalancer.transport.engine import BUFFER_BYTES, HANDSHAKE_SECONDS, TLS, Deadline, Engine
from nodebalancer.transport.epoll.loop import INPUT_EDGES, EpollLoop
from nodebalancer.transport.epoll.sending import BREAK, BROKEN, CLOSING, DONE, LOST, OPEN
from nodebalancer.transport.epoll.transport import INPUT, TURN_BYTES, UNSURE, EpollTransport
from nodebalancer.transport.sockets import RESET
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

HELD: Final = 1 << 24
"""Beside the ``EPOLL…`` bits in ``_pending``: OpenSSL may hold bytes."""

HALF, WHOLE = 1, 2
"""What is to follow the handshake: our end of file, or the end of the connection."""


class TLSTransport(EpollTransport):
    """A ``Transport`` that speaks TLS, as the server.

    Args:
        engine: Has the deadlines.
        loop: Watches ``fd`` for it.
        fd: Accepted, not blocking; its own from now on.
        protocol: Hears of it.
        peer: The other end.
        tls: Has the context.
    """

    __slots__ = ("_codec", "_deadline", "_early", "_ending", "_established", "_tls")

    secure = True

    _codec: TLSCodec
    _deadline: Deadline | None

    def __init__(self, engine: Engine, loop: EpollLoop, fd: int, protocol: Any, peer: Address, tls: TLS) -> None:
        super().__init__(loop, fd, protocol, peer)
        self._tls = tls
        self._deadline = engine.deadline(HANDSHAKE_SECONDS, self._time_out)
        self._early: list[bytes] = []
        self._ending = 0
        self._established = False

    # What the listener and the loop call.

    def begin(self, *, client_first: bool) -> None:
        """The protocol has been told that it is connected; ``client_first``: its peer has spoken already."""
        self._codec = TLSCodec(self._tls.context())
        if client_first:
            self._pending |= EPOLLIN
            self._shake()
        if not self._watched and self._phase < LOST:
            self.watch(INPUT_EDGES)

    def handle(self, events: int) -> None:
        """The kernel takes more of what is unsent, or has input, or an error."""
        if self._unsent is not None and events & EPOLLOUT and self._phase < LOST:
            self._flush()
        if events & INPUT:
            self._pending |= events & INPUT
            if not self._established:
                self._shake()
            elif not self._deaf:
                self._read()
            elif events & EPOLLERR:
                self._look_for_reset()

    def run(self) -> None:
        """Go on reading, or tell of the loss."""
        if self._established or self._phase >= LOST:
            super().run()
        elif self._phase == BROKEN:
            self._lose(BREAK)
        else:
            self._shake()

    def has_unread(self) -> bool:
        """``Transport.has_unread``."""
        return bool(self._pending & HELD) or super().has_unread()

    def undelivered(self) -> int:
        """``Transport.undelivered``."""
        return super().undelivered() + sum(map(len, self._early))

    # Receiving.

    def _take_in(self) -> bytes | None:
        """Give OpenSSL what the kernel has, if it has something.

        Returns:
            Nothing at the end of file; else None.
        """
        if self._pending == EPOLLRDHUP:
            return b""
        try:
            data = os.read(self._fd, PIECE_BYTES)
        except BlockingIOError:
            self._pending = 0
            return None
        except OSError:
            self._lose(BREAK)
            return None
        if not data:
            return data
        self.active_at = self._loop.now
        if len(data) < PIECE_BYTES and not self._pending & UNSURE:
            # That was all. An end of file that had come before is right behind it.
            self._pending &= EPOLLRDHUP
        self._pending |= HELD
        self._codec.feed(data)
        return None

    def _read(self) -> None:
        """Take input until there is none, nobody wants it, or it is the others' turn."""
        if not self._established:
            return
        budget = TURN_BYTES
        while self._pending and not self._deaf:
            relay = self._relay_out
            if relay is None:
                most = PIECE_BYTES
            elif relay.stalled:
                return
            else:
                most = relay.most
            if budget <= 0:
                self._loop.later(self)
                return
            if self._pending & HELD:
                data = self._decrypt(most)
            else:
                # Ciphertext counts: a record can be nothing but padding.
                budget -= PIECE_BYTES
                data = self._take_in()
            if data:
                if relay is None:
                    self._protocol.dataReceived(data)
                else:
                    relay.take(data)
            elif data is not None:
                self._end()

    def _decrypt(self, most: int) -> bytes | None:
        """``TLSCodec.read``."""
        try:
            data = self._codec.read(most)
        except SSL.Error:
            self._send_pending()
            self._lose(CORRUPT)
            return None
        # Whether something is unread is asked for: who has sent nothing more is not lingered for.
        if data is None or (data and not self._codec.has_more()):
            self._pending &= ~HELD
            if self._codec.prompt:
                self._reply()
        return data

    def _reply(self) -> None:
        """OpenSSL may have an answer to what has come; there are not many for a client that does not read."""
        data = self._codec.take()
        if data and self._phase < BROKEN:
            EpollTransport.send(self, data)
            if self._unsent is not None and self._unsent.bytes > ANSWERS_BYTES_MAX:
                self._lose(CORRUPT)

    # The handshake.

    def _shake(self) -> None:
        """Go on with the handshake as far as what has come allows."""
        codec = self._codec
        while self._pending and self._phase == OPEN:
            if self._take_in() is not None:
                self._lose(PEER_CLOSED)
            if not self._pending & HELD or self._phase != OPEN:
                return
            self._pending &= ~HELD
            try:
                done = codec.shake()
            except SSL.Error as error:
                self._send_pending()
                self._lose(handshake_failure(error))
                return
            if not done or codec.prompt:
                self._send_pending()
            if done:
                self._pending |= HELD
                self._go_on()
                return

    def _go_on(self) -> None:
        """The handshake is done: all that has waited for it comes now."""
        self._established = True
        self._forget_deadline()
        early, self._early = self._early, []
        if early:
            self.send(b"".join(early))
        if self._ending and self._phase == OPEN:
            self._end_early()
        if self._ending != WHOLE and self._phase < LOST:
            if self.congested and self._unsent is None:
                self._relieve()
            heard = getattr(self._protocol, "handshakeCompleted", None)
            if heard is not None:
                heard()
            if not self._deaf:
                self._read()

    def _end_early(self) -> None:
        """The protocol has ended its side meanwhile."""
        self._say_goodbye()
        if self._ending == WHOLE:
            self._phase = CLOSING
            if self._unsent is None:
                self._lose(DONE)
        elif self._unsent is None:
            self._shut()

    def _time_out(self) -> None:
        self._deadline = None
        if self._phase < LOST:
            self._lose(TIMED_OUT)

    def _forget_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    # Sending.

    def send(self, data: bytes) -> None:
        """Encrypt, and send at once what the kernel takes."""
        if not self._established:
            self._hold_early(data)
            return
        if self._encrypt(data):
            self._send_pending()

    def send_last(self, data: bytes) -> None:
        """``send`` before what is probably the end: kept here, so that the farewell leaves with it."""
        if not self._established:
            self._hold_early(data)
            return
        self._encrypt(data)

    def push(self) -> None:
        """It was not the end."""
        if self._phase < LOST:
            self._send_pending()

    def _encrypt(self, data: bytes) -> bool:
        """All of ``data``, sending all but the last piece; False: it cannot be."""
        try:
            if len(data) > PIECE_BYTES:
                view = memoryview(data)
                last = (len(data) - 1) // PIECE_BYTES * PIECE_BYTES
                for start in range(0, last, PIECE_BYTES):
                    self._codec.write(view[start : start + PIECE_BYTES])
                    self._send_pending()
                self._codec.write(view[last:])
            else:
                self._codec.write(data)
        except SSL.Error:
            self._lose(CORRUPT)
            return False
        return True

    def _send_pending(self) -> None:
        """What OpenSSL has for the peer."""
        data = self._codec.take()
        if data and self._phase < BROKEN:
            EpollTransport.send(self, data)

    def _say_goodbye(self) -> None:
        """close_notify after all that was written; the end of file follows."""
        self._codec.close()
        data = self._codec.take()
        if data:
            if self._unsent is None:
                EpollTransport.send_last(self, data)
            else:
                self._hold(data)

    def _hold_early(self, data: bytes) -> None:
        self._early.append(data)
        if self._relay_in is not None or sum(map(len, self._early)) > BUFFER_BYTES:
            self._congest()

    # The end.

    def loseWriteConnection(self) -> None:
        """``Transport.loseWriteConnection``."""
        if self._mute:
            return
        if self._established:
            self._say_goodbye()
            super().loseWriteConnection()
            return
        self._ending = HALF
        self._mute = True
        if self._relay_in is not None:
            self._relay_in.stop()

    def loseConnection(self) -> None:
        """``Transport.loseConnection``."""
        if self._phase == OPEN:
            if self._established:
                if not self._mute:
                    self._say_goodbye()
            elif self._early:
                self._ending = WHOLE
                self._deaf = self._mute = True
                self._stop_relays()
                return
        super().loseConnection()

    stopProducing = loseConnection

    def _shut(self) -> None:
        if self._established:
            super()._shut()

    def _lose(self, reason: Failure) -> None:
        if reason is BREAK and not self._established:
            reason = PEER_GONE
        super()._lose(reason)

    def _tell_loss(self) -> None:
        self._forget_deadline()
        self._early.clear()
        if self._reason is CORRUPT:
            self._socket().setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        super()._tell_loss()
