"""Who is let in to a NodeBalancer: firewall, throttle, and how many at once (R2 to R4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from twisted.logger import Logger

from nodebalancer.balancing.throttle import ClientCounts, Throttle
from nodebalancer.model import NodeBalancer
from nodebalancer.transport.engine import Listener

if TYPE_CHECKING:
    from nodebalancer.proxy.connection import ClientSide
    from nodebalancer.proxy.live import LiveConfig

log = Logger()

QUIET_SECONDS: Final = 60.0
"""That the limit is reached is logged at most this often."""


class Gate:
    """Counts the connections of one NodeBalancer over all its ports, and stands before them.

    At the limit a new client takes the place of the one that has kept us waiting longest for its request head. When all have
    sent theirs the listeners pause: who comes then waits in the kernel's queue and is served when another has left. Over tcp
    nobody is waited for in that sense, so nobody makes way.

    Attributes:
        open: Connections open now, until their sockets are closed; counted by ``LiveConfig``, which calls ``full`` and
            ``reopen`` as it meets ``limit``.
        limit: How many may be; at least 1.
        headless: Those that have not ended and whose request head (or TLS handshake) is not whole yet, in the order in
            which they came.
        throttle: New connections a second from one client.
        counts: Connections at once from one client.
        firewalled: Clients refused by the firewall.
        pushed_out: Connections that had to make way.
        times_full: How often accepting paused at the limit.
        shut: Whether it is paused.
        ended: Nobody is let in any more; clients that the kernel has accepted still come.
    """

    __slots__ = (
        "_listeners",
        "_name",
        "_quiet_until",
        "counts",
        "ended",
        "firewalled",
        "headless",
        "limit",
        "open",
        "pushed_out",
        "shut",
        "throttle",
        "times_full",
    )

    def __init__(self, limit: int, name: str = "") -> None:
        self.limit = limit
        self.open = 0
        self.headless: dict[ClientSide, None] = {}
        self.throttle = Throttle()
        self.counts = ClientCounts()
        self.firewalled = 0
        self.pushed_out = 0
        self.times_full = 0
        self.shut = False
        self.ended = False
        self._name = name
        self._quiet_until = 0.0
        self._listeners: list[Listener] = []

    def update(self, wanted: NodeBalancer, clients: Iterable[str], now: float) -> None:
        """Go by these limits from now on; open connections stay.

        Args:
            wanted: Of it throttle and limits.
            clients: The client of each connection that is open now.
            now: Monotonic seconds.
        """
        self.limit = wanted.max_connections
        self.throttle.update(wanted.client_conn_throttle, wanted.throttle_burst, wanted.throttle_exempt, now)
        self.counts.update(wanted.client_max_connections, clients)

    def guard(self, listeners: Iterable[Listener]) -> None:
        """From now on these are the NodeBalancer's listeners."""
        self._listeners = list(listeners)
        self.shut = self.open >= self.limit and not self.headless
        for listener in self._listeners:
            if self.shut:
                listener.pause()
            else:
                listener.resume()

    def admits(self, client: str, live: LiveConfig, now: float) -> bool:
        """Whether a client may connect to the config ``live``; if not it is counted, and told of once a minute.

        Who is let in and counted by ``counts`` is counted out when its connection has left.
        """
        if self.ended:
            return False
        if live.admitted is not None and client not in live.admitted:
            self.firewalled += 1
            return False
        if self.throttle.rate and not self.throttle.admit(client, now):
            self._tell(client, now, f"more than {self.throttle.rate} new connections a second")
            return False
        if self.counts.limit and not self.counts.enter(client):
            self._tell(client, now, f"more than {self.counts.limit} connections at once")
            return False
        return True

    def full(self, now: float, newest: ClientSide | None = None) -> None:
        """``open`` has reached ``limit``, or is above it: make room for ``newest``, if that is why, or let nobody in."""
        if self.open > self.limit and newest is not None:
            oldest = next(iter(self.headless), newest)
            if oldest is not newest:
                self.pushed_out += 1
                oldest.push_out()
                self._tell_limit(now)
        if not self.headless and not self.shut:
            self.shut = True
            self.times_full += 1
            self._tell_limit(now)
            for listener in self._listeners:
                listener.pause()

    def reopen(self) -> None:
        """``open`` is below ``limit`` again."""
        self.shut = False
        for listener in self._listeners:
            listener.resume()

    def _tell(self, client: str, now: float, why: str) -> None:
        if self.throttle.tell(client, now):
            log.warn(
                "[nodebalancer {nodebalancer}] connections from {client} are refused: {why}",
                nodebalancer=self._name,
                client=client,
                why=why,
            )

    def _tell_limit(self, now: float) -> None:
        if now < self._quiet_until:
            return
        self._quiet_until = now + QUIET_SECONDS
        log.warn(
            "[nodebalancer {nodebalancer}] is at max_connections = {limit}; so far {pushed_out} clients without a request made way for "
            "others, and accepting paused {times_full} times",
            nodebalancer=self._name,
            limit=self.limit,
            pushed_out=self.pushed_out,
            times_full=self.times_full,
        )
