r"""A network in memory under one ``Clock``, and an engine on it.

    network = MemoryNetwork()
    engine = MemoryEngine(network)
    nodes = network.node(Address("10.0.0.1", 80))      # the connections that this node accepts, as they come
    …                                                  # start what is under test on ``engine``; it listens on www
    client = network.client(www)
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    network.pump()                                     # let everything happen that needs no time
    nodes[0].received, nodes[0].send(…)
    network.advance(30)                                # and what needs time

Several engines may share one network. Nothing happens between two calls of ``pump`` or ``advance``.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import cycle

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.logger import Logger

from nodebalancer.errors import DialError, ListenError
from nodebalancer.fields import Address
from nodebalancer.testing.memory_ends import End, MemoryPeer, MemoryStream, connected
from nodebalancer.transport.accepting import protocol_for
from nodebalancer.transport.addresses import clash, dial_error, listen_error
from nodebalancer.transport.deadlines import CoarseDeadline, Deadlines
from nodebalancer.transport.engine import TLS, Dialler, Factory, Listener, Transport
from nodebalancer.transport.sockets import NOT_LISTENING
from nodebalancer.transport.stream import CopyRelay, Stream

log = Logger()

PIPE_BYTES = 65536
"""What one direction of a connection holds besides the sender's own buffer; a kernel holds more."""

Acceptor = Callable[[End, Address], None]
"""Takes the end of a new connection, and the address of the other end."""


