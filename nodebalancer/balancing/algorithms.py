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

Note [Entries]. Least connections keeps one live entry a node in a heap, and what an entry says is never more than what
is true: a node's connections when the entry was made, or fewer. So an entry that comes up first and is true names the
node with the fewest connections; one that is not is made true and sinks. Picks, those by stickiness too, need not tell
the heap anything, and a release only when it leaves fewer connections than the entry says; then there is a new entry,
and the old one is dead. Dead entries are dropped when they come up, or all at once when they are the majority, which
is paid for by as many releases.

Note [Slots]. Source maps a client to one of 65,536 slots, and a slot to the node with the best score in it. A score
depends on the slot, the node's name and its weight and on nothing else, so that balancers agree without talking, and a
node that comes or goes moves only the clients that it gets or had (rendezvous hashing: Thaler and Ravishankar, "Using
name-based mappings to increase hit rates", IEEE/ACM Transactions on Networking 6, 1998). With h evenly spread in (0, 1)
the score log(h) / weight is best for a node as often as its weight says. A slot is computed when its first client
comes, from all nodes; after a change only from its best so far and those that came since, unless its best has left.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import blake2b
from heapq import heapify, heappop, heappush, heapreplace
from math import lcm, log
from operator import itemgetter
from typing import Final, Protocol
from zlib import crc32

from nodebalancer import model
from nodebalancer.balancing.member import Member


class Algorithm(Protocol):
    """Chooses among members; counts nothing, and knows neither modes nor health."""

    def assign(self, weights: Mapping[Member, int]) -> None:
        """From now on choose among these, with these weights (1 or more). Members that stay keep their place."""

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

    __slots__ = ("_now", "_only", "_ready", "_step", "_waiting")

    def __init__(self) -> None:
        self._now = 0
        self._step = 1
        # Queues whose first window has not begun, by its beginning; and those where it has, by its end. The number
        # after the time decides ties and keeps queues from being compared.
        self._waiting: list[tuple[int, int, Queue]] = []
        self._ready: list[tuple[int, int, Queue]] = []
        # The queue, when there is but one; its times in the lists above are of no account.
        self._only: Queue | None = None

    def choose(self, client: str, tried: Collection[Member]) -> Member | None:
        """Whose turn it is; the client does not matter."""
        now = self._now + self._step
        only = self._only
        if only is not None and not tried:
            turns = only.turns
            begin, member = turns.popleft()
            turns.append((begin + only.round, member))
            self._now = now
            return member
        waiting, ready = self._waiting, self._ready
        while waiting and waiting[0][0] <= now:
            begin, number, queue = heappop(waiting)
            heappush(ready, (begin + queue.window, number, queue))
        if tried or not (ready or waiting):
            return self._choose_untried(now, tried)
        _, number, queue = heappop(ready or waiting)
        turns = queue.turns
        begin, member = turns.popleft()
        turns.append((begin + queue.round, member))
        heappush(waiting, (turns[0][0], number, queue))
        self._now = now
        return member

    def _choose_untried(self, now: int, tried: Collection[Member]) -> Member | None:
        waiting, ready = self._waiting, self._ready
        member = None
        passed = []
        while member is None and (ready or waiting):
            # Somebody may have to come before the time.
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
        self._only = queues[0] if len(queues) == 1 else None
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


class Place:
    """A member among those with the fewest connections. See Note [Entries].

    Attributes:
        factor: What a connection weighs: inversely proportional to the member's weight.
        turn: Among equals the lowest has its turn; goes up by ``factor`` with each, so that turns too are by weight.
        entry: The live one: weight of the connections, turn, a number that decides ties, and this.
    """

    __slots__ = ("entry", "factor", "member", "turn")

    def __init__(self, member: Member, factor: int, turn: int, number: int) -> None:
        self.member = member
        self.factor = factor
        self.turn = turn
        self.entry: tuple[int, int, int, Place] = (member.open * factor, turn, number, self)


class LeastConnections:
    """Weighted least connections (R13): the fewest open connections for its weight; those of equal right take turns.

    Exact, in whole numbers; O(log n) amortised. See Note [Entries].
    """

    __slots__ = ("_heap", "_now", "_places")

    def __init__(self) -> None:
        self._now = 0
        self._places: dict[Member, Place] = {}
        self._heap: list[tuple[int, int, int, Place]] = []

    def choose(self, client: str, tried: Collection[Member]) -> Member | None:
        """Who has the fewest connections; the client does not matter."""
        heap = self._heap
        passed = []
        chosen = None
        while heap:
            entry = heap[0]
            load, turn, number, place = entry
            member = place.member
            actual = member.open * place.factor
            if entry is not place.entry:
                heappop(heap)
            elif load != actual or turn != place.turn:
                place.entry = (actual, place.turn, number, place)
                heapreplace(heap, place.entry)
            elif member in tried:
                passed.append(heappop(heap))
            else:
                # Who comes back after long has not saved up turns.
                now = self._now = max(self._now, turn)
                place.turn = now + place.factor
                chosen = member
                break
        for entry in passed:
            heappush(heap, entry)
        return chosen

    def released(self, member: Member) -> None:
        """A pick of ``member`` was given back."""
        place = self._places.get(member)
        if place is None:
            return
        load, turn, number, _ = place.entry
        actual = member.open * place.factor
        if actual < load:
            place.entry = (actual, turn, number, place)
            heappush(self._heap, place.entry)
            if len(self._heap) > 2 * len(self._places) + 8:
                self._rebuild()

    def assign(self, weights: Mapping[Member, int]) -> None:
        """Begin with the connections that there are; who has waited for a turn has still waited. O(n)."""
        common = lcm(*weights.values())
        before = self._places
        self._places = {}
        for number, (member, weight) in enumerate(weights.items()):
            factor = common // weight
            place = before.get(member)
            turn = (place.turn - self._now) * factor // place.factor if place else 0
            self._places[member] = Place(member, factor, turn, number)
        self._now = 0
        self._rebuild()

    def _rebuild(self) -> None:
        self._heap = [place.entry for place in self._places.values()]
        heapify(self._heap)


_SLOTS: Final = 65536
_MASK: Final = 2**64 - 1


class Entrant:
    """A member in the contest for slots. See Note [Slots].

    Attributes:
        gone: Whether it has left, or takes part with another weight.
    """

    __slots__ = ("gone", "member", "name", "seed", "weight")

    def __init__(self, member: Member, weight: int) -> None:
        self.member = member
        self.name = member.node.name
        self.weight = weight
        # Another hash would move every client, and balancers of two versions would not agree.
        self.seed = int.from_bytes(blake2b(self.name.encode(), digest_size=8, person=b"nodebalancer").digest(), "big")
        self.gone = False

    def score(self, slot: int) -> tuple[float, str]:
        """How well it does there; the highest wins.

        The hash is one output of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
        OOPSLA 2014), which takes half the time of a cryptographic one; nobody gains by choosing what goes in.
        """
        z = self.seed + slot * 0x9E3779B97F4A7C15 & _MASK
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        return log(((z ^ z >> 31) + 1) / (_MASK + 2)) / self.weight, self.name


class Source:
    """The client's address decides (R13): the same node as long as the nodes are the same, after restarts too.

    A whole address counts, also of IPv6. O(1), but O(n) for the first client of a slot: see Note [Slots]. Memory:
    768 KiB.
    """

    __slots__ = ("_best", "_entrants", "_newcomers", "_seen")

    def __init__(self) -> None:
        self._entrants: dict[Member, Entrant] = {}
        # Of each slot the best so far, and how many of the newcomers were compared with it.
        self._best: list[Entrant | None] = []
        self._seen = array("I")
        self._newcomers: list[Entrant] = []

    def choose(self, client: str, tried: Collection[Member]) -> Member | None:
        """Whose client it is; when that was tried, who would have it next."""
        if not self._entrants:
            return None
        slot = crc32(client.encode()) % _SLOTS
        best = self._best[slot]
        if best is None or best.gone or self._seen[slot] != len(self._newcomers):
            best = self._contest(slot, best)
        if best.member not in tried:
            return best.member
        others = [entrant for entrant in self._entrants.values() if entrant.member not in tried]
        return max(others, key=lambda each: each.score(slot)).member if others else None

    def assign(self, weights: Mapping[Member, int]) -> None:
        """Those that stay with their weight lose no client but to newcomers. O(n)."""
        before = self._entrants
        self._entrants = {}
        for member, weight in weights.items():
            entrant = before.get(member)
            if entrant is None or entrant.weight != weight:
                entrant = Entrant(member, weight)
                self._newcomers.append(entrant)
            self._entrants[member] = entrant
        for member, entrant in before.items():
            entrant.gone = self._entrants.get(member) is not entrant
        if len(self._newcomers) >= len(self._entrants):
            # To compare with so many is no less work than to begin anew.
            self._best = [None] * _SLOTS
            self._seen = array("I", (0,)) * _SLOTS
            self._newcomers = []

    def _contest(self, slot: int, best: Entrant | None) -> Entrant:
        """Who is best in a slot now; ``best`` was, None: nobody was asked yet."""
        if best is None or best.gone:
            contestants = list(self._entrants.values())
        else:
            contestants = [best, *(each for each in self._newcomers[self._seen[slot] :] if not each.gone)]
        best = self._best[slot] = max(contestants, key=lambda each: each.score(slot))
        self._seen[slot] = len(self._newcomers)
        return best


ALGORITHMS: Final[Mapping[model.Algorithm, Callable[[], Algorithm]]] = {
    model.Algorithm.ROUNDROBIN: RoundRobin,
    model.Algorithm.LEASTCONN: LeastConnections,
    model.Algorithm.SOURCE: Source,
}
"""How each of the settings' algorithms is made; it has nobody to choose until ``assign``."""
