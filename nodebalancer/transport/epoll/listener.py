"""A listening socket on the epoll loop. Level-triggered: what is not accepted in this round is told again."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from nodebalancer.fields import Address
from nodebalancer.transport.accepting import Shortage, protocol_for
from nodebalancer.transport.addresses import address_of
from nodebalancer.transport.engine import TICK_SECONDS, TLS, Engine, Factory
from nodebalancer.transport.epoll.loop import EpollLoop, borrowed
from nodebalancer.transport.epoll.tls import TLSTransport
from nodebalancer.transport.epoll.transport import EpollTransport
from nodebalancer.transport.sockets import defer, reset

NEW: Final = tuple.__new__
"""Half the time that ``Address`` takes."""

ACCEPTS_MAX: Final = 32
"""Clients accepted in a round, so that a flood on one port does not starve the rest."""

GONE_ALREADY: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.EPERM,  # this machine's firewall
        errno.EOPNOTSUPP,
        errno.ENOPROTOOPT,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENONET,
    }
)
"""Errors of the one client that was to be accepted; the next may have more luck (accept(2), "Error handling")."""


class EpollListener:
    """A ``Listener``.

    Args:
        engine: Has the deadlines.
        loop: Watches the socket.
        listening: Bound and listening, not blocking; its own from now on. What it is set to, what it accepts inherits.
        factory: ``Engine.listen``.
        admit: ``Engine.listen``.
        tls: ``Engine.listen``; its clients speak first.
        client_first: ``Engine.listen``.
        shortage: The engine's.
        held: Whether somebody else has the socket too, to whom waiting clients are left when this one closes.

    Attributes:
        socket: The listening socket.
        retiring: Whether a last call is under way.
    """

    def __init__(
        self,
        engine: Engine,
        loop: EpollLoop,
        listening: socket.socket,
        factory: Factory,
        admit: Callable[[Address], bool] | None,
        *,
        tls: TLS | None,
        client_first: bool,
        shortage: Shortage,
        held: bool = False,
    ) -> None:
        self.address = address_of(listening.getsockname())
        self.socket = listening
        self.retiring = False
        self._engine = engine
        self._loop = loop
        self._accept_one: Callable[[], tuple[int, Any]] = listening._accept  # type: ignore[attr-defined] # a bare descriptor
        self._factory = factory
        self._admit = admit
        self._shortage = shortage
        self._held = held
        self._paused = self._resting = self._closed = False
        self._left: deque[tuple[int, Any]] = deque()
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.expect(tls=tls, client_first=client_first)
        loop.watch(listening.fileno(), self, select.EPOLLIN)

    @property
    def unserved(self) -> int:
        """``Listener.unserved``."""
        return len(self._left) + self.retiring

    def expect(self, *, tls: TLS | None, client_first: bool) -> None:
        """``Listener.expect``."""
        self._tls = tls
        self._client_first = client_first or tls is not None
        defer(self.socket, self._client_first)

    def pause(self) -> None:
        """``Listener.pause``."""
        self._paused = True
        self._update()

    def resume(self) -> None:
        """``Listener.resume``."""
        self._paused = False
        self._update()

    def close(self) -> None:
        """``Listener.close``."""
        if self._closed:
            return
        self.retiring = False
        while not self._held and (client := self._accept()) is not None:
            self._left.append(client)
        self._closed = True
        if self._left:
            self._loop.later(self)
        self._loop.unwatch(self.socket.fileno())
        self.socket.close()

    def call_last(self) -> bool:
        """Accept from now on whoever comes, at once; False: not here, since it is closed or somebody else has the socket too."""
        self.retiring = not (self._closed or self._held)
        if self.retiring:
            defer(self.socket, False)
            self.resume()
        return self.retiring

    # What the loop calls.

    def handle(self, events: int) -> None:
        """Clients are waiting."""
        for _ in range(ACCEPTS_MAX):
            if self._paused or self._closed:
                return
            client = self._accept()
            if client is None:
                return
            self._serve(*client)

    def run(self) -> None:
        """Serve who was left when it closed."""
        for _ in range(min(ACCEPTS_MAX, len(self._left))):
            self._serve(*self._left.popleft())
        if self._left:
            self._loop.later(self)

    def give_up(self) -> None:
        """A fault of ours; the next client may have more luck."""

    # Inside.

    def _accept(self) -> tuple[int, Any] | None:
        while True:
            try:
                return self._accept_one()
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in GONE_ALREADY:
                    self._rest(error)
                    return None

    def _serve(self, fd: int, name: Any) -> None:
        # Those of IPv4 are as they should be, and two items long.
        peer = NEW(Address, name) if len(name) == 2 else address_of(name)
        protocol = protocol_for(peer, self._factory, self._admit)
        if protocol is None:
            reset(borrowed(fd))
            return
        transport = None
        try:
            os.set_blocking(fd, False)
            transport = (
                EpollTransport(self._loop, fd, protocol, peer)
                if self._tls is None
                else TLSTransport(self._engine, self._loop, fd, protocol, peer, self._tls)
            )
            protocol.makeConnection(transport)
            transport.begin(client_first=self._client_first)
        except Exception:
            self._shortage.survive(self.address)
            if transport is None:
                reset(borrowed(fd))
            else:
                transport.abortConnection()

    def _rest(self, error: OSError) -> None:
        """We cannot accept (no descriptors, no memory); trying again at once would only burn the processor."""
        self._shortage.tell(self.address, error)
        self._loop.pipes.close()
        if not self._resting:
            self._resting = True
            self._engine.deadline(TICK_SECONDS, self._rested)
            self._update()

    def _rested(self) -> None:
        self._resting = False
        self._update()

    def _update(self) -> None:
        if not self._closed:
            idle = self._paused or self._resting
            self._loop.rewatch(self.socket.fileno(), 0 if idle else select.EPOLLIN)