class MemoryNetwork:
    """Addresses, who listens on them, and how dials to them end.

    Args:
        pieces: The sizes in which engines receive: one number, or a sequence that is gone through again and again;
            None: as much as there is. ``pieces=1`` cuts everything at every byte.
        pipe_bytes: What one direction of a connection holds.

    Attributes:
        clock: The time of this network.
        foreign: Hosts that no machine here has: they can neither be listened on nor be dialled from.
        names: What ``resolve`` answers.
        handshake_seconds: What a TLS handshake takes.
        handshake_error: Why handshakes fail; empty: they do not.
    """

    def __init__(self, *, pieces: int | Sequence[int] | None = None, pipe_bytes: int = PIPE_BYTES) -> None:
        self.clock = Clock()
        self.pipe_bytes = pipe_bytes
        self.foreign = {"192.0.2.99"}
        self.names: dict[str, list[str]] = {"localhost": ["127.0.0.1", "::1"]}
        self.handshake_seconds = 0.0
        self.handshake_error = ""
        self._pieces = cycle([pieces or pipe_bytes] if isinstance(pieces, int | None) else pieces)
        self._acceptors: dict[Address, Acceptor] = {}
        self._inherited: dict[int, Address] = {}
        self._failures: dict[Address, int] = {}
        self._delays: dict[Address, float] = {}
        self._nodes: dict[Address, list[MemoryPeer]] = {}
        self._port = 40000

    @property
    def now(self) -> float:
        """Seconds since the network began."""
        return self.clock.seconds()

    def later(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the next turn."""
        self.clock.callLater(0, callback)

    def pump(self) -> None:
        """Let everything happen that needs no time."""
        self.clock.advance(0)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, with everything at its own time."""
        until = self.now + seconds
        self.pump()
        while calls := [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= until]:
            self.clock.advance(max(min(calls) - self.now, 0))
        self.clock.advance(max(until - self.now, 0))

    def client(self, address: Address, source: str = "198.51.100.1") -> MemoryPeer:
        """A client at ``source`` that connects to ``address``.

        Raises:
            ConnectionRefusedError: Nobody listens there.
        """
        acceptor = self.acceptor(address)
        if acceptor is None:
            raise ConnectionRefusedError(str(address))
        ours, theirs = connected(self, self.free(source), address)
        acceptor(theirs, ours.address)
        return MemoryPeer(ours)

    def node(self, address: Address) -> list[MemoryPeer]:
        """A node that accepts at ``address``: its connections, in a list that grows as they come."""
        peers = self._nodes.setdefault(address, [])
        self.claim(address, lambda end, _: peers.append(MemoryPeer(end)))
        return peers

    def kill(self, address: Address) -> None:
        """End the node at ``address`` as a crash does: its connections are reset and dials refused."""
        self.release(address)
        for peer in self._nodes.pop(address):
            peer.reset()

    def blackhole(self, address: Address) -> None:
        """Dials to ``address`` are never answered."""
        self._delays[address] = float("inf")

    def slow(self, address: Address, seconds: float) -> None:
        """Dials to ``address`` are answered after ``seconds``."""
        self._delays[address] = seconds

    def fail(self, address: Address, number: int) -> None:
        """Dials to ``address`` fail with an errno: ``ECONNREFUSED``, or ``EMFILE`` for a fault of our own."""
        self._failures[address] = number

    def heal(self, address: Address) -> None:
        """Take ``blackhole``, ``slow`` and ``fail`` back."""
        self._failures.pop(address, None)
        self._delays.pop(address, None)

    def inherit(self, address: Address) -> int:
        """The descriptor of a socket that listens on ``address`` already, for ``MemoryEngine.adopt``."""
        fd = 1000 + len(self._inherited)
        self._inherited[fd] = self.free(address.host) if not address.port else address
        return fd

    # For engines.

    def piece(self, available: int) -> int:
        """How many of the ``available`` bytes come in at once."""
        return min(next(self._pieces), available)

    def free(self, host: str) -> Address:
        """An address that nobody uses."""
        self._port += 1
        return Address(host, self._port)

    def claim(
        self, address: Address, acceptor: Acceptor, *, freebind: bool = False, beside: Collection[Address] = ()
    ) -> None:
        """Listen on ``address``, with ``freebind`` also on a foreign one; a wildcard and a specific one of a port only if ``beside`` has it.

        Raises:
            OSError: It cannot be had.
        """
        if address.host in self.foreign and not freebind:
            raise OSError(errno.EADDRNOTAVAIL, "not ours")
        if address in self._acceptors or any(clash(address, other) for other in self._acceptors.keys() - beside):
            raise OSError(errno.EADDRINUSE, "taken")
        self._acceptors[address] = acceptor

    def release(self, address: Address) -> None:
        """Listen no more."""
        del self._acceptors[address]

    def inherited(self, fd: int) -> Address | None:
        """Where the inherited socket ``fd`` listens."""
        return self._inherited.get(fd)

    def shake(self, stream: MemoryStream) -> None:
        """Let the handshake of a new connection take its course."""
        self.clock.callLater(self.handshake_seconds, stream.shake, self.handshake_error)

    def acceptor(self, address: Address) -> Acceptor | None:
        """Who listens on ``address``, by itself or by a wildcard of its family."""
        wildcard = Address("::" if ":" in address.host else "0.0.0.0", address.port)  # noqa: S104 only looked up
        return self._acceptors.get(address) or self._acceptors.get(wildcard)

    def delay(self, address: Address) -> float:
        """Seconds until a dial to ``address`` is answered; infinite for never."""
        return self._delays.get(address, 0)

    def obstacle(self, address: Address, source: str | None) -> int | None:
        """The errno that a dial from ``source`` to ``address`` fails with."""
        if source is not None and (source in self.foreign or (":" in source) != (":" in address.host)):
            return errno.EADDRNOTAVAIL
        if address in self._failures:
            return self._failures[address]
        return None if self.acceptor(address) else errno.ECONNREFUSED


class MemoryListener:
    """A ``Listener`` of a ``MemoryEngine``."""

    def __init__(
        self,
        engine: MemoryEngine,
        address: Address,
        factory: Factory,
        tls: TLS | None,
        admit: Callable[[Address], bool] | None,
        freebind: bool = False,
        beside: Collection[Listener] = (),
    ) -> None:
        self.address = address
        self._engine = engine
        self._factory = factory
        self._tls = tls
        self._admit = admit
        self._queue: deque[tuple[End, Address]] = deque()
        self._paused = self._closed = False
        engine.network.claim(address, self._arrive, freebind=freebind, beside={other.address for other in beside})

    @property
    def unserved(self) -> int:
        """``Listener.unserved``."""
        return len(self._queue) if self._closed else 0

    def expect(self, *, tls: TLS | None, client_first: bool) -> None:
        """``Listener.expect``; ``client_first`` makes no difference here."""
        self._tls = tls

    def pause(self) -> None:
        """``Listener.pause``."""
        self._paused = True

    def resume(self) -> None:
        """``Listener.resume``."""
        self._paused = False
        self._engine.later(self._serve)

    def close(self) -> None:
        """``Listener.close``."""
        if not self._closed:
            self._closed = True
            self._engine.network.release(self.address)
            self._engine.later(self._serve)

    def _arrive(self, end: End, peer: Address) -> None:
        self._queue.append((end, peer))
        self._engine.later(self._serve)

    def _serve(self) -> None:
        while self._queue and (self._closed or not self._paused):
            end, peer = self._queue.popleft()
            protocol = protocol_for(peer, self._factory, self._admit)
            if protocol is None:
                end.reset()
            else:
                stream = MemoryStream(self._engine, protocol, end, peer)
                stream.begin(secure=self._tls is not None)
                if self._tls is not None:
                    self._engine.network.shake(stream)


class MemoryDial:
    """A ``Dial`` of a ``MemoryEngine``."""

    def __init__(self, engine: MemoryEngine, address: Address, protocol: Dialler, source: str | None) -> None:
        self._engine = engine
        self._address = address
        self._protocol: Dialler | None = protocol
        self._source = source
        self._call: IDelayedCall | None = None

    def begin(self, timeout: float) -> None:
        """Be answered, or time out."""
        network = self._engine.network
        seconds = network.delay(self._address)
        if seconds < timeout:
            self._call = network.clock.callLater(seconds, self._answered)
        else:
            self._call = network.clock.callLater(timeout, self._failed, dial_error(errno.ETIMEDOUT))

    def cancel(self) -> None:
        """``Dial.cancel``."""
        self._protocol = None
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _answered(self) -> None:
        network = self._engine.network
        number = network.obstacle(self._address, self._source)
        acceptor = network.acceptor(self._address)
        if number is not None or acceptor is None:
            self._failed(dial_error(number or errno.ECONNREFUSED))
            return
        ours, theirs = connected(network, network.free(self._source or self._engine.host), self._address)
        acceptor(theirs, ours.address)
        protocol, self._protocol = self._protocol, None
        MemoryStream(self._engine, protocol, ours, self._address).begin()

    def _failed(self, error: DialError) -> None:
        protocol, self._protocol = self._protocol, None
        assert protocol is not None
        try:
            protocol.connection_failed(error)
        except Exception:
            log.failure("connection_failed of {protocol} failed", protocol=protocol)


class MemoryEngine:
    """An ``Engine`` on a ``MemoryNetwork``.

    Of TLS it has the events and no more: peers speak in plain, and the handshake is what ``MemoryNetwork`` says.

    Args:
        network: Where it lives; several engines may.
        host: Where its dials come from when no source is asked for.
    """

    def __init__(self, network: MemoryNetwork, host: str = "127.0.0.1") -> None:
        self.network = network
        self.host = host
        self.later = network.later
        self._deadlines = Deadlines(network.clock, network.clock.seconds)

    @property
    def now(self) -> float:
        """``Engine.now``."""
        return self.network.now

    def listen(
        self,
        address: Address,
        factory: Factory,
        *,
        tls: TLS | None = None,
        admit: Callable[[Address], bool] | None = None,
        client_first: bool = False,
        freebind: bool = False,
        beside: Collection[Listener] = (),
    ) -> MemoryListener:
        """``Engine.listen``."""
        try:
            free = address if address.port else self.network.free(address.host)
            return MemoryListener(self, free, factory, tls, admit, freebind, beside)
        except OSError as error:
            raise listen_error(error) from error

    def adopt(
        self,
        fd: int,
        factory: Factory,
        *,
        tls: TLS | None = None,
        admit: Callable[[Address], bool] | None = None,
        client_first: bool = False,
    ) -> MemoryListener:
        """``Engine.adopt``, of a descriptor from ``MemoryNetwork.inherit``."""
        address = self.network.inherited(fd)
        if address is None:
            raise ListenError(NOT_LISTENING)
        return MemoryListener(self, address, factory, tls, admit)

    def retire(self, listeners: Iterable[Listener]) -> None:
        """``Engine.retire``: nobody is on the way here."""
        for listener in listeners:
            listener.close()

    def connect(self, address: Address, protocol: Dialler, *, timeout: float, source: str | None = None) -> MemoryDial:
        """``Engine.connect``."""
        dial = MemoryDial(self, address, protocol, source)
        dial.begin(timeout)
        return dial

    def resolve(self, name: str) -> Deferred[list[str]]:
        """``Engine.resolve``, from ``MemoryNetwork.names``; what looks numeric is its own answer."""
        numeric = ":" in name or name.replace(".", "").isdigit()
        return succeed(self.network.names.get(name, [name] if numeric else []))

    def relay(
        self, source: Transport, sink: Transport, *, limit: int | None = None, done: Callable[[], None]
    ) -> CopyRelay:
        """``Engine.relay``."""
        assert isinstance(source, Stream)
        assert isinstance(sink, Stream)
        return source.relay_to(sink, limit, done)

    def deadline(self, seconds: float, callback: Callable[[], None]) -> CoarseDeadline:
        """``Engine.deadline``."""
        return self._deadlines.deadline(seconds, callback)
