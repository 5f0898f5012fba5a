"""How much one client may take: new connections a second (R2), and connections at once (R3).

Both are kept for a NodeBalancer as a whole, over all its ports. Clients are told apart by ``client_key``.

Note [Buckets]. A client's bucket holds ``burst`` tokens and gets ``rate`` of them a second; a connection takes one. The
bucket is one number, the time at which it will be full again: each connection moves it 1 / rate seconds on, and is let
in while it is not more than (burst - 1) / rate seconds away. A bucket that is full says no more than one that was
never seen, so it may be forgotten.

Note [Generations]. Buckets are written to a young dict. When that has ``CLIENTS_MAX`` of them, or when the time is over
in which any bucket gets full, it becomes the old one, and what was old is dropped: full buckets, unless more than
``CLIENTS_MAX`` clients came meanwhile. Whoever has so many addresses gains nothing from a bucket that is forgotten.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Final

from nodebalancer.balancing.clients import ClientSet, client_key
from nodebalancer.fields import Network

CLIENTS_MAX: Final = 65_536
"""Buckets of a generation; two of these take about 20 MB at most."""

TOLD_MAX: Final = 1_000
"""Clients that the log hears of in ``TELL_SECONDS``; more lines than these would be an attack of their own."""

TELL_SECONDS: Final = 60.0

SLACK: Final = 0.01
"""Of a token; what rounding may add up to, so that a whole burst is let in at one moment."""


class Throttle:
    """New connections a second from one client. See Note [Buckets] and Note [Generations].

    Attributes:
        rate: Connections a second; 0: off, and nobody need ask.
        burst: How many at once.
        refused: Connections refused ever.
    """

    __slots__ = (
        "_exempt",
        "_interval",
        "_old",
        "_room",
        "_span",
        "_told",
        "_turn_at",
        "_young",
        "burst",
        "rate",
        "refused",
    )

    def __init__(self) -> None:
        self.rate = 0
        self.burst = 0
        self.refused = 0
        self._exempt: ClientSet | None = None
        self._interval = self._room = self._span = self._turn_at = 0.0
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._told: OrderedDict[str, float] = OrderedDict()

    @property
    def clients(self) -> int:
        """Clients remembered now; at most ``2 * CLIENTS_MAX``."""
        return len(self._young.keys() | self._old.keys())

    def update(self, rate: int, burst: int | None, exempt: tuple[Network, ...], now: float) -> None:
        """Go by these from now on. Tokens that clients have used stay used.

        Args:
            rate: Connections a second from one client; 0: off.
            burst: How many at once; None: ``rate``.
            exempt: Networks whose clients are never refused.
            now: Monotonic seconds.
        """
        self._exempt = ClientSet((network, True) for network in exempt) if exempt else None
        burst = burst or rate
        if (rate, burst) == (self.rate, self.burst):
            return
        interval = 1 / rate if rate else 0.0
        self._young, self._old = (
            {
                key: now + min((full_at - now) * self.rate, burst) * interval
                for key, full_at in buckets.items()
                if full_at > now and rate
            }
            for buckets in (self._young, self._old)
        )
        self.rate, self.burst, self._interval = rate, burst, interval
        self._room = (burst - 1 + SLACK) * interval
        self._span = (burst + SLACK) * interval
        self._turn_at = now + self._span

    def admit(self, client: str, now: float) -> bool:
        """Whether a new connection is let in.

        Args:
            client: The client's address, normalised.
            now: Monotonic seconds; never less than before.
        """
        if self._exempt is not None and client in self._exempt:
            return True
        key = client if ":" not in client else client_key(client)
        young = self._young
        full_at = young.get(key)
        if full_at is None:
            full_at = self._old.get(key, now)
            if now >= self._turn_at or len(young) >= CLIENTS_MAX:
                self._old = young
                self._young = young = {}
                self._turn_at = now + self._span
        if full_at < now:
            full_at = now
        elif full_at - now > self._room:
            self.refused += 1
            return False
        young[key] = full_at + self._interval
        return True

    def left(self, client: str, now: float) -> int | None:
        """How many connections in a row ``admit`` would let in now; None: any number. Takes no token."""
        if not self.rate or (self._exempt is not None and client in self._exempt):
            return None
        key = client_key(client)
        full_at = self._young.get(key, self._old.get(key, now))
        return int(max(self._room + self._interval - max(full_at - now, 0), 0) * self.rate)

    def tell(self, client: str, now: float) -> bool:
        """Whether the log is to hear that this client was refused: once in ``TELL_SECONDS`` for each, and of no more
        than ``TOLD_MAX`` clients in that time.
        """
        told = self._told
        while told and next(iter(told.values())) <= now - TELL_SECONDS:
            told.popitem(last=False)
        key = client_key(client)
        if key in told or len(told) >= TOLD_MAX:
            return False
        told[key] = now
        return True


class ClientCounts:
    """Connections at once from one client. Remembers the clients that have one open, and no others.

    Attributes:
        limit: How many a client may have; 0: off, and nothing need be counted.
        refused: Connections refused ever.
    """

    __slots__ = ("_open", "limit", "refused")

    def __init__(self) -> None:
        self.limit = 0
        self.refused = 0
        self._open: dict[str, int] = {}

    @property
    def clients(self) -> int:
        """Clients with an open connection that is counted."""
        return len(self._open)

    def update(self, limit: int, clients: Iterable[str]) -> None:
        """Go by this limit from now on; whoever is above it keeps what is open.

        Args:
            limit: 0: off; whoever leaves from then on is not counted out.
            clients: The client of each connection that is open now, read when counting begins with this call.
        """
        if not limit:
            self._open = {}
        elif not self.limit:
            self._open = dict(Counter(map(client_key, clients)))
        self.limit = limit

    def open(self, client: str) -> int:
        """Connections of a client that are counted."""
        return self._open.get(client_key(client), 0)

    def enter(self, client: str) -> bool:
        """Whether one more connection is let in; if so it is counted until ``leave``. Only while there is a limit."""
        key = client if ":" not in client else client_key(client)
        count = self._open.get(key, 0)
        if count >= self.limit:
            self.refused += 1
            return False
        self._open[key] = count + 1
        return True

    def leave(self, client: str) -> None:
        """A connection that was counted has ended. Only while there is a limit."""
        key = client if ":" not in client else client_key(client)
        count = self._open.pop(key, 0)
        assert count > 0, f"more connections from {key} have left than entered"
        if count > 1:
            self._open[key] = count - 1
