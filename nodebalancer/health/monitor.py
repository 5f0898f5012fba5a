"""The monitor: which node is probed when, and what becomes of the answers (R19, R22).

Rules:

* A node's first probe comes within ``FIRST_SECONDS`` (or the interval, if that is shorter), evenly spread over all that are new;
  its second at some time within an interval, the others an interval apart, give or take a twentieth. So a thousand nodes
  that were added together are soon probed evenly over the interval.
* Never two probes of a node at once, never more than ``IN_FLIGHT_MAX`` in all; who is due then waits for a place, the
  longest first.
* Results of probes are told to the judge; faults of our own are counted, and logged once in ``QUIET_SECONDS``.
* After a time in which we did not run (a paused machine, a stopped process) nobody is told anything of the probes that
  were under way; they are repeated, and those that came due meanwhile come as much later. See Note [Late].

Note [Late]. A probe that was under way when we were stopped may look timed out, or the node may have closed it rightly. We
know by the loop's own ticks: one that comes more than ``LATE_SECONDS`` late begins those probes anew. Should a result come
before that tick does, the time since the last tick tells the same. So no probe is ever timed out by time that we slept.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.fields import Address
from nodebalancer.health.checks import NodeCheck, Path, checks_of, pattern_problems
from nodebalancer.health.names import NOT_YET, Names
from nodebalancer.health.probes import Probe, Result
from nodebalancer.looping import GuardedLoop
from nodebalancer.model import Settings
from nodebalancer.transport.engine import Engine

log = Logger()

TICK_SECONDS: Final = 0.1
"""How finely probes are spread, and how late one may be timed out."""

FIRST_SECONDS: Final = 2.0
"""By when a new node has been asked at the latest."""

LATE_SECONDS: Final = 1.0
"""A tick that comes later than this was kept from coming."""

JUDGE_SECONDS: Final = 1.0
"""How often the judge is given time; also how soon we look again whether a name was resolved."""

JITTER: Final = 0.1
"""How much of the interval is left to chance, so that balancers that were started together do not probe together for ever."""

IN_FLIGHT_MAX: Final = 256
"""Probes at once, a descriptor each. Enough to find 500 nodes silent in 10 seconds with time-outs of 5."""

QUIET_SECONDS: Final = 60.0
"""Our own faults are logged at most this often."""


class IJudge(Protocol):
    """Who decides what results mean. Values only, so that it may live in other processes."""

    def probed(self, path: Path, began_at: float, ok: bool, reason: str, now: float, at: float) -> None:
        """A probe has ended, and not for a fault of this machine.

        Args:
            path: NodeBalancer, config and node.
            began_at: When it began, monotonic seconds.
            ok: Whether the node is well.
            reason: In plain words: ``HTTP 503``.
            now: Monotonic seconds.
            at: Seconds since the epoch.
        """

    def due(self, now: float, at: float) -> None:
        """A second has passed; nodes that are not probed may have to be let in again."""


class Target:
    """One node that is probed.

    Attributes:
        path: NodeBalancer, config and node.
        check: How.
        ticket: Its valid entry among those that are due; 0: none.
        fresh: Whether it was not probed yet.
        probe: The one under way.
        began_at: When that one began.
    """

    __slots__ = ("began_at", "check", "fresh", "path", "probe", "ticket")

    def __init__(self, path: Path, check: NodeCheck) -> None:
        self.path = path
        self.check = check
        self.ticket = 0
        self.fresh = True
        self.probe: Probe | None = None
        self.began_at = 0.0


class Monitor:
    """Follows the settings with probes.

    Args:
        engine: Connects, and knows the time.
        clock: Makes the loop turn.
        names: Knows where nodes are that go by a name.
        judge: Is told what probes have found.
        chance: A number from 0 to below 1, another one each time.
        wall: Seconds since the epoch.

    Attributes:
        probes: Results so far, by whether the node was well.
        own_faults: Probes that ended by a fault of this machine.
        repeated: Probes that were begun anew because we did not run.
    """

    def __init__(
        self,
        engine: Engine,
        clock: IReactorTime,
        names: Names,
        judge: IJudge,
        *,
        chance: Callable[[], float] = random.random,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.probes = {True: 0, False: 0}
        self.own_faults = 0
        self.repeated = 0
        self._engine = engine
        self._names = names
        self._judge = judge
        self._chance = chance
        self._wall = wall
        self._targets: dict[Path, Target] = {}
        self._prepared: dict[Path, NodeCheck] = {}
        self._due: list[tuple[float, int, Target]] = []
        self._tickets = count(1)
        self._in_flight: set[Target] = set()
        self._loop = GuardedLoop(clock, TICK_SECONDS, self._tick, name="the probing of nodes")
        self._ticked_at = 0.0
        self._judge_at = 0.0
        self._quiet_until = 0.0

    # IFollower

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Patterns that are none."""
        return succeed(tuple(pattern_problems(wanted)))

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Compile patterns."""
        self._prepared = checks_of(wanted)
        return succeed(())

    def abandon(self) -> Deferred[None]:
        """Forget them."""
        self._prepared = {}
        return succeed(None)

    def commit(self) -> Deferred[None]:
        """Probe these nodes from now on. Those whose check stays as it was go on in their own time."""
        checks, self._prepared = self._prepared, {}
        before, self._targets = self._targets, {}
        fresh = []
        for path, check in checks.items():
            target = before.get(path)
            if target is not None and target.check == check:
                self._targets[path] = before.pop(path)
            else:
                self._targets[path] = target = Target(path, check)
                fresh.append(target)
        for target in before.values():
            self._drop(target)
        self._schedule_first(fresh)
        if not self._loop.running:
            self._ticked_at = self._engine.now
            self._loop.start()
        return succeed(None)

    # What else is asked for.

    @property
    def in_flight(self) -> int:
        """Probes under way."""
        return len(self._in_flight)

    def stop(self) -> None:
        """Probe no more."""
        self._loop.stop()
        for target in self._targets.values():
            self._drop(target)
        self._targets = {}

    def _drop(self, target: Target) -> None:
        target.ticket = 0
        self._in_flight.discard(target)
        if target.probe is not None:
            target.probe.cancel()
            target.probe = None

    def _schedule_first(self, targets: list[Target]) -> None:
        now = self._engine.now
        for place, target in enumerate(targets):
            window = min(FIRST_SECONDS, target.check.interval) - TICK_SECONDS
            self._schedule(target, now + window * (place + self._chance()) / len(targets))

    def _schedule_next(self, target: Target, now: float) -> None:
        part = self._chance() if target.fresh else 1 + JITTER * (self._chance() - 0.5)
        target.fresh = False
        self._schedule(target, max(target.began_at + part * target.check.interval, now))

    def _schedule(self, target: Target, at: float) -> None:
        target.ticket = next(self._tickets)
        heappush(self._due, (at, target.ticket, target))

    # What happens, ten times a second.

    def _tick(self) -> None:
        now = self._engine.now
        late = now - self._ticked_at - TICK_SECONDS
        self._ticked_at = now
        if late > LATE_SECONDS:
            self._make_up_for(late, now)
        self._expire(now)
        if now >= self._judge_at:
            self._judge_at = now + JUDGE_SECONDS
            self._judge.due(now, self._wall())
        self._begin_due(now)

    def _make_up_for(self, late: float, now: float) -> None:
        self._due = [(at + late if at < now else at, ticket, target) for at, ticket, target in self._due]
        heapify(self._due)
        for target in sorted(self._in_flight, key=lambda target: target.began_at):
            self._drop(target)
            self.repeated += 1
            self._schedule(target, now)

    def _expire(self, now: float) -> None:
        for target in tuple(self._in_flight):
            if target.probe is not None and now - target.began_at >= target.check.timeout:
                target.probe.expire()

    def _begin_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now and len(self._in_flight) < IN_FLIGHT_MAX:
            _, ticket, target = heappop(self._due)
            if ticket == target.ticket:
                target.ticket = 0
                self._begin(target, now)

    def _begin(self, target: Target, now: float) -> None:
        target.began_at = now
        address, reason = self._place_of(target)
        if address is not None:
            self._in_flight.add(target)
            target.probe = Probe(target.check, lambda result: self._ended(target, result))
            target.probe.begin(self._engine, address)
        elif reason == NOT_YET:
            self._schedule(target, now + JUDGE_SECONDS)
        else:
            self._conclude(target, Result(False, reason), now)

    def _place_of(self, target: Target) -> tuple[Address | None, str]:
        address = target.check.address
        if not address.is_name:
            return address, ""
        found, reason = self._names.find(target.path)
        return (None if found is None else Address(found.host, address.port)), reason

    def _ended(self, target: Target, result: Result) -> None:
        target.probe = None
        now = self._engine.now
        if now - self._ticked_at - TICK_SECONDS <= LATE_SECONDS:
            self._in_flight.discard(target)
            self._conclude(target, result, now)
        # Else it counts as under way still, and the tick that is late repeats it.

    def _conclude(self, target: Target, result: Result, now: float) -> None:
        self._schedule_next(target, now)
        if result.ok is None:
            self.own_faults += 1
            self._complain(target, result.reason, now)
        else:
            self.probes[result.ok] += 1
            self._judge.probed(target.path, target.began_at, result.ok, result.reason, now, self._wall())

    def _complain(self, target: Target, reason: str, now: float) -> None:
        if now < self._quiet_until:
            return
        self._quiet_until = now + QUIET_SECONDS
        log.warn(
            "[nodes {config}] {node} could not be probed, a fault of this machine that counts against no node: {reason}; "
            "{total} so far",
            config="/".join(target.path[:2]),
            node=target.path[2],
            reason=reason,
            total=self.own_faults,
        )
