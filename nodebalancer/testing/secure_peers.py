"""Clients that speak TLS, as a test plays them.

authority = Authority()
client = SecurePeer(world.client(address), authority.client())
await world.until(lambda: client.established)
client.send(b"hello")
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import trustme
from OpenSSL import SSL
from OpenSSL._util import lib

from nodebalancer.testing.peers import Peer

PIECE_BYTES = 65536


class Authority:
    """A certificate authority of its own, what a server that it has certified speaks, and who trusts it.

    Args:
        key: Kind of the server's key.
    """

    def __init__(self, key: trustme.KeyType = trustme.KeyType.ECDSA) -> None:
        self.ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self._leaf = self.ca.issue_cert("localhost", "127.0.0.1", key_type=key)

    def server(self, **options: Any) -> ServerTLS:
        """What a listener speaks; see ``ServerTLS``."""
        return ServerTLS(self._leaf, **options)

    def client(self, version: int | None = None) -> SSL.Context:
        """What a client speaks that trusts us: TLS ``version`` only, if given."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self.ca.configure_trust(context)
        context.set_verify(SSL.VERIFY_PEER)
        if version is not None:
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
        return context


class ServerTLS:
    """An ``engine.TLS`` with one context.

    Args:
        leaf: Its certificate and key.
        adjust: Does something to the context.

    Attributes:
        asked: How often it was asked for a context.
    """

    def __init__(self, leaf: trustme.LeafCert, adjust: Callable[[SSL.Context], object] = id) -> None:
        self.asked = 0
        self._context = context = SSL.Context(SSL.TLS_SERVER_METHOD)
        leaf.configure_cert(context)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_options(SSL.OP_NO_RENEGOTIATION)
        context.set_session_id(b"test")
        context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
        adjust(context)

    def context(self) -> SSL.Context:
        """``TLS.context``."""
        self.asked += 1
        return self._context


class SecurePeer:
    """A client that speaks TLS over another peer; it moves only when it is told to ``step``, after that one.

    Args:
        below: Connected.
        context: What it speaks.
        session: To be resumed.

    Attributes:
        tls: For what else is to be asked; it has no socket.
        established: Whether its handshake is done.
        received: All it has read.
        ended: Whether it was told that no more comes (close_notify).
        error: What has gone wrong in TLS.
    """

    def __init__(self, below: Peer, context: SSL.Context, session: SSL.Session | None = None) -> None:
        self.below = below
        self.error: SSL.Error | None = None
        self.tls = SSL.Connection(context)
        self.tls.set_connect_state()
        if session is not None:
            self.tls.set_session(session)
        self.established = self.ended = False
        self.received = bytearray()
        self._waiting = bytearray()
        self.step()

    @property
    def resumed(self) -> bool:
        """Whether the handshake was short, since an earlier session goes on."""
        return bool(lib.SSL_session_reused(self.tls._ssl))

    @property
    def truncated(self) -> bool:
        """Whether the connection has ended without close_notify."""
        return (self.below.ended or self.below.was_reset) and not self.ended

    def send(self, data: bytes) -> None:
        """Send ``data`` once the handshake is done."""
        self._waiting += data
        self.step()

    def half_close(self) -> None:
        """Say that no more comes (close_notify), and go on reading; the network below stays open."""
        self.tls.shutdown()
        self.step()

    def step(self) -> None:
        """Do what is possible now."""
        new = bytes(self.below.received)
        self.below.received.clear()
        for start in range(0, len(new), PIECE_BYTES):
            self.tls.bio_write(new[start : start + PIECE_BYTES])
            self._work()
        self._work()

    def _work(self) -> None:
        if self.error is None:
            try:
                self._shake_and_read()
            except SSL.WantReadError:
                pass
            except SSL.ZeroReturnError:
                self.ended = True
            except SSL.Error as error:
                self.error = error
        with contextlib.suppress(SSL.WantReadError):
            while True:
                self.below.send(self.tls.bio_read(PIECE_BYTES))

    def _shake_and_read(self) -> None:
        if not self.established:
            self.tls.do_handshake()
            self.established = True
        if self._waiting:
            waiting, self._waiting = bytes(self._waiting), bytearray()
            for start in range(0, len(waiting), PIECE_BYTES):
                self.tls.sendall(waiting[start : start + PIECE_BYTES])
        while True:
            self.received += self.tls.recv(PIECE_BYTES)
