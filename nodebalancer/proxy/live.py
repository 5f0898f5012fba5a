"""A config as it runs: what was wanted of it, and everything its connections share."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from itertools import cycle
from typing import TYPE_CHECKING

from twisted.logger import Logger

from nodebalancer.balancing.counters import ConfigCounters
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Member, Pool
from nodebalancer.errors import DialError, MessageError
from nodebalancer.fields import Network
from nodebalancer.model import PortConfig, Protocol
from nodebalancer.proxy.gate import Gate
from nodebalancer.transport.engine import Engine
from nodebalancer.wire.forwarding import Forwarding

if TYPE_CHECKING:
    from nodebalancer.proxy.connection import ClientSide

log = Logger()

QUIET_SECONDS = 10.0
"""What is wrong with one node is logged at most this often; a dead node under load would fill a disk otherwise."""


class LiveConfig:
    """One port config at work. Survives every reload in which the config keeps its name.

    Attributes:
        path: ``www/secure``, as in the section's header.
        wanted: The settings that hold now, time-outs of connections under way among them; those keep their node and
            the rules for their heads.
        pool: Its nodes.
        counters: What has happened, for whoever asks.
        connections: The client side of every connection that is open or still closing.
        engine: Where its sockets are.
        gate: The NodeBalancer's.
        watcher: Called when a connection has left, by whoever waits for the last one.
        shortest_timeout: Of those that an exchange has before it becomes a tunnel.
        sources: ``outgoing_address`` in turn, by whether they are IPv6; empty for the system's choice.
        forwarding: How request and response heads are written (http only).
    """

    __slots__ = (
        "_quiet_until",
        "connections",
        "counters",
        "engine",
        "forwarding",
        "gate",
        "path",
        "pool",
        "shortest_timeout",
        "sources",
        "wanted",
        "watcher",
    )

    def __init__(self, path: str, engine: Engine, gate: Gate) -> None:
        self.path = path
        self.engine = engine
        self.gate = gate
        self.wanted = PortConfig(path)
        self.pool = Pool({})
        self.counters = ConfigCounters()
        self.connections: set[ClientSide] = set()
        self.watcher: Callable[[], None] | None = None
        self._quiet_until: dict[str, float] = {}
        self.update(self.wanted, ())

    def update(self, wanted: PortConfig, trusted: tuple[Network, ...]) -> None:
        """Do from now on what ``wanted`` says; ``trusted`` are the NodeBalancer's ``trusted_proxies``."""
        self.wanted = wanted
        self.shortest_timeout = min(wanted.timeout_request, wanted.timeout_client, wanted.timeout_server)
        self.pool.update(wanted.nodes)
        self._quiet_until.clear()
        self.sources = {
            ipv6: cycle(addresses)
            for ipv6 in (False, True)
            if (addresses := [a for a in wanted.outgoing_address if (":" in a) is ipv6])
        }
        self.forwarding = Forwarding(
            proto=b"https" if wanted.protocol is Protocol.HTTPS else b"http",
            underscores=wanted.underscores,
            upgrades=frozenset(upgrade.value.encode() for upgrade in wanted.upgrades),
            trusted=trusted,
        )

    def source_for(self, host: str) -> str | None:
        """The address from which a node at ``host`` is dialled; None: the system's choice."""
        sources = self.sources.get(":" in host)
        return next(sources) if sources else None

    def opened(self, connection: ClientSide) -> None:
        """A client's connection has begun."""
        self.connections.add(connection)
        counters = self.counters
        counters.open += 1
        counters.total += 1
        gate = self.gate
        gate.open += 1
        if gate.open == gate.limit:
            gate.shut()

    def closed(self, connection: ClientSide, outcome: Outcome) -> None:
        """It has ended; called exactly once for each that was opened. Its transports may still be closing."""
        counters = self.counters
        counters.open -= 1
        counters.outcomes[outcome] += 1
        counters.bytes_in += connection.bytes_in
        counters.bytes_out += connection.bytes_out

    def left(self, connection: ClientSide) -> None:
        """The client's transport is gone, after ``closed``."""
        self.connections.remove(connection)
        gate = self.gate
        gate.open -= 1
        if gate.open == gate.limit - 1:
            gate.reopen()
        if self.watcher is not None:
            self.watcher()

    def dial_failed(self, member: Member, error: DialError) -> None:
        """Tell the operator that a node could not be reached."""
        if error.ours:
            self._complain(member, f"cannot be reached for a fault of this machine, not the node's: {error.reason}")
        else:
            self._complain(member, f"cannot be reached: {error.reason}")

    def response_refused(self, member: Member, error: MessageError) -> None:
        """Count and tell that a node has sent what is no response."""
        rules = self.counters.refused_by_rule
        rules[error.rule] = rules.get(error.rule, 0) + 1
        self._complain(member, f"answered what is no HTTP response ({error.rule}); the client got a 502 or was reset")

    def _complain(self, member: Member, what: str) -> None:
        """A line about a node, at most once in ``QUIET_SECONDS`` for each."""
        name = member.node.name
        now = self.engine.now
        if now < self._quiet_until.get(name, now):
            return
        self._quiet_until[name] = now + QUIET_SECONDS
        log.warn(
            "[nodes {path}] {name} ({address}) {what}",
            path=self.path,
            name=name,
            address=str(member.node.address),
            what=what,
        )


class HTTPDate:
    """The Date field's value (RFC 9110 5.6.7), formatted once a second at most."""

    __slots__ = ("_second", "_text", "_wall")

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._second = -1
        self._text = b""

    def __call__(self) -> bytes:
        """``Sun, 06 Nov 1994 08:49:37 GMT`` for this second."""
        second = int(self._wall())
        if second != self._second:
            self._second = second
            self._text = formatdate(second, usegmt=True).encode("ascii")
        return self._text


http_date = HTTPDate()
