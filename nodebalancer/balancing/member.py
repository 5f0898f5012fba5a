"""A node as the pool knows it."""

from __future__ import annotations

from nodebalancer.balancing.counters import NodeCounters
from nodebalancer.model import Node


class Member(NodeCounters):
    """One node in a pool, from the reload that brings it to the last release after the one that takes it away.

    It is its own counters, which saves a look-up on the hot path. Compared by identity.

    Attributes:
        node: What is wanted of it; another value after a reload that changed weight, mode or label.
    """

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node

    def __repr__(self) -> str:
        return f"<Member {self.node.name} {self.node.address} open={self.open}>"
