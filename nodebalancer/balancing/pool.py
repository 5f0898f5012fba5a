"""The nodes of one config, and which of them gets the next connection.

Rules:

* Every pick is released exactly once, with the outcome; a member that was removed still takes its releases.
* A reload changes nothing for a node whose name and address stay: it keeps its member, its counters, its status, its
  turn and its clients.
* Which nodes may be picked is decided by ``PICKED`` and nowhere else.
* A node that a reload has added, and that is probed, counts as DOWN until its first probe has ended, unless nobody
  else could be picked. Those that a pool begins with do not wait.
* A client stays with the node that its stickiness names as long as ``PICKED`` lets it; a node that was tried in vain for
  this connection is no reason to fail, the client gets another one for its own.
* Changes are applied at the next pick, all at once: a thousand nodes that flap between two picks cost as much as one.
* Nothing here waits, and time comes in.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from copy import deepcopy
from math import inf
from typing import Final

from nodebalancer import model
from nodebalancer.balancing.algorithms import ALGORITHMS, Algorithm, LeastConnections
from nodebalancer.balancing.member import Member, Status
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.stickiness import Cookies, Stickiness, Table, cookie_value
from nodebalancer.model import Check, Mode, Node, PortConfig

__all__ = ["PICKED", "Member", "Pool", "Status", "When"]


class When(enum.Enum):
    """When a node may be picked."""

    ALWAYS = enum.auto()
    ALONE = enum.auto()
    """While no node of mode accept may be."""
    NEVER = enum.auto()


PICKED: Final[Mapping[tuple[Mode, Status], tuple[When, When]]] = {
    # mode         status            for any client  for clients whose stickiness names it
    (Mode.ACCEPT, Status.UP): (When.ALWAYS, When.ALWAYS),
    (Mode.ACCEPT, Status.UNKNOWN): (When.ALWAYS, When.ALWAYS),
    (Mode.ACCEPT, Status.DOWN): (When.NEVER, When.NEVER),
    (Mode.DRAIN, Status.UP): (When.NEVER, When.ALWAYS),
    (Mode.DRAIN, Status.UNKNOWN): (When.NEVER, When.ALWAYS),
    (Mode.DRAIN, Status.DOWN): (When.NEVER, When.NEVER),
    (Mode.BACKUP, Status.UP): (When.ALONE, When.ALONE),
    (Mode.BACKUP, Status.UNKNOWN): (When.ALONE, When.ALONE),
    (Mode.BACKUP, Status.DOWN): (When.NEVER, When.NEVER),
    (Mode.REJECT, Status.UP): (When.NEVER, When.NEVER),
    (Mode.REJECT, Status.UNKNOWN): (When.NEVER, When.NEVER),
    (Mode.REJECT, Status.DOWN): (When.NEVER, When.NEVER),
}
"""Which nodes may be picked (R22, R25 to R28)."""

SLOW_START_STEPS: Final = 20
"""Steps in which a node that came up gets to its full weight; each computes the turns of all nodes anew."""

PLAIN: Final = PortConfig("")
"""The rules of a pool that is told none: the model's defaults."""


