"""The portable engine: Twisted's own transports on any reactor that watches descriptors. The reference.

It accepts by itself, so that it can reset before a protocol is built, and so that a closed listener frees its address
at once. What it lacks: splice, deferred accept, the lean engine's speed, and an eye on connections that it neither reads
nor writes (paused, or after the peer's end of file): their reset is noticed with the next read or write.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from twisted.internet import error as errors
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ClientFactory
from twisted.internet.tcp import Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.errors import DialError
from nodebalancer.fields import Address
from nodebalancer.transport import engine as seam
from nodebalancer.transport.accepting import Shortage, protocol_for
from nodebalancer.transport.addresses import address_of, dial_error, family
from nodebalancer.transport.deadlines import CoarseDeadline, Deadlines
from nodebalancer.transport.engine import TICK_SECONDS
from nodebalancer.transport.reactor.stream import ReactorStream
from nodebalancer.transport.reactor.tls import TLSStream
from nodebalancer.transport.resolving import resolve
from nodebalancer.transport.sockets import adopt_listening, listen_on, reset
from nodebalancer.transport.stream import CopyRelay, Stream

log = Logger()

ACCEPTS_MAX: Final = 32
"""Clients accepted in one turn, so that a flood on one port does not starve the rest."""


@implementer(IReadDescriptor)
class ReactorListener:
    """A listening socket in the reactor.

    Args:
        engine: Whose it is.
        listening: Bound and listening, not blocking; ours from now on.
        factory: ``Engine.listen``.
        tls: ``Engine.listen``.
        admit: ``Engine.listen``.
        held: Whether somebody else has the socket too, to whom waiting clients are left when this one closes.

    Attributes:
        socket: The listening socket.
        unserved: ``Listener.unserved``.
    """

    def __init__(
        self,
        engine: ReactorEngine,
        listening: socket.socket,
        factory: seam.Factory,
        tls: seam.TLS | None,
        admit: Callable[[Address], bool] | None,
        *,
        held: bool = False,
    ) -> None:
        self.address = address_of(listening.getsockname())
        self.socket = listening
        self.unserved = 0
        self._held = held
        self._engine = engine
        self._reactor = engine.reactor
        self._factory = factory
        self._tls = tls
        self._admit = admit
        self._paused = self._closed = False
        self._reactor.addReader(self)

    def expect(self, *, tls: seam.TLS | None, client_first: bool) -> None:
        """``Listener.expect``; ``client_first`` makes no difference here."""
        self._tls = tls

    def pause(self) -> None:
        """``Listener.pause``."""
        self._paused = True
        self._reactor.removeReader(self)

    def resume(self) -> None:
        """``Listener.resume``."""
        self._paused = False
        self._watch()

    def close(self) -> None:
        """``Listener.close``."""
        if self._closed:
            return
        self._closed = True
        self._reactor.removeReader(self)
        while not self._held and (client := self._accept()) is not None:
            self.unserved += 1
            self._engine.later(lambda client=client: self._serve_last(*client))  # type: ignore[misc]
        self.socket.close()

    def fileno(self) -> int:
        """For the reactor."""
        return self.socket.fileno()

    def logPrefix(self) -> str:
        """For the reactor."""
        return f"listener {self.address}"

    def doRead(self) -> None:
        """Clients are waiting."""
        for _ in range(ACCEPTS_MAX):
            client = None if self._paused or self._closed else self._accept()
            if client is None:
                return
            self._serve(*client)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor lost it: part of ``IReadDescriptor``, and of a reactor's end."""
        self.close()

    def _watch(self) -> None:
        if not self._paused and not self._closed:
            self._reactor.addReader(self)

    def _accept(self) -> tuple[socket.socket, Any] | None:
        while True:
            try:
                return self.socket.accept()
            except BlockingIOError:
                return None
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._rest(error)
                return None

    def _rest(self, error: OSError) -> None:
        """We cannot accept (no descriptors, no memory); trying again at once would only burn the processor."""
        self._engine.shortage.tell(self.address, error)
        self._reactor.removeReader(self)
        self._reactor.callLater(TICK_SECONDS, self._watch)

    def _serve_last(self, connection: socket.socket, name: Any) -> None:
        self.unserved -= 1
        self._serve(connection, name)

    def _serve(self, connection: socket.socket, name: Any) -> None:
        peer = address_of(name)
        protocol = protocol_for(peer, self._factory, self._admit)
        if protocol is None:
            reset(connection)
            return
        # Not reactor.adoptStreamConnection: it raises when the client is gone already, which any client can bring about.
        host = address_of(connection.getsockname())
        stream = (
            ReactorStream(self._engine, protocol, peer, host)
            if self._tls is None
            else TLSStream(self._engine, protocol, peer, host, self._tls)
        )
        stock = Server(connection, stream, name, None, 0, self._reactor)  # type: ignore[arg-type] # as Twisted does it
        stock.repstr = f"<{type(stream).__name__} from {peer}>"
        stream.makeConnection(stock)


