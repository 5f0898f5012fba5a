"""The lean engine: Linux sockets on one epoll set of their own, nested in the reactor.

What a connection costs here is near what it costs the kernel. ``epoll.loop`` has the turns, ``epoll.transport`` a connection, ``epoll.tls`` one that speaks TLS,
``epoll.relay`` and ``epoll.pipes`` the bytes between two.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from twisted.internet.defer import Deferred

from nodebalancer.fields import Address
from nodebalancer.transport import engine as seam
from nodebalancer.transport.accepting import Shortage
from nodebalancer.transport.deadlines import Deadlines
from nodebalancer.transport.epoll.dial import Dials, EpollDial
from nodebalancer.transport.epoll.last_call import LastCall
from nodebalancer.transport.epoll.listener import EpollListener
from nodebalancer.transport.epoll.loop import EpollLoop
from nodebalancer.transport.epoll.pipes import POOL_BYTES, PipePool
from nodebalancer.transport.epoll.relay import EpollRelay
from nodebalancer.transport.resolving import resolve
from nodebalancer.transport.sockets import adopt_listening, listen_on


class EpollEngine:
    """An ``Engine`` for Linux.

    It has no descriptor before the first ``listen`` or ``connect``, and none after the last connection and listener.

    Attributes:
        deadline: ``Engine.deadline``.

    Args:
        reactor: Any that watches descriptors (``IReactorFDSet``, ``IReactorTime``); polls the set, and has the timers.
        pipe_bytes: Kernel memory for pipes; 0: relays copy.
        now: Monotonic seconds. (A reactor's own follow the wall clock.)
    """

    def __init__(
        self, reactor: Any, *, pipe_bytes: int = POOL_BYTES, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._reactor = reactor
        self._loop = EpollLoop(reactor, now, PipePool(pipe_bytes))
        self._deadlines = Deadlines(reactor, now)
        self.deadline = self._deadlines.deadline
        self._dials = Dials(self._loop, self._deadlines)
        self._shortage = Shortage(now)
        self._last_call = LastCall(reactor, now)

    @property
    def now(self) -> float:
        """``Engine.now``."""
        return self._loop.clock()

    def listen(
        self,
        address: Address,
        factory: seam.Factory,
        *,
        tls: seam.TLS | None = None,
        admit: Callable[[Address], bool] | None = None,
        client_first: bool = False,
        freebind: bool = False,
        beside: Collection[seam.Listener] = (),
    ) -> EpollListener:
        """``Engine.listen``."""
        others: Any = beside
        listening = listen_on(address, freebind=freebind, beside=[other.socket for other in others])
        return self._listener(listening, factory, tls, admit, client_first)

    def adopt(
        self,
        fd: int,
        factory: seam.Factory,
        *,
        tls: seam.TLS | None = None,
        admit: Callable[[Address], bool] | None = None,
        client_first: bool = False,
    ) -> EpollListener:
        """``Engine.adopt``."""
        return self._listener(adopt_listening(fd), factory, tls, admit, client_first, held=True)

    def retire(self, listeners: Iterable[seam.Listener]) -> None:
        """``Engine.retire``."""
        self._last_call.begin(listeners)  # type: ignore[arg-type] # they are ours

    def connect(
        self, address: Address, protocol: seam.Dialler, *, timeout: float, source: str | None = None
    ) -> EpollDial:
        """``Engine.connect``."""
        dial = EpollDial(self._dials, address, protocol, self._loop.clock() + timeout)
        dial.begin(source)
        return dial

    def resolve(self, name: str) -> Deferred[list[str]]:
        """``Engine.resolve``."""
        return resolve(self._reactor, name)

    def relay(
        self, source: seam.Transport, sink: seam.Transport, *, limit: int | None = None, done: Callable[[], None]
    ) -> EpollRelay:
        """``Engine.relay``."""
        return EpollRelay(source, sink, limit, done)  # type: ignore[arg-type] # they are, and asking takes time

    def _listener(
        self,
        listening: socket.socket,
        factory: seam.Factory,
        tls: seam.TLS | None,
        admit: Callable[[Address], bool] | None,
        client_first: bool,
        *,
        held: bool = False,
    ) -> EpollListener:
        return EpollListener(
            self,
            self._loop,
            listening,
            factory,
            admit,
            tls=tls,
            client_first=client_first,
            shortage=self._shortage,
            held=held,
        )