class Pool:
    """The nodes of one config.

    Args:
        nodes: What ``update`` takes.
        nodebalancer: The NodeBalancer's name, for cookies.
        cookie_key: The key of cookies, see ``stickiness.cookie_value``.

    Attributes:
        cookie_key: The same; counts from the next ``update`` on.
        members: Every node that is wanted, by name and in the order wanted, whether it may be picked or not.
        changes: Goes up with every change of these nodes, of a mode or of a status.
    """

    __slots__ = (
        "_algorithm",
        "_choose",
        "_held",
        "_nodebalancer",
        "_released",
        "_rising",
        "_rules",
        "_settle_at",
        "_slow_start",
        "_stickiness",
        "changes",
        "cookie_key",
        "members",
    )

    def __init__(self, nodes: Mapping[str, Node], nodebalancer: str = "", cookie_key: bytes = b"") -> None:
        self.members: Mapping[str, Member] = {}
        self.changes = 0
        self._nodebalancer = nodebalancer
        self.cookie_key = cookie_key
        self._rules = PLAIN
        self._algorithm: Algorithm = ALGORITHMS[PLAIN.algorithm]()
        # Bound once: to find them at every pick would cost as much as half a pick.
        self._choose = self._algorithm.choose
        self._released: Callable[[Member], None] | None = None
        self._stickiness: Stickiness | None = None
        # Who may be picked for clients whose stickiness names it; the algorithm has those for any client.
        self._held: Collection[Member] = ()
        self._slow_start = 0
        # When each member in its slow start was first among those that may be picked; infinite: not yet.
        self._rising: dict[Member, float] = {}
        # When all that is to be found anew: a change is to be applied, or a step of a slow start is due.
        self._settle_at = -inf
        self.update(nodes)

    def pick(self, client: str, now: float, tried: Collection[Member] = (), cookie: bytes = b"") -> Member | None:
        """The node for a connection, which is counted as open there until ``release``.

        Args:
            client: The client's address, normalised.
            now: Monotonic seconds.
            tried: Members that could not be reached for this connection; they are not picked again.
            cookie: The value of the client's ``NB_SRVID``, whatever that is; empty: it has none.

        Returns:
            None when no node may be picked that was not tried.
        """
        if now >= self._settle_at:
            self._settle(now)
        stickiness = self._stickiness
        if stickiness is None:
            member = self._choose(client, tried)
        else:
            member = stickiness.recall(client, cookie, now)
            if member not in self._held or member in tried:
                member = self._choose(client, tried)
            if member is not None:
                stickiness.remember(client, member, now)
        if member is not None:
            member.open += 1
            member.picks += 1
        return member

    def release(self, member: Member, outcome: Outcome) -> None:
        """Give a pick back: the connection there has ended, or was never made."""
        assert member.open > 0, f"{member} was released more often than picked"
        member.open -= 1
        member.outcomes[outcome] += 1
        if self._released is not None:
            self._released(member)

    def foresee(self, client: str, now: float, cookie: bytes = b"") -> tuple[Member | None, Member | None]:
        """What ``pick`` with these arguments would do, without doing it; for people, since it costs more than a pick.

        Returns:
            The node that the client's stickiness names, whether it may be picked or not, and the one that would be
            picked; None: there is none.
        """
        if now >= self._settle_at:
            self._settle(now)
        named = None if self._stickiness is None else self._stickiness.recall(client, cookie, now)
        if named in self._held:
            return named, named
        # Whose turn it is changes in a copy, of everything but the members.
        algorithm = deepcopy(self._algorithm, {id(member): member for member in self.members.values()})
        return named, algorithm.choose(client, ())

    def takers(self) -> Collection[Member]:
        """The nodes that any client may get now, whatever its stickiness; for people."""
        return frozenset(self._may_be_picked()[0])

    def cookie_to_set(self, member: Member, cookie: bytes) -> bytes:
        """The value of ``NB_SRVID`` that the response of ``member`` has to set (R16).

        Args:
            member: Who was picked in the end.
            cookie: What the client has sent, as ``pick`` had it.

        Returns:
            Empty when the client has the right one, and when clients are not held by cookie.
        """
        return member.cookie if member.cookie != cookie else b""

    def set_status(self, member: Member, status: Status, reason: str, at: float) -> bool:
        """What was found out about a node; for ``health`` only. Open connections are not touched.

        Args:
            member: Whose; ignored when it has left the pool meanwhile.
            status: What it is now.
            reason: Why, in plain words.
            at: Seconds since the epoch.

        Returns:
            Whether that is a change; else nothing has happened, and the old reason stands.
        """
        if self.members.get(member.node.name) is not member or status is member.status:
            return False
        old, member.status = member.status, status
        member.reason = reason
        member.since = at
        member.flaps += 1
        self.changes += 1
        mode = member.node.mode
        if member.awaited or PICKED[mode, old] != PICKED[mode, status]:
            self._settle_at = -inf
        if status is Status.DOWN:
            member.era += 1
        elif self._slow_start and (member.awaited or old is Status.DOWN):
            self._rising[member] = inf
        member.awaited = False
        return True

    def statuses(self) -> Counter[Status]:
        """How many nodes are shown as what: "2 up, 1 down, 0 unknown" (R24)."""
        return Counter(member.shown for member in self.members.values())

    def update(self, nodes: Mapping[str, Node], rules: PortConfig = PLAIN, at: float = 0.0) -> None:
        """Have these nodes and rules from now on. Open connections are not touched.

        Args:
            nodes: By name, in the order in which they are shown.
            rules: Algorithm, stickiness, slow start, and whether nodes are probed; its nodes are of no account.
            at: Seconds since the epoch.
        """
        self.changes += 1
        before = self.members
        probed = rules.check is not Check.NONE
        self.members = {}
        for name, node in nodes.items():
            member = before.get(name)
            if member is None or member.node.address != node.address:
                member = Member(node, at, awaited=probed and bool(before))
            member.node = node
            member.awaited &= probed
            if node.mode is Mode.REJECT:
                member.era += 1
            self.members[name] = member
        self._rising = {m: since for m, since in self._rising.items() if self.members.get(m.node.name) is m}
        self._apply(rules)
        self._settle_at = -inf

    def _apply(self, rules: PortConfig) -> None:
        old, self._rules = self._rules, rules
        if rules.algorithm is not old.algorithm:
            algorithm = self._algorithm = ALGORITHMS[rules.algorithm]()
            self._choose = algorithm.choose
            self._released = algorithm.released if isinstance(algorithm, LeastConnections) else None
        self._slow_start = 0 if rules.algorithm is model.Algorithm.SOURCE else rules.slow_start
        if not self._slow_start:
            self._rising = {}
        by_cookie = rules.stickiness is model.Stickiness.HTTP_COOKIE
        for name, member in self.members.items():
            member.cookie = cookie_value(self.cookie_key, self._nodebalancer, name) if by_cookie else b""
        if by_cookie:
            self._stickiness = Cookies(self.members.values())
        elif rules.stickiness is model.Stickiness.NONE:
            self._stickiness = None
        elif isinstance(self._stickiness, Table):
            self._stickiness.ttl, self._stickiness.size = rules.stickiness_ttl, rules.stickiness_entries
        else:
            self._stickiness = Table(rules.stickiness_ttl, rules.stickiness_entries)

    def _settle(self, now: float) -> None:
        """Find anew who may be picked, and with what weight."""
        eligible, held = self._may_be_picked()
        self._held = frozenset(held)
        self._settle_at = inf
        weights: Mapping[Member, int] = {member: member.node.weight for member in eligible}
        if self._rising:
            weights = self._slowed(weights, now)
        self._algorithm.assign(weights)

    def _may_be_picked(self) -> tuple[list[Member], list[Member]]:
        """Who any client may get, and who a client may whose stickiness names them."""
        members = self.members.values()
        eligible, held = _may_be_picked(member for member in members if not member.awaited)
        return (eligible, held) if eligible else _may_be_picked(members)

    def _slowed(self, weights: Mapping[Member, int], now: float) -> Mapping[Member, int]:
        """These weights times ``SLOW_START_STEPS``, and less for those in their slow start.

        All take their steps at the same times, so that there are never more than ``SLOW_START_STEPS`` in a slow start's time.
        """
        steps = {}
        for member in [member for member in self._rising if member in weights]:
            began = self._rising[member] = min(self._rising[member], now)
            step = int((now - began) * SLOW_START_STEPS / self._slow_start)
            if step < SLOW_START_STEPS:
                steps[member] = max(step, 1)
            else:
                del self._rising[member]
        if not steps:
            return weights
        self._settle_at = now + self._slow_start / SLOW_START_STEPS
        return {member: weight * steps.get(member, SLOW_START_STEPS) for member, weight in weights.items()}


def _may_be_picked(members: Iterable[Member]) -> tuple[list[Member], list[Member]]:
    """Of these members those that any client may get, and those that a client may whose stickiness names them."""
    rows = [(member, *PICKED[member.node.mode, member.status]) for member in members]
    accepting = any(new is When.ALWAYS and member.node.mode is Mode.ACCEPT for member, new, _ in rows)
    holds = (When.ALWAYS,) if accepting else (When.ALWAYS, When.ALONE)
    return [member for member, new, _ in rows if new in holds], [member for member, _, kept in rows if kept in holds]
