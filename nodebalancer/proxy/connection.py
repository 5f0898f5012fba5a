"""What tcp and http connections have in common: two sides, a node that is dialled, one end.

The life of a connection is a table: a state is a row, a row maps every happening to what is done about it. The rows
stand in ``tcp`` and ``http``. A happening is a past participle (``client_finished``), what a handler does is an
imperative. ``NEVER`` marks what cannot happen in a state; a test walks all pairs.

Rules:

* A connection is the client's protocol. ``NodeSide`` is the node's protocol and only passes on what it hears.
* At most ``DIALS_MAX`` nodes are dialled for a connection, none twice, and none once bytes were sent to one.
* ``end`` is called exactly once, with the one outcome; the pick is released there or before the next node is dialled.
* At the end nothing refers to anything in a circle, so that no garbage waits for the collector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any, ClassVar, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.accesslog.entry import Entry, Facts
from nodebalancer.balancing.counters import PER_SECOND
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Member
from nodebalancer.errors import DialError
from nodebalancer.fields import Address
from nodebalancer.proxy.live import LiveConfig
from nodebalancer.transport.engine import Deadline, Dial, Relay, Transport

DIALS_MAX = 3
"""Nodes that are tried for one connection; the client waits at most this often for ``timeout_connect``."""

NOT_YET: Final = -1.0
"""Stands for an engine time; those are 0 or more."""

Happening = str
Row = Mapping[Happening, Callable[..., None]]

HAPPENINGS: Final = (
    "client_sent",  # (data) bytes that no relay takes
    "client_finished",  # the client's end of file, or all that a relay was to take from it
    "client_lost",  # (clean) its connection is gone
    "node_connected",
    "node_unreachable",  # (error) the dial failed
    "node_sent",  # (data)
    "node_finished",  # the node's end of file, or all that a relay was to take from it
    "node_lost",  # (clean)
    "expired",  # the deadline passed
    "stopped",  # the service ends and waits no longer
)


def never(self: ClientSide, *_: Any) -> None:
    """For what the engine's contract or our own calls rule out in a state."""
    raise AssertionError(f"{type(self).__name__}: impossible in this state")


def ignore(self: ClientSide, *_: Any) -> None:
    """For what does not matter any more."""


NEVER = never
IGNORE = ignore


def row(default: Callable[..., None] = NEVER, **handlers: Callable[..., None]) -> Row:
    """A state: ``handlers`` by happening; ``default`` for all others.

    Raises:
        KeyError: A handler for something that is no happening.
    """
    unknown = set(handlers) - set(HAPPENINGS)
    if unknown:
        raise KeyError(*unknown)
    return {happening: handlers.get(happening, default) for happening in HAPPENINGS}


def reset_client(self: ClientSide) -> None:
    """What is still unsent to a client is not waited for any more."""
    self.transport.abortConnection()


ENDED: Final = row(IGNORE, node_connected=NEVER, node_unreachable=NEVER, stopped=reset_client)
"""After ``end``: the losses of both sides still come in."""


@implementer(IProtocol, IHalfCloseableProtocol)
class NodeSide:
    """The protocol towards a node; everything it hears happens to the connection it belongs to."""

    __slots__ = ("_client_side", "transport")

    def __init__(self, client_side: ClientSide) -> None:
        self._client_side: Any = client_side
        self.transport: Any = None

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        side = self._client_side
        side.node = transport
        side.dial = None
        side.connected_at = now = transport.active_at
        seconds = now - side.picked_at
        connecting = side.member.connecting
        connecting.counts[int(seconds * PER_SECOND).bit_length()] += 1  # Durations.note, without the call
        connecting.seconds += seconds
        side.state["node_connected"](side)

    def connectionMade(self) -> None:
        """Part of ``IProtocol``; engines call ``makeConnection`` only."""

    def connection_failed(self, error: DialError) -> None:
        side, self._client_side = self._client_side, None
        side.dial = None
        side.state["node_unreachable"](side, error)

    def dataReceived(self, data: bytes) -> None:
        side = self._client_side
        side.state["node_sent"](side, data)

    def readConnectionLost(self) -> None:
        side = self._client_side
        side.state["node_finished"](side)

    def writeConnectionLost(self) -> None:
        """Our half-close was sent; nothing depends on when."""

    def connectionLost(self, reason: Failure = ConnectionDone) -> None:  # type: ignore[assignment]
        side = self._client_side
        self.transport = self._client_side = side.node = None
        side.state["node_lost"](side, reason.type is ConnectionDone)


