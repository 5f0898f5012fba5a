"""A node as the pool knows it."""

from __future__ import annotations

import enum

from nodebalancer.balancing.counters import NodeCounters
from nodebalancer.fields import Address
from nodebalancer.model import Mode, Node


class Status(enum.Enum):
    """What we see of a node (R24); what is wanted of it is its mode. Spelt as Linode's API spells it."""

    UP = "UP"
    DOWN = "DOWN"
    UNKNOWN = "Unknown"
    """Nothing was seen yet that decides."""


class Member(NodeCounters):
    """One node in a pool, from the reload that brings it to the last release after the one that takes it away.

    It is its own counters, which saves a look-up on the hot path. Compared by identity.

    Attributes:
        node: What is wanted of it; another value after a reload that changed weight, mode or label.
        address: Where it is, numeric; None while its name is not resolved. Set by whoever resolves names.
        status: What we see; changed by ``Pool.set_status`` only.
        since: Seconds since the epoch: when the status changed last, or when the member came.
        reason: Why the status is what it is, in plain words; empty while nothing was seen.
        awaited: Whether it came with a reload, or its name was resolved just now, and it is probed, and no probe has ended
            yet: then it is a last resort.
        era: Goes up when it lets its clients go (it is DOWN or rejected): what a table knew of it before counts no more.
        cookie: The value of ``NB_SRVID`` that names it; empty when clients are not held by cookie.
    """

    __slots__ = ("address", "awaited", "cookie", "era", "node", "reason", "since", "status")

    def __init__(self, node: Node, at: float = 0.0, *, awaited: bool = False) -> None:
        super().__init__()
        self.node = node
        self.address: Address | None = None if node.address.is_name else node.address
        self.status = Status.UNKNOWN
        self.since = at
        self.reason = ""
        self.awaited = awaited
        self.era = 0
        self.cookie = b""

    @property
    def shown(self) -> Status:
        """The status for people: a node that is rejected is shown as DOWN (R26)."""
        return Status.DOWN if self.node.mode is Mode.REJECT else self.status

    def __repr__(self) -> str:
        return f"<Member {self.node.name} {self.node.address} {self.status.value} open={self.open}>"
