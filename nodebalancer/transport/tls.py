# mypy: allow-untyped-calls
"""TLS without a socket, for any engine: what the peer sent goes in, what it meant comes out, and the other way round.

OpenSSL reads from and writes to memory, not the socket. So the kernel is asked as for plain TCP: once for all that has come (on the
socket OpenSSL asks twice for every record), once for all there is to send (tickets, answer and close_notify in one segment),
and no send ever waits to receive. CPU per request is the same either way; system calls are fewer.

A context should have ``MODE_RELEASE_BUFFERS``, or an idle connection holds 16 KiB more. No other mode matters here.

pyOpenSSL's own methods allocate a buffer for every call, and raise where "not yet" is the usual answer; that is a twentieth of
the CPU of a resumed request. Its object for a connection is another fortieth. So a connection is OpenSSL's own, and the few calls
that it needs go to the functions below pyOpenSSL, which makes the contexts.
"""

from __future__ import annotations

from typing import Final

from OpenSSL import SSL
from OpenSSL._util import exception_from_error_queue, ffi, lib
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from nodebalancer.errors import HandshakeError

PIECE_BYTES: Final = 1 << 15
"""What is decrypted or encrypted before it is moved on: two records. OpenSSL's memory never shrinks again, so this bounds what a
connection holds after it has moved much."""

BUFFER_BYTES: Final = 1 << 16
BUFFER: Final = ffi.new("char[]", BUFFER_BYTES)
"""Where OpenSSL puts what is copied out at once. One thread at a time."""

ANSWERS_BYTES_MAX: Final = 1 << 18
"""What may wait to be sent when OpenSSL answers by itself. A client of TLS 1.2 that asks again and again for another handshake,
and reads no refusal of it, would make us keep them all."""

MEMORY: Final = lib.BIO_s_mem()

NOWHERE: Final = ffi.new("char **")
"""For pointers that nobody follows."""

REASONS: Final = {
    "http request": "a plain HTTP request",
    "https proxy request": "a plain HTTP request",
    "wrong version number": "not TLS",
    "unsupported protocol": "unsupported protocol version",
    "version too low": "unsupported protocol version",
}
"""OpenSSL's words that need an explanation, in ours."""

ALERT: Final = " alert "
"""In OpenSSL's words for what the peer has told us."""

TIMED_OUT: Final = Failure(HandshakeError("timed out"))
PEER_CLOSED: Final = Failure(HandshakeError("the peer closed"))
PEER_GONE: Final = Failure(HandshakeError("the peer was gone"))

CORRUPT: Final = Failure(ConnectionLost())
"""After the handshake: not what the peer has sent, so there is nobody to say good-bye to."""


def handshake_failure(error: SSL.Error) -> Failure:
    """A ``HandshakeError`` that says why OpenSSL ended a handshake. It was never raised, or it would hold our frames."""
    told = error.args[0] if error.args else ()
    reason = str(told[-1][-1]) if isinstance(told, list) and told else "no reason given"
    if ALERT in reason:
        reason = f"the peer refused: {reason.partition(ALERT)[2]}"
    return Failure(HandshakeError(REASONS.get(reason, reason)))


class TLSCodec:
    """The server's end of one TLS connection.

    Args:
        context: What is spoken, with which certificates.

    Attributes:
        established: The handshake is done.
        prompt: What OpenSSL has to say is to be sent at once. It is not after a handshake of TLS 1.3 whose end came together
            with data: then the tickets go with the first answer. Else nothing may acknowledge that end for 40 ms, and for so
            long a client with Nagle's algorithm would keep its request.
    """

    __slots__ = ("_connection", "_context", "_from", "_into", "_ssl", "established", "prompt")

    def __init__(self, context: SSL.Context) -> None:
        self._context = context
        if context._tlsext_servername_callback is None and context._alpn_select_helper is None:
            self._connection = None
            self._ssl = ffi.gc(lib.SSL_new(context._context), lib.SSL_free)
            self._into = lib.BIO_new(MEMORY)
            self._from = lib.BIO_new(MEMORY)
            if not (self._ssl and self._into and self._from):
                raise MemoryError
            lib.SSL_set_bio(self._ssl, self._into, self._from)
        else:
            # pyOpenSSL's callbacks look for its own object, which costs more than the rest of this.
            self._connection = connection = SSL.Connection(context)
            self._ssl = connection._ssl
            self._into = connection._into_ssl
            self._from = connection._from_ssl
        lib.SSL_set_accept_state(self._ssl)
        self.established = False
        self.prompt = True

    def feed(self, data: bytes) -> None:
        """``data`` came from the peer."""
        lib.BIO_write(self._into, data, len(data))

    def shake(self) -> bool:
        """Go on with the handshake, as far as what has come allows. Whatever becomes of it, there may be something to ``take``.

        Returns:
            Whether it is done.

        Raises:
            SSL.Error: It has failed; for the transport, which makes a ``handshake_failure`` of it.
        """
        result = lib.SSL_do_handshake(self._ssl)
        if result == 1:
            self.established = True
            self.prompt = not self.has_more() or lib.SSL_version(self._ssl) < SSL.TLS1_3_VERSION
            return True
        self._look_at(result)
        return False

    def has_more(self) -> bool:
        """Whether something has come that was not read, be it half a record."""
        more: bool = lib.BIO_get_mem_data(self._into, NOWHERE) > 0 or lib.SSL_pending(self._ssl) > 0
        return more

    def read(self, size: int) -> bytes | None:
        """At most ``size`` bytes of what has come, from one record.

        Returns:
            Nothing, as at an end of file, when the peer has said that it sends no more; None when no record has come whole.

        Raises:
            SSL.Error: This is not what the peer has sent, or it tells us of an error; for the transport, which aborts.
        """
        result = lib.SSL_read(self._ssl, BUFFER, size if size < BUFFER_BYTES else BUFFER_BYTES)
        if result > 0:
            data: bytes = ffi.buffer(BUFFER, result)[:]
            return data
        return self._look_at(result)

    def write(self, data: bytes | memoryview) -> None:
        """Encrypt ``data``, at best not more than ``PIECE_BYTES``, to be taken.

        Raises:
            SSL.Error: The connection was broken before; for the transport, which aborts.
        """
        plain = ffi.from_buffer(data)
        size = len(data)
        sent = lib.SSL_write(self._ssl, plain, size)
        while sent < size:
            if sent <= 0:
                self._look_at(sent)
                raise SSL.Error("not written")
            plain += sent
            size -= sent
            sent = lib.SSL_write(self._ssl, plain, size)

    def close(self) -> None:
        """Say that we send no more (close_notify), to be taken. Without effect when there is nobody to be told."""
        if lib.SSL_shutdown(self._ssl) < 0:
            lib.ERR_clear_error()

    def take(self) -> bytes:
        """What is to be sent to the peer; nothing, if there is nothing."""
        size = lib.BIO_read(self._from, BUFFER, BUFFER_BYTES)
        if size <= 0:
            return b""
        data: bytes = ffi.buffer(BUFFER, size)[:]
        return data if size < BUFFER_BYTES else data + self.take()

    def _look_at(self, result: int) -> bytes | None:
        """Why OpenSSL did not do it."""
        error = lib.SSL_get_error(self._ssl, result)
        if error == lib.SSL_ERROR_WANT_READ:
            return None
        if error == lib.SSL_ERROR_ZERO_RETURN:
            return b""
        if self._connection is not None:
            self._connection._raise_ssl_error(self._ssl, result)
        exception_from_error_queue(SSL.Error)
        raise AssertionError("the queue raises")
