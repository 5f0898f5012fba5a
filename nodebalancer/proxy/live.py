"""A config as it runs: what was wanted of it, and everything its connections share."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from itertools import cycle
from typing import TYPE_CHECKING

from twisted.logger import Logger

from nodebalancer.accesslog.writer import AccessLog
from nodebalancer.balancing.clients import ClientSet
from nodebalancer.balancing.counters import PER_SECOND, ConfigCounters
from nodebalancer.balancing.firewall import admitted
from nodebalancer.balancing.health import Health, StatusChange
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Member, Pool, Status
from nodebalancer.errors import DialError, MessageError
from nodebalancer.fields import Address
from nodebalancer.model import Firewall, NodeBalancer, PortConfig, Protocol, ProxyProtocol, Redirect, Stickiness
from nodebalancer.proxy.gate import Gate
from nodebalancer.proxy.refusals import Refusals
from nodebalancer.transport.engine import Engine
from nodebalancer.wire.answers import Pages
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.proxy_protocol import HEADERS

if TYPE_CHECKING:
    from nodebalancer.proxy.connection import ClientSide

log = Logger()

NOT_RESOLVED_YET = "name not resolved yet"

RATE_SECONDS = 60
"""Over how long ``min_rate`` is measured."""

QUIET_SECONDS = 10.0
"""What is wrong with one node is logged at most this often; a dead node under load would fill a disk otherwise."""


class LiveConfig:
    """One port config at work. Survives every reload in which the config keeps its name.

    Attributes:
        path: ``www/secure``, as in the section's header.
        wanted: The settings that hold now, time-outs of connections under way among them; those keep their node and
            the rules for their heads.
        pool: Its nodes.
        health: Judges them.
        counters: What has happened, for whoever asks.
        connections: The client side of every connection that is open or still closing, the oldest first.
        engine: Where its sockets are.
        gate: The NodeBalancer's.
        watcher: Called when a connection has left, by whoever waits for the last one.
        refusals: Requests that were refused.
        access_log: Where every request and connection is told of.
        unserved: Hears of each connection that has ended and was not served, with ``path`` and ``pool``.
        shortest_timeout: Of those that an exchange has before it becomes a tunnel, the minute of ``min_rate`` among them.
        admitted: Whom the firewall lets in; None: everybody.
        guarded: Whether the gate is to be asked for each client.
        by_cookie: Whether clients are held by cookie.
        secure_cookie: Whether our cookie is for https only: where no plain config of the NodeBalancer needs it too.
        proxy_header: Makes the PROXY header that nodes are sent first; None: none.
        sources: ``outgoing_address`` in turn, by whether they are IPv6; empty for the system's choice.
        forwarding: How request and response heads are written (http only).
        request_ids: Whether requests without a good X-Request-ID get one.
        redirect_port: Where all clients are sent, over https; 0: nowhere.
        pages: The operator's own, for our errors.
    """

    __slots__ = (
        "_quiet_until",
        "access_log",
        "admitted",
        "by_cookie",
        "connections",
        "counters",
        "engine",
        "forwarding",
        "gate",
        "guarded",
        "health",
        "pages",
        "path",
        "pool",
        "proxy_header",
        "redirect_port",
        "refusals",
        "request_ids",
        "secure_cookie",
        "shortest_timeout",
        "sources",
        "unserved",
        "wanted",
        "watcher",
    )

    def __init__(
        self,
        path: tuple[str, str],
        engine: Engine,
        gate: Gate,
        tell: Callable[[StatusChange], None],
        unserved: Callable[[str, Pool, ClientSide, Outcome], None],
        access_log: AccessLog,
    ) -> None:
        self.path = "/".join(path)
        self.engine = engine
        self.gate = gate
        self.wanted = PortConfig(path[1])
        self.pool = Pool({}, path[0])
        self.health = Health(self.path, self.pool, tell)
        self.counters = ConfigCounters()
        self.refusals = Refusals(self.path, engine, self.counters.refused_by_rule)
        self.unserved = unserved
        self.access_log = access_log
        self.connections: dict[ClientSide, None] = {}
        self.watcher: Callable[[], None] | None = None
        self._quiet_until: dict[str, float] = {}

    def update(
        self, wanted: PortConfig, owner: NodeBalancer, firewall: Firewall | None, cookie_key: bytes, pages: Pages
    ) -> None:
        """Do from now on what ``wanted`` says.

        Args:
            wanted: Nodes and rules.
            owner: The NodeBalancer, for what all its configs have in common.
            firewall: The one in front of it.
            cookie_key: The key of ``NB_SRVID``; of no account without cookies.
            pages: Those of ``error_pages``.
        """
        self.wanted = wanted
        self.shortest_timeout = min(wanted.timeout_request, wanted.timeout_client, wanted.timeout_server, RATE_SECONDS)
        self._quiet_until.clear()
        self.admitted: ClientSet | None = None if firewall is None else admitted(firewall, wanted.port)
        self.guarded = bool(firewall or owner.client_conn_throttle or owner.client_max_connections)
        # A client would not send it to the plain port then, and one jar is to do for both (R16).
        self.secure_cookie = wanted.protocol is Protocol.HTTPS and not any(
            other.protocol is Protocol.HTTP and other.stickiness is Stickiness.HTTP_COOKIE
            for other in owner.configs.values()
        )
        self.by_cookie = wanted.stickiness is Stickiness.HTTP_COOKIE
        self.proxy_header = None if wanted.proxy_protocol is ProxyProtocol.NONE else HEADERS[wanted.proxy_protocol]
        self._update_nodes(cookie_key)
        self.sources = {
            ipv6: cycle(addresses)
            for ipv6 in (False, True)
            if (addresses := [a for a in wanted.outgoing_address if (":" in a) is ipv6])
        }
        self.forwarding = Forwarding(
            proto=b"https" if wanted.protocol is Protocol.HTTPS else b"http",
            underscores=wanted.underscores,
            upgrades=frozenset(upgrade.value.encode() for upgrade in wanted.upgrades),
            trusted=owner.trusted_proxies,
        )
        self.request_ids = wanted.request_id
        self.redirect_port = https_port(owner) if wanted.redirect is Redirect.HTTPS else 0
        self.pages = pages

    def _update_nodes(self, cookie_key: bytes) -> None:
        now, at = self.engine.now, time.time()
        self.pool.cookie_key = cookie_key
        self.pool.update(self.wanted.nodes, self.wanted, at)
        self.health.update(self.wanted, now)
        for member in self.pool.members.values():
            if member.address is None and not member.reason:
                self.health.located(member, False, NOT_RESOLVED_YET, now, at)

    def resolved(self, name: str, address: Address | None, reason: str) -> None:
        """The node called ``name`` is at ``address`` now, or nowhere, for that reason."""
        member = self.pool.members.get(name)
        if member is not None:
            member.address = address
            self.health.located(member, address is not None, reason, self.engine.now, time.time())

    def probed(self, name: str, began_at: float, ok: bool, reason: str, now: float, at: float) -> None:
        """A probe of the node called ``name`` has ended; ``Health.probed``."""
        member = self.pool.members.get(name)
        if member is not None:
            self.health.probed(member, began_at, ok, reason, now, at)

    def praise(self, member: Member, picked_at: float) -> None:
        """A node that is on trial has done its work."""
        self.health.served(member, picked_at, self.engine.now, time.time())

    def accuse(self, member: Member, outcome: Outcome, reason: str, picked_at: float) -> None:
        """A node has failed a connection, in a way that counts against it."""
        self.health.failed(member, outcome, reason, picked_at, self.engine.now, time.time())

    def source_for(self, host: str) -> str | None:
        """The address from which a node at ``host`` is dialled; None: the system's choice."""
        sources = self.sources.get(":" in host)
        return next(sources) if sources else None

    def opened(self, connection: ClientSide) -> None:
        """A client's connection has begun."""
        self.connections[connection] = None
        counters = self.counters
        counters.open += 1
        counters.total += 1
        gate = self.gate
        gate.open += 1
        if connection.BEGINS_WITH_HEAD:
            gate.headless[connection] = None
        if gate.open >= gate.limit:
            gate.full(self.engine.now, connection)

    def closed(self, connection: ClientSide, outcome: Outcome) -> None:
        """It has ended; called exactly once for each that was opened. Its transports may still be closing."""
        counters = self.counters
        counters.open -= 1
        counters.outcomes[outcome] += 1
        # Not when it has left: until then it would be asked to make way again.
        self.gate.headless.pop(connection, None)
        counters.bytes_in += connection.bytes_in
        counters.bytes_out += connection.bytes_out
        counters.responses[connection.status // 100] += 1
        seconds = self.engine.now - connection.accepted_at
        lasted = counters.lasted
        lasted.counts[int(seconds * PER_SECOND).bit_length()] += 1  # Durations.note, without the call
        lasted.seconds += seconds
        if self.access_log.on and (entry := connection.entry(outcome, seconds)) is not None:
            self.access_log.note(entry)
        if outcome:  # other than SERVED, which is 0
            self.unserved(self.path, self.pool, connection, outcome)

    def left(self, connection: ClientSide) -> None:
        """The client's transport is gone, after ``closed``."""
        del self.connections[connection]
        gate = self.gate
        gate.open -= 1
        if gate.counts.limit:
            gate.counts.leave(connection.peer)
        if gate.shut and gate.open < gate.limit:
            gate.reopen()
        if self.watcher is not None:
            self.watcher()

    def dial_failed(self, member: Member, error: DialError, picked_at: float) -> None:
        """A node could not be reached. Unless that was our fault it counts against the node; either way the operator hears
        of it, by a line here where there is none about its status.
        """
        if error.ours:
            self._complain(member, f"cannot be reached for a fault of this machine, not the node's: {error.reason}")
            return
        self.accuse(member, Outcome.CONNECT_FAILED, error.reason, picked_at)
        if member.status is not Status.DOWN:
            self._complain(member, f"cannot be reached: {error.reason}")

    def response_refused(self, member: Member, error: MessageError) -> None:
        """Count and tell that a node has sent what is no response."""
        rules = self.counters.refused_by_rule
        rules[error.rule] = rules.get(error.rule, 0) + 1
        self._complain(member, f"answered what is no HTTP response ({error.rule}); the client got a 502 or was reset")

    def handshake_failed(self, client: str, reason: str) -> None:
        """Tell the operator that a client and we could not agree on TLS."""
        if self._is_news(""):
            log.info(
                "[config {config}] a TLS handshake with {client} failed: {reason}; more of these in the next {seconds:.0f} "
                "seconds are only counted",
                config=self.path,
                client=client,
                reason=reason,
                seconds=QUIET_SECONDS,
            )

    def _is_news(self, name: str) -> bool:
        """Whether nothing was said of the node called ``name`` (clients: none) in the last ``QUIET_SECONDS``."""
        now = self.engine.now
        if now < self._quiet_until.get(name, now):
            return False
        self._quiet_until[name] = now + QUIET_SECONDS
        return True

    def _complain(self, member: Member, what: str) -> None:
        """A line about a node, at most once in ``QUIET_SECONDS`` for each."""
        name = member.node.name
        if not self._is_news(name):
            return
        log.warn(
            "[nodes {config}] {node} ({address}) {what}",
            config=self.path,
            node=name,
            address=str(member.node.address),
            what=what,
        )


def https_port(owner: NodeBalancer) -> int:
    """Where ``redirect = https`` leads: 443 if an https config has it, else the port of the first one."""
    ports = [config.port for config in owner.configs.values() if config.protocol is Protocol.HTTPS]
    return 443 if 443 in ports else ports[0]


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
