"""Which node a client comes back to: by its address (R15) or by its cookie (R16).

Whether the node may still have the client is for the pool to say.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Protocol

from nodebalancer.balancing.clients import client_key
from nodebalancer.balancing.member import Member

COOKIE_DIGITS: Final = 16
"""Hexadecimal digits of a cookie's value: too many to guess, and no two nodes have the same by chance."""


class Stickiness(Protocol):
    """What makes a client come back to its node."""

    def recall(self, client: str, cookie: bytes, now: float) -> Member | None:
        """The client's node, or None: it has none. Arguments as ``Pool.pick`` has them."""

    def remember(self, client: str, member: Member, now: float) -> None:
        """A connection of the client goes to ``member``."""


class Table:
    """Clients and their nodes, by address; an IPv6 client is its /64.

    An entry counts until ``ttl`` after the client's last connection, and until its node lets its clients go
    (``Member.era``). Nothing ever walks through the table: that an entry counts no more is seen when it is asked for, and
    when it is the oldest. Each connection takes away at most two of the oldest: those that count no more, and those
    that are too many.

    Memory: at most 350 bytes an entry (CPython 3.11), those included that count no more: 35 MB for 100,000.

    Attributes:
        ttl: Seconds.
        size: How many entries there may be; when it is lowered, the table follows at the pace of connections.
    """

    __slots__ = ("_entries", "size", "ttl")

    def __init__(self, ttl: float, size: int) -> None:
        self.ttl = ttl
        self.size = size
        # Node, its era then, and the time of the last connection; who was away longest comes first.
        self._entries: OrderedDict[str, tuple[Member, int, float]] = OrderedDict()

    def __len__(self) -> int:
        """Entries in memory, those included that count no more."""
        return len(self._entries)

    def recall(self, client: str, cookie: bytes, now: float) -> Member | None:
        """The node of the client's last connection."""
        entry = self._entries.get(client if ":" not in client else client_key(client))
        if entry is None:
            return None
        member, era, last = entry
        return member if era == member.era and now - last < self.ttl else None

    def remember(self, client: str, member: Member, now: float) -> None:
        """The client's time begins again, with this node."""
        entries = self._entries
        key = client if ":" not in client else client_key(client)
        entries[key] = (member, member.era, now)
        entries.move_to_end(key)
        for _ in range(2):
            oldest, era, last = next(iter(entries.values()))
            if len(entries) <= self.size and era == oldest.era and now - last < self.ttl:
                break
            entries.popitem(last=False)


class Cookies:
    """Members by the value of the cookie that names them; the client remembers.

    Args:
        members: Those with a ``Member.cookie``.
    """

    __slots__ = ("_members",)

    def __init__(self, members: Iterable[Member]) -> None:
        self._members = {member.cookie: member for member in members}

    def recall(self, client: str, cookie: bytes, now: float) -> Member | None:
        """Whom the cookie names; a foreign or tampered one names nobody."""
        return self._members.get(cookie)

    def remember(self, client: str, member: Member, now: float) -> None:
        """Nothing: see ``Pool.cookie_to_set``."""


def cookie_value(key: bytes, nodebalancer: str, node: str) -> bytes:
    """The value of ``NB_SRVID`` that names a node (R16): 16 hexadecimal digits of an HMAC-SHA256.

    It is the same on all ports of a NodeBalancer, and wherever the key is the same; without the key nobody learns
    anything of the nodes from it. Neither name can have a slash, so no two pairs are signed alike.

    Args:
        key: Of this installation, or shared by several.
        nodebalancer: The NodeBalancer's name.
        node: The node's.
    """
    return hmac.digest(key, f"{nodebalancer}/{node}".encode(), "sha256").hex()[:COOKIE_DIGITS].encode()