@implementer(IProtocol, IHalfCloseableProtocol)
class ClientSide:
    """The protocol towards a client, and the connection as a whole.

    Attributes:
        live: The config it came in by.
        peer: The client's address, normalised.
        state: The row of the table it is in.
        node: The transport towards the node while there is one.
        accepted_at: Engine time at which it came.
        member: The node picked, until released; ``picked_at``: when, in engine time. ``connected_at``:
            when that node was. Each ``NOT_YET`` until then.
        status: The status code that the client was sent, a node's or ours; 0: none yet, and always in tcp.
        cookie: What the client has sent as ``NB_SRVID``; empty for none.
        tried: Nodes that could not be reached for this connection.
        up: The relay from client to node; ``down``: the other way.
        bytes_in: Bytes received from the client; whole only after ``end``. ``bytes_out``: handed to it.
        deadline: The one deadline, moved from state to state.
    """

    __slots__ = (
        "accepted_at",
        "bytes_in",
        "bytes_out",
        "connected_at",
        "cookie",
        "deadline",
        "dial",
        "down",
        "live",
        "member",
        "node",
        "peer",
        "picked_at",
        "state",
        "status",
        "transport",
        "tried",
        "up",
    )

    FIRST: ClassVar[Row]

    BEGINS_WITH_HEAD: ClassVar[bool] = False
    """Whether the client owes us a request head before a node is looked for; until it is whole it may have to make way."""

    def __init__(self, live: LiveConfig, peer: Address) -> None:
        self.live = live
        self.peer = peer.host
        self.state = self.FIRST
        self.transport: Any = None
        self.node: Transport | None = None
        self.dial: Dial | None = None
        self.member: Member | None = None
        self.picked_at = self.connected_at = NOT_YET
        self.status = 0
        self.cookie = b""
        self.tried: tuple[Member, ...] = ()
        self.up: Relay | None = None
        self.down: Relay | None = None
        self.deadline: Deadline | None = None
        self.bytes_in = 0
        self.bytes_out = 0

    # What the engine calls.

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.accepted_at = transport.active_at
        self.live.opened(self)
        self.begin()

    def connectionMade(self) -> None:
        """Part of ``IProtocol``; engines call ``makeConnection`` only."""

    def dataReceived(self, data: bytes) -> None:
        self.state["client_sent"](self, data)

    def readConnectionLost(self) -> None:
        self.state["client_finished"](self)

    def writeConnectionLost(self) -> None:
        """Our half-close was sent; nothing depends on when."""

    def connectionLost(self, reason: Failure = ConnectionDone) -> None:  # type: ignore[assignment]
        self.state["client_lost"](self, reason.type is ConnectionDone)
        self.transport = None
        self.live.left(self)

    # What relays and the deadline call.

    def client_finished(self) -> None:
        self.state["client_finished"](self)

    def node_finished(self) -> None:
        self.state["node_finished"](self)

    def expired(self) -> None:
        self.state["expired"](self)

    def stop(self) -> None:
        """End at once; the service waits no longer."""
        self.state["stopped"](self)

    def push_out(self) -> None:
        """Make way for another client; asked of those only whose head is not whole."""
        self.abort(Outcome.REFUSED)

    # What states do.

    def begin(self) -> None:
        """The client is connected, nothing is read yet; for subclasses."""

    def dial_next(self) -> bool:
        """Pick a node and dial it. False: none is left, or enough were tried."""
        if len(self.tried) >= DIALS_MAX:
            return False
        live = self.live
        self.picked_at = now = self.transport.active_at if not self.tried else live.engine.now
        member = live.pool.pick(self.peer, now, self.tried, self.cookie)
        if member is None:
            return False
        self.member = member
        address = member.address
        assert address is not None, "whose name is not resolved is DOWN"
        source = live.source_for(address.host) if live.sources else None
        self.dial = live.engine.connect(address, NodeSide(self), timeout=live.wanted.timeout_connect, source=source)
        return True

    def give_up_node(self, error: DialError) -> Outcome:
        """The node picked could not be reached: release it and remember that it was tried. The outcome if it was the last."""
        member = self.member
        assert member is not None
        outcome = Outcome.OVERLOADED if error.ours else Outcome.CONNECT_FAILED
        self.member = None
        self.tried = (*self.tried, member)
        self.live.pool.release(member, outcome)
        self.live.dial_failed(member, error, self.picked_at)
        return outcome

    def praise_node(self) -> None:
        """The node has taken the connection, or has answered: one that is on trial is good."""
        health = self.live.health
        if health.on_trial and self.member in health.on_trial:
            self.live.praise(self.member, self.picked_at)

    def accuse_node(self, outcome: Outcome, reason: str) -> None:
        """The node has failed, by ``outcome``; the pick is still held."""
        assert self.member is not None
        self.live.accuse(self.member, outcome, reason, self.picked_at)

    def arm(self, seconds: float) -> None:
        """Expire ``seconds`` from now."""
        if self.deadline is None:
            self.deadline = self.live.engine.deadline(seconds, self.expired)
        else:
            self.deadline.rearm(seconds)

    def idle_seconds(self) -> float:
        """How long no byte went in or out on either side."""
        active_at: float = self.transport.active_at
        if self.node is not None and self.node.active_at > active_at:
            active_at = self.node.active_at
        return self.live.engine.now - active_at

    def leave_node(self, *, reset: bool) -> None:
        """Close the connection to the node, or the dial, and hear no more of it."""
        if self.dial is not None:
            self.dial.cancel()
            self.dial = None
        if self.node is not None:
            if reset:
                self.node.abortConnection()
            else:
                self.node.loseConnection()

    def end(self, outcome: Outcome) -> None:
        """The connection is over: count it, give back what it holds. Both transports are closed or closing."""
        self.state = ENDED
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None
        if self.up is not None:
            self.bytes_in += self.up.moved
            self.up = None
        if self.down is not None:
            self.bytes_out += self.down.moved
            self.down = None
        member = self.member
        if member is not None:
            member.bytes_in += self.bytes_in
            member.bytes_out += self.bytes_out
            self.live.pool.release(member, outcome)
        self.live.closed(self, outcome)
        self.member = None

    def entry(self, outcome: Outcome, seconds: float) -> Entry | None:
        """What the access log is to say of it, which took so long; None: nothing."""
        return Entry(*self.facts(outcome, seconds))

    def facts(self, outcome: Outcome, seconds: float) -> Facts:
        """What there is to say of every connection."""
        live = self.live
        member = self.member or (self.tried[-1] if self.tried else None)
        return (
            time() - seconds,
            live.path,
            live.wanted.protocol,
            self.peer,
            self.bytes_in,
            self.bytes_out,
            None if member is None else member.node,
            outcome,
            len(self.tried),
            self.picked_at - self.accepted_at if self.picked_at >= 0 else None,
            self.connected_at - self.picked_at if self.connected_at >= 0 else None,
            seconds,
        )

    def abort(self, outcome: Outcome) -> None:
        """Reset both sides and end."""
        self.leave_node(reset=True)
        self.transport.abortConnection()
        self.end(outcome)
