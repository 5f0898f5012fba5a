"""Who is next: the algorithms a pool chooses by.

Note [Turns]. Round robin counts time in picks. A node whose share is p (its weight by the sum of all n weights) has its
j-th turn, j from 0, in a window from (j + m) / p to (j + 1 - m) / p, where m = 1 / (2n - 2). Each pick goes to the node
whose window has begun and ends first. R. Tijdeman ("The chairman assignment problem", Discrete Mathematics 32, 1980)
proved that the picks of each node then never differ from its due by more than 1 - m, at any time, and that no rule does
better. So in any row of picks a node is less than 2 off, and after as many picks as the sum of the weights all have
had exactly their weight; 5:1:1 gives a a b a a c a. When the set changes, all keep what they are behind or ahead, so for
a while it is somewhat more than 2 (2.04 is the most a search has found). Deadlines alone (without the beginning of a window) would not do:
a heavy node among many different light ones gets several turns too many in a row before their first.

To be exact, times are whole ticks: a node's stride is a whole number of ticks inversely proportional to its weight
(least common multiple of the weights // weight), and a window is measured in strides.

Note [Queues]. Nodes of one weight have windows of one length, so they take turns in a queue, and only the first of each
queue competes with the others. The cost of a pick grows with the logarithm of the number of different weights (255 at
most), not with the number of nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from heapq import heapify, heappop, heappush
from math import lcm
from operator import itemgetter
from typing import Protocol

from nodebalancer.balancing.member import Member


class Algorithm(Protocol):
    """Chooses among members; counts nothing, and knows neither modes nor health."""

    def assign(self, weights: Mapping[Member, int]) -> None:
        """From now on choose among these, with these weights (1 to 255). Members that stay keep their place."""

    def choose(self, client: str, tried: Collection[Member]) -> Member | None:
        """Who takes the next connection, or None when all were tried or there is nobody.

        Args:
            client: The client's address, normalised; the same client may mean the same member.
            tried: Members not to choose, a handful at most; they keep their turn.
        """


class Queue:
    """Members of one weight in the order of their turns. See Note [Queues].

    Attributes:
        stride: Ticks between two turns of a member, divided by ``scale``.
        round: Ticks between the beginnings of two windows of a member.
        window: Ticks from the beginning to the end of one.
        turns: For each member the tick at which its next window begins; the earliest first, never empty.
    """

    __slots__ = ("round", "stride", "turns", "window")

    def __init__(self, stride: int, scale: int, turns: Iterable[tuple[int, Member]]) -> None:
        self.stride = stride
        self.round = stride * scale
        self.window = stride * (scale - 2)
        self.turns = deque(sorted(turns, key=itemgetter(0)))

    def take(self, tried: Collection[Member]) -> Member | None:
        """The first member that was not tried, whose turn this was; None: all were."""
        turns = self.turns
        for place, (begin, member) in enumerate(turns):
            if member not in tried:
                del turns[place]
                turns.append((begin + self.round, member))
                return member
        return None


class RoundRobin:
    """Smooth weighted round robin (R13). See Note [Turns]."""

    __slots__ = ("_now", "_ready", "_step", "_waiting")

    def __init__(self) -> None:
        self._now = 0
        self._step = 1
        # Queues whose first window has not begun, by its beginning; and those where it has, by its end. The number
        # after the time decides ties and keeps queues from being compared.
        self._waiting: list[tuple[int, int, Queue]] = []
        self._ready: list[tuple[int, int, Queue]] = []

    def choose(self, client: str, tried: Collection[Member]) -> Member | None:
        """Whose turn it is; the client does not matter."""
        now = self._now + self._step
        waiting, ready = self._waiting, self._ready
        while waiting and waiting[0][0] <= now:
            begin, number, queue = heappop(waiting)
            heappush(ready, (begin + queue.window, number, queue))
        member = None
        passed = []
        while member is None and (ready or waiting):
            # Without ``tried`` one is always ready; otherwise somebody may have to come before the time.
            _, number, queue = heappop(ready or waiting)
            member = queue.take(tried)
            passed.append((queue.turns[0][0], number, queue))
        for entry in passed:
            heappush(waiting, entry)
        if member is not None:
            self._now = now
        return member

    def assign(self, weights: Mapping[Member, int]) -> None:
        """Compute windows anew; who has waited half a turn has still waited half a turn. O(n log n)."""
        kept = self._waited()
        scale = max(2, 2 * len(weights) - 2)
        total = sum(weights.values())
        common = lcm(*weights.values())
        turns: dict[int, list[tuple[int, Member]]] = {}
        due = 0
        for member, weight in weights.items():
            stride = common // weight * total
            waited, out_of = kept.get(member, (0, 1))
            lead = waited * stride * scale // out_of
            turns.setdefault(stride, []).append((stride - lead, member))
            due += lead * weight
        queues = [Queue(stride, scale, entries) for stride, entries in turns.items()]
        self._step = common * scale
        # What all together have waited must be nothing, or for ever somebody would be early or late.
        self._now = -(due // total) if total else 0
        self._ready = []
        self._waiting = [(queue.turns[0][0], number, queue) for number, queue in enumerate(queues)]
        heapify(self._waiting)

    def _waited(self) -> dict[Member, tuple[int, int]]:
        """How many turns each member is behind its due (ahead: negative), as a fraction."""
        return {
            member: (self._now - begin + queue.stride, queue.round)
            for _, _, queue in (*self._waiting, *self._ready)
            for begin, member in queue.turns
        }
