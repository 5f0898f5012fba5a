"""Who is up: results of probes and of live connections, judged.

Rules:

* Status lies in the pool; what it rests on lies here. Nobody else sets it.
* The first probe ever decides at once. After that ``check_attempts`` failed ones in a row take a node out, and
  ``check_rise`` good ones bring it back.
* ``passive_attempts`` failed live connections in a row take a node out too. Verdicts from responses and time-outs leave
  enough nodes in; see ``Health.failed``. Connect failures take out any number. Only probes bring back where there are.
* Without probes (``check = none``) a node is Unknown until a connection succeeded. One that was taken out is Unknown
  again after a second, on trial: it is picked, and its next connection decides. A failure takes it out for twice as
  long, up to ``passive_retry``.
* What began before a change says nothing about the time after it: no probe lifts a verdict that came while it ran, and
  no connection from before an outage counts after it.
* Faults of this machine do not come here: they are outcomes that are not in ``VERDICTS``, and probes that nobody tells of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import attrs

from nodebalancer.balancing.member import Member, Status
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Pool
from nodebalancer.model import Check, Mode, PortConfig

VERDICTS: Final = frozenset({Outcome.CONNECT_FAILED, Outcome.TIMED_OUT, Outcome.SERVER_ERROR})
"""How a live connection ends when the node has failed (R18); every other outcome says nothing against it."""

FIRST_PAUSE: Final = 1.0
"""Seconds until a node without probes is tried again for the first time."""


@attrs.frozen
class StatusChange:
    """A node's status has changed: one log line, one event, one counter.

    Attributes:
        config: ``www/secure``.
        node: Its name.
        old: What it was.
        new: What it is.
        reason: For people: ``3 probes in a row failed: HTTP 503``.
        at: Seconds since the epoch.
        number: Changes of this node so far, this one included; many mean that it flaps.
    """

    config: str
    node: str
    old: Status
    new: Status
    reason: str
    at: float
    number: int


class Record:
    """What a node's status rests on.

    Attributes:
        probes: Good probes in a row; failed ones: negative. Since the last change, as is ``failures``.
        failures: Failed live connections in a row.
        changed_at: When the status changed last, monotonic.
        accused_at: When live connections took the node out last, monotonic.
        pause: Seconds it was left out before its last trial, or is now; 0: no trial has been needed since it was up.
    """

    __slots__ = ("accused_at", "changed_at", "failures", "pause", "probes")

    def __init__(self) -> None:
        self.probes = 0
        self.failures = 0
        self.changed_at = float("-inf")
        self.accused_at = float("-inf")
        self.pause = 0.0


class Health:
    """Judges the nodes of one config.

    Times are ``now``, monotonic seconds, which never go back, and ``at``, seconds since the epoch, for people.

    Attributes:
        on_trial: Members whose next good connection matters. Whoever has a good one asks
            ``if health.on_trial and member in health.on_trial`` and calls ``served``. Empty when all is well,
            but for nodes without probes that no client has come to yet.
    """

    __slots__ = ("_config", "_down", "_lost", "_path", "_pool", "_records", "_retries", "_tell", "_wanted", "on_trial")

    def __init__(self, path: str, pool: Pool, tell: Callable[[StatusChange], None]) -> None:
        self.on_trial: set[Member] = set()
        self._path = path
        self._pool = pool
        self._tell = tell
        self._config = PortConfig("")
        self._records: dict[Member, Record] = {}
        # Members whose address is not known.
        self._lost: set[Member] = set()
        # When members without probes are let in again.
        self._retries: dict[Member, float] = {}
        # Nodes by mode: all, and those that are out.
        self._wanted: Counter[Mode] = Counter()
        self._down: Counter[Mode] = Counter()

    @property
    def next_due(self) -> float | None:
        """When ``due`` has something to do next; None: not as things are."""
        return min(self._retries.values(), default=None)

    def update(self, config: PortConfig, now: float) -> None:
        """Judge by these rules from now on, and the members that the pool has now. What is known of them stays."""
        self._config = config
        members = list(self._pool.members.values())
        self._records = {member: self._records.get(member) or Record() for member in members}
        self._lost &= set(members)
        self._wanted = Counter(member.node.mode for member in members)
        self._down = Counter(member.node.mode for member in members if member.status is Status.DOWN)
        retries, self._retries = self._retries, {}
        for member, record in self._records.items():
            if config.check is not Check.NONE:
                record.pause = 0.0
            elif member in retries:
                self._retries[member] = min(retries[member], now + config.passive_retry)
            elif member.status is Status.DOWN and member not in self._lost:
                self._leave_out(member, record, now)
        self.on_trial = {member for member in members if self._is_on_trial(member)}

    def probed(self, member: Member, began_at: float, ok: bool, reason: str, now: float, at: float) -> None:
        """A probe has ended, and not for a fault of this machine.

        Args:
            member: Whose; ignored when it has left the pool meanwhile.
            began_at: When the probe began, monotonic.
            ok: Whether it was good.
            reason: Why not, as a phrase: ``HTTP 503``, ``connection refused``, ``name not resolved``; may be empty.
            now: Monotonic seconds.
            at: Seconds since the epoch.
        """
        record = self._records.get(member)
        config = self._config
        if record is None or began_at <= record.accused_at or config.check is Check.NONE or member in self._lost:
            return
        row = record.probes = max(record.probes, 0) + 1 if ok else min(record.probes, 0) - 1
        goal = Status.UP if ok else Status.DOWN
        if member.status is goal:
            return
        needed = config.check_rise if ok else config.check_attempts
        if abs(row) >= needed or member.status is Status.UNKNOWN:
            self._change(member, goal, _in_a_row(abs(row), "probe", "passed" if ok else "failed", reason), now, at)

    def served(self, member: Member, began_at: float, now: float, at: float) -> None:
        """A live connection was good: over tcp the node took it, over http it sent a response head that is no verdict.

        Args:
            member: Whose; need only be told of while it is ``on_trial``.
            began_at: When it was picked, monotonic.
            now: Monotonic seconds.
            at: Seconds since the epoch.
        """
        record = self._records.get(member)
        if record is None or began_at < record.changed_at:
            return
        record.failures = 0
        if self._config.check is Check.NONE and member.status is Status.UNKNOWN:
            self._change(member, Status.UP, "a connection succeeded", now, at)
        self.on_trial.discard(member)

    def failed(self, member: Member, outcome: Outcome, reason: str, began_at: float, now: float, at: float) -> None:
        """A live connection was not good.

        A connect failure takes the node out whatever becomes of the others. Other verdicts do only while no more than
        ``passive_max_out`` percent of the nodes of its mode, rounded down, are out then for whatever reason: what is
        wrong with all nodes is rarely the nodes' fault, and a node that answers 500 is better than none.

        Args:
            member: Whose.
            outcome: How its pick ended; any but those in ``VERDICTS`` change nothing.
            reason: Why, as a phrase: ``connection refused``, ``HTTP 502``.
            began_at: When it was picked, monotonic.
            now: Monotonic seconds.
            at: Seconds since the epoch.
        """
        record = self._records.get(member)
        config = self._config
        if outcome not in VERDICTS or not config.check_passive or record is None:
            return
        if began_at < record.changed_at or member.status is Status.DOWN:
            return
        record.failures += 1
        self.on_trial.add(member)
        if record.failures < (1 if record.pause else config.passive_attempts):
            return
        mode = member.node.mode
        allowed = self._wanted[mode] * config.passive_max_out // 100
        if outcome is Outcome.CONNECT_FAILED or self._down[mode] < allowed:
            record.accused_at = now
            # A node that says 500 was reached: then it is no connection that failed.
            what = "request" if outcome is Outcome.SERVER_ERROR else "connection"
            self._change(member, Status.DOWN, _in_a_row(record.failures, what, "failed", reason), now, at)

    def located(self, member: Member, known: bool, reason: str, now: float, at: float) -> None:
        """It is known where the node is, or not (any more): a node without an address is DOWN whatever else is known of it.

        Args:
            member: Whose name was asked for.
            known: Whether there is an address.
            reason: Why not: ``name not resolved``.
            now: Monotonic seconds.
            at: Seconds since the epoch.
        """
        if member not in self._records:
            return
        if not known:
            self._lost.add(member)
            self._change(member, Status.DOWN, reason, now, at)
            self._retries.pop(member, None)
            member.reason = reason
        elif member in self._lost:
            self._lost.discard(member)
            self._change(member, Status.UNKNOWN, "name resolved", now, at)
            member.awaited = self._config.check is not Check.NONE

    def due(self, now: float, at: float) -> None:
        """Let nodes in again whose time has come; called when ``next_due`` is over, or once a second."""
        for member in [member for member, when in self._retries.items() if when <= now]:
            self._change(member, Status.UNKNOWN, f"tried again after {self._records[member].pause:g} s", now, at)

    def _change(self, member: Member, new: Status, reason: str, now: float, at: float) -> None:
        record = self._records[member]
        old = member.status
        if not self._pool.set_status(member, new, reason, at):
            return
        self._down[member.node.mode] += (new is Status.DOWN) - (old is Status.DOWN)
        record.probes = record.failures = 0
        record.changed_at = now
        self._retries.pop(member, None)
        if new is Status.UP:
            record.pause = 0.0
        elif new is Status.DOWN and self._config.check is Check.NONE:
            self._leave_out(member, record, now)
        (self.on_trial.add if self._is_on_trial(member) else self.on_trial.discard)(member)
        self._tell(StatusChange(self._path, member.node.name, old, new, reason, at, member.flaps))

    def _leave_out(self, member: Member, record: Record, now: float) -> None:
        record.pause = min(record.pause * 2 or FIRST_PAUSE, self._config.passive_retry)
        self._retries[member] = now + record.pause

    def _is_on_trial(self, member: Member) -> bool:
        waits = self._config.check is Check.NONE and member.status is Status.UNKNOWN
        return waits or self._records[member].failures > 0


def _in_a_row(count: int, what: str, happened: str, reason: str) -> str:
    told = f"a {what} {happened}" if count == 1 else f"{count} {what}s in a row {happened}"
    return f"{told}: {reason}" if reason else told
