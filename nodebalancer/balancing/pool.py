"""The nodes of one config, and which of them gets the next connection.

Rules:

* Every pick is released exactly once, with the outcome; a member that was removed still takes its releases.
* A reload changes nothing for a node whose name and address stay: it keeps its member, its counters and its turn.
* Which nodes may be picked is decided by ``PICKED`` and nowhere else.
* Nothing here waits, and time comes in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from nodebalancer.balancing.algorithms import Algorithm, RoundRobin
from nodebalancer.balancing.member import Member
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.model import Mode, Node

__all__ = ["PICKED", "Member", "Pool"]

PICKED: Final[Mapping[Mode, bool]] = {
    # mode       may be picked
    Mode.ACCEPT: True,
}
"""Which nodes may be picked; whatever has no row never is."""


class Pool:
    """The nodes of one config.

    Attributes:
        members: Every node that is wanted, by name and in the order wanted, whether it may be picked or not.
    """

    __slots__ = ("_algorithm", "members")

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.members: Mapping[str, Member] = {}
        self._algorithm: Algorithm = RoundRobin()
        self.update(nodes)

    def pick(self, client: str, now: float, tried: Collection[Member] = ()) -> Member | None:
        """The node for a connection, which is counted as open there until ``release``.

        Args:
            client: The client's address, normalised.
            now: Monotonic seconds.
            tried: Members that could not be reached for this connection; they are not picked again.

        Returns:
            None when no node may be picked that was not tried.
        """
        member = self._algorithm.choose(client, tried)
        if member is not None:
            member.open += 1
            member.picks += 1
        return member

    def release(self, member: Member, outcome: Outcome) -> None:
        """Give a pick back: the connection there has ended, or was never made."""
        assert member.open > 0, f"{member} was released more often than picked"
        member.open -= 1
        member.outcomes[outcome] += 1

    def update(self, nodes: Mapping[str, Node]) -> None:
        """Have these nodes from now on. Open connections are not touched."""
        self.members = {name: self._member(name, node) for name, node in nodes.items()}
        picked = (member for member in self.members.values() if PICKED.get(member.node.mode, False))
        self._algorithm.assign({member: member.node.weight for member in picked})

    def _member(self, name: str, node: Node) -> Member:
        """The one there is for this name and address, or a new one."""
        member = self.members.get(name)
        if member is None or member.node.address != node.address:
            return Member(node)
        member.node = node
        return member
