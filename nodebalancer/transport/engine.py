"""The seam between what is done with connections and how bytes move.

Rules that every engine keeps, and that the contract tests hold (``tests/contracts``):

* **No engine or transport method calls back before it returns.** Whatever a call causes (data that was waiting, a
  failed dial, a loss) is delivered from a later turn, so nobody has to be re-entrant.
* A protocol hears ``makeConnection`` once, then any number of ``dataReceived``, at most one ``readConnectionLost``
  (the peer sends no more; we may still send), and as the last thing ever one ``connectionLost``. Who dials hears
  ``connection_failed`` in place of all that.
* A connection ends when its protocol calls ``loseConnection`` or ``abortConnection``, or when the network breaks it.
  The peer's end of file alone ends nothing.
* While a transport is paused its protocol hears neither data nor end of file; it may hear of a loss.
* An exception that a protocol raises costs that one connection (it is aborted and the exception logged), never another.
* With TLS, ``makeConnection`` comes at accept, before the handshake, as from Twisted's own. When the handshake is done a protocol
  that has ``handshakeCompleted`` (``IHandshakeListener``) hears it, once, before any data; what it wrote before has waited. A
  handshake that fails, or is not done within ``HANDSHAKE_SECONDS``, ends the connection: ``connectionLost`` with a
  ``HandshakeError``, and nothing in the log. The end of file is close_notify or the peer's end of sending, whichever
  comes first; what the peer garbles later is a loss.
* Time is monotonic seconds; deadlines are coarse: never early, at most a second late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.defer import Deferred

from nodebalancer.errors import DialError
from nodebalancer.fields import Address

if TYPE_CHECKING:
    from OpenSSL import SSL

BUFFER_BYTES = 65536
"""A transport with more than this many bytes unsent is congested; as Twisted's own and nginx's proxy buffers."""

TICK_SECONDS = 1.0
"""How coarse deadlines are."""

LAST_CALL_SECONDS = 1.2
"""How long a listener that is retired may wait for clients: a silent one is held back by the kernel for a second."""

HANDSHAKE_SECONDS = 10
"""How long a TLS handshake may take from accept, coarse."""


class Transport(Protocol):
    """One connection, as its protocol sees it: Twisted's ``ITCPTransport`` as far as protocols here use it.

    Attributes:
        active_at: Engine time at which a byte last went in or out of the kernel, coarse (to ``TICK_SECONDS``).
        congested: Whether we wait for this peer to read: True from more than ``BUFFER_BYTES`` unsent until all is sent
            (a relay counts any unsent byte).
    """

    active_at: float
    congested: bool

    def write(self, data: bytes) -> None:
        """Send ``data`` in order after what was written before. Ignored once the connection is closing or lost."""

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """``write`` of the joined pieces."""

    def write_last(self, data: bytes) -> None:
        """``write``, then ``loseConnection``; the end of file may leave with the last bytes."""

    def loseConnection(self) -> None:
        """Send what was written, then close both directions. ``connectionLost`` follows; nothing is read any more."""

    def abortConnection(self) -> None:
        """Forget what is unsent and close with a reset. ``connectionLost`` follows, and nothing before it."""

    def loseWriteConnection(self) -> None:
        """Send what was written, then an end of file; the other direction goes on. Later writes are ignored."""

    def pauseProducing(self) -> None:
        """Deliver nothing until ``resumeProducing``; the peer is slowed down by its window.

        A loss may not be noticed until then, or until something is written.
        """

    def resumeProducing(self) -> None:
        """Deliver again. Data that waited comes in a later turn."""

    def stopProducing(self) -> None:
        """``loseConnection``, for ``IPushProducer``."""

    def has_unread(self) -> bool:
        """Whether the peer has sent bytes that nobody has heard of. Closing now would reset, and destroy what is on its way."""

    def undelivered(self) -> int:
        """Bytes written that the peer has not acknowledged, as far as the system says; else those that it has not taken from us.

        With TLS bytes as they go through the kernel, which are some more. For a look now and then, not for every chunk.
        """

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause ``producer`` while this transport is congested. One at a time, ``streaming`` is always True here.

        When this transport is lost the producer is forgotten, not stopped (Twisted's own stop it): whoever it belongs to
        hears ``connectionLost`` and may still have something to say to the other side.

        Raises:
            RuntimeError: There is one already; a fault of the caller.
        """

    def unregisterProducer(self) -> None:
        """Forget the producer; without effect when there is none."""

    def getPeer(self) -> Address:
        """The other end."""

    def getHost(self) -> Address:
        """Our end."""


class Dialler(Protocol):
    """A protocol that connects to somebody: ``IProtocol`` and ``IHalfCloseableProtocol``, and this."""

    def makeConnection(self, transport: Any) -> None:
        """The connection stands."""

    def connection_failed(self, error: DialError) -> None:
        """It could not be made; nothing else will be heard."""


class Factory(Protocol):
    """What makes a protocol for each accepted connection; Twisted's ``IProtocolFactory`` as far as it is used."""

    def buildProtocol(self, addr: Any) -> Any:
        """A protocol for a client at ``addr`` (an ``Address``), or None to reset the connection."""