class ReactorDial(ClientFactory):
    """A connection being made, and the factory that the reactor wants for it.

    Args:
        engine: Whose it is.
        protocol: To be connected.
    """

    noisy = False

    def __init__(self, engine: ReactorEngine, protocol: seam.Dialler) -> None:
        self._engine = engine
        self._protocol: seam.Dialler | None = protocol
        self._connector: Any = None

    def begin(self, address: Address, timeout: float, source: str | None) -> None:
        """Ask the reactor; what it refuses at once is told in the next turn."""
        problem = None if source is None else problem_with(source, address)
        if problem is not None:
            self._engine.later(lambda: self._fail(problem))
            return
        bind = None if source is None else (source, 0)
        self._connector = self._engine.reactor.connectTCP(*address, self, timeout=timeout, bindAddress=bind)

    def cancel(self) -> None:
        """``Dial.cancel``."""
        if self._protocol is not None:
            self._protocol = None
            if self._connector is not None:
                self._connector.stopConnecting()

    def buildProtocol(self, addr: Any) -> Any:
        """The stream, now that the connection stands; None closes it."""
        connection: socket.socket = self._connector.transport.getHandle()
        try:
            peer, host = address_of(connection.getpeername()), address_of(connection.getsockname())
        except OSError as error:  # reset already
            return self._fail(dial_error(error.errno or errno.ECONNRESET))
        if peer == host:
            # On loopback a dial to a dead port can meet itself, when the kernel chose that port as the source.
            return self._fail(dial_error(errno.ECONNREFUSED))
        protocol, self._protocol = self._protocol, None
        return ReactorStream(self._engine, protocol, peer, host)

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        """The reactor says no."""
        self._connector = None
        self._fail(error_of(reason))

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """It is over; the connector and its transport would otherwise hold each other."""
        self._connector = connector.transport = None

    def _fail(self, error: DialError) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            try:
                protocol.connection_failed(error)
            except Exception:
                log.failure("connection_failed of {protocol} failed", protocol=protocol)


def problem_with(source: str, address: Address) -> DialError | None:
    """Why ``address`` cannot be dialled from ``source``, seen before the reactor leaves a socket behind over it."""
    if family(source) != family(address.host):
        return dial_error(errno.EADDRNOTAVAIL)
    try:
        with socket.socket(family(source), socket.SOCK_STREAM) as trial:
            trial.bind((source, 0))
    except OSError as error:
        return dial_error(error.errno or errno.EADDRNOTAVAIL)
    return None


def error_of(reason: Failure) -> DialError:
    """What the reactor says about a failed dial, in our words."""
    error = reason.value
    number = getattr(error, "osError", None)
    if isinstance(number, int) and number > 0:
        return dial_error(number)
    if isinstance(error, errors.TimeoutError):
        return dial_error(errno.ETIMEDOUT)
    return DialError(str(error), ours=isinstance(error, errors.ConnectBindError))


class ReactorEngine:
    """An ``Engine`` on a Twisted reactor.

    Args:
        reactor: Any that watches descriptors (``IReactorFDSet``, ``IReactorTCP``, ``IReactorTime``).
        now: Monotonic seconds. (A reactor's own follow the wall clock.)

    Attributes:
        reactor: The same.
        shortage: Says that clients cannot be accepted, for all listeners.
    """

    def __init__(self, reactor: Any, now: Callable[[], float] = time.monotonic) -> None:
        self.reactor = reactor
        self.shortage = Shortage(now)
        self._now = now
        self._deadlines = Deadlines(reactor, now)

    @property
    def now(self) -> float:
        """``Engine.now``."""
        return self._now()

    def later(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the next turn."""
        self.reactor.callLater(0, callback)

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
    ) -> ReactorListener:
        """``Engine.listen``; ``client_first`` makes no difference here."""
        others: Any = beside
        listening = listen_on(address, freebind=freebind, beside=[other.socket for other in others])
        return ReactorListener(self, listening, factory, tls, admit)

    def adopt(
        self,
        fd: int,
        factory: seam.Factory,
        *,
        tls: seam.TLS | None = None,
        admit: Callable[[Address], bool] | None = None,
        client_first: bool = False,
    ) -> ReactorListener:
        """``Engine.adopt``."""
        return ReactorListener(self, adopt_listening(fd), factory, tls, admit, held=True)

    def retire(self, listeners: Iterable[seam.Listener]) -> None:
        """``Engine.retire``: nobody is held back here, and those whose handshake is not done are not waited for."""
        for listener in listeners:
            listener.close()

    def connect(
        self, address: Address, protocol: seam.Dialler, *, timeout: float, source: str | None = None
    ) -> ReactorDial:
        """``Engine.connect``."""
        dial = ReactorDial(self, protocol)
        dial.begin(address, timeout, source)
        return dial

    def resolve(self, name: str) -> Deferred[list[str]]:
        """``Engine.resolve``."""
        return resolve(self.reactor, name)

    def relay(
        self, source: seam.Transport, sink: seam.Transport, *, limit: int | None = None, done: Callable[[], None]
    ) -> CopyRelay:
        """``Engine.relay``, by copying."""
        assert isinstance(source, Stream)
        assert isinstance(sink, Stream)
        return source.relay_to(sink, limit, done)

    def deadline(self, seconds: float, callback: Callable[[], None]) -> CoarseDeadline:
        """``Engine.deadline``."""
        return self._deadlines.deadline(seconds, callback)