class TLS(Protocol):
    """What a listener speaks TLS with."""

    def context(self) -> SSL.Context:
        """For a new handshake; asked once for each connection, so another one may come after the certificates were renewed.

        It should have ``MODE_RELEASE_BUFFERS``, or an idle connection costs 16 KiB more, and ``OP_NO_RENEGOTIATION``, since
        nothing here can wait for one. No other mode is needed. With callbacks of pyOpenSSL for ALPN or SNI every connection costs a
        little more; others of its callbacks do not work.
        """


class Listener(Protocol):
    """An open listening socket.

    Attributes:
        address: Where it listens, with the real port when port 0 was asked for.
        unserved: Clients that ``close`` has accepted and that are still to be served; while ``Engine.retire`` waits for more, 1.
    """

    address: Address

    @property
    def unserved(self) -> int:
        """See above."""

    def expect(self, *, tls: TLS | None, client_first: bool) -> None:
        """Serve clients in this way from now on; the arguments are those of ``Engine.listen``."""

    def pause(self) -> None:
        """Accept nothing until ``resume``; new clients wait in the kernel's queue."""

    def resume(self) -> None:
        """Accept again."""

    def close(self) -> None:
        """Serve the clients that the kernel had accepted already, in later turns, and listen no more. Open connections stay.

        The address is free when it returns. Clients that are still on their way through the kernel are reset; ``Engine.retire``
        waits for them.

        An adopted socket has another owner, who is left those clients.
        """


class Dial(Protocol):
    """A connection being made."""

    def cancel(self) -> None:
        """Give up; the protocol hears nothing any more. Without effect once it stands or has failed."""


class Relay(Protocol):
    """Bytes on their way from one transport to another.

    Attributes:
        moved: Bytes taken from the source so far.
        ended: True when it is done because the source sent its end of file, False when because of the limit.
    """

    moved: int
    ended: bool

    def stop(self) -> None:
        """Move no more: what comes in goes to the source's protocol again. ``done`` is not called any more."""


class Deadline(Protocol):
    """A call at a time that can be moved cheaply."""

    def rearm(self, seconds: float) -> None:
        """Fire ``seconds`` from now, whenever it was to fire before, and also if it has fired or was cancelled."""

    def cancel(self) -> None:
        """Do not fire; without effect when it has."""


class Engine(Protocol):
    """Owner of sockets."""

    @property
    def now(self) -> float:
        """Monotonic seconds, at the earliest those of the beginning of this turn of the loop."""

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
    ) -> Listener:
        """Listen on ``address``; IPv6 sockets take no IPv4 clients.

        Args:
            address: Numeric host; port 0 for a free one.
            factory: Makes a protocol per accepted connection.
            tls: None for plain TCP.
            admit: Asked with the client's address right after accept, before TLS and before a protocol is built;
                False: the connection is reset.
            client_first: The client is the first to speak (HTTP), so the engine may wait for its first bytes before
                it accepts.
            freebind: Listen also on an address that this machine does not have yet (``IP_FREEBIND``; Linux).
            beside: Open listeners of this engine that would be in the way, a wildcard and a specific address of one port, and
                that may stay. Clients go where it is more specific. On Linux sockets of another user cannot stay.

        Raises:
            ListenError: The address cannot be had; caught by whoever prepares listeners.
        """

    def adopt(
        self,
        fd: int,
        factory: Factory,
        *,
        tls: TLS | None = None,
        admit: Callable[[Address], bool] | None = None,
        client_first: bool = False,
    ) -> Listener:
        """Listen on an inherited socket that is bound and listening already; the engine owns a duplicate of ``fd``.

        Raises:
            ListenError: ``fd`` is no listening TCP socket.
        """

    def retire(self, listeners: Iterable[Listener]) -> None:
        """Close ``listeners``, but serve clients first that are still on their way through the kernel.

        Only where there are such clients this takes time, at most ``LAST_CALL_SECONDS``, in which whoever comes is served too;
        ``Listener.close`` ends it.
        """

    def connect(self, address: Address, protocol: Dialler, *, timeout: float, source: str | None = None) -> Dial:
        """Connect ``protocol`` to ``address`` (numeric) within ``timeout`` seconds, from local address ``source`` if given."""

    def resolve(self, name: str) -> Deferred[list[str]]:
        """The numeric addresses of a host name, IPv4 and IPv6, without blocking; an empty list when it has none."""

    def relay(self, source: Transport, sink: Transport, *, limit: int | None = None, done: Callable[[], None]) -> Relay:
        """Move what ``source`` receives to ``sink`` until its end of file, or ``limit`` bytes.

        Back-pressure is the engine's: while the sink cannot send, the source is not read, so at most ``BUFFER_BYTES``
        wait here. The source is resumed if it was paused. While a relay runs, its source's protocol hears no data and
        no end of file: ``done`` is called instead, once, when the last byte has been handed to the sink (which may
        still have to send it; ``loseConnection`` and ``loseWriteConnection`` do). Bytes after the limit go to the
        protocol's ``dataReceived``, after ``done``. When either side is lost or closed, or the sink half-closed, by its protocol, the relay stops by itself and ``done`` is not
        called: the protocols hear ``connectionLost`` as ever. One relay a source and one a sink.

        Args:
            source: A transport of this engine.
            sink: Another one.
            limit: Bytes, at least 1; None for all.
            done: Called once; see above.
        """

    def deadline(self, seconds: float, callback: Callable[[], None]) -> Deadline:
        """Call ``callback`` once, ``seconds`` from now or up to a second later, unless moved or cancelled."""
