"""A config's nodes under observation, for tests of what becomes of their status."""

from __future__ import annotations

from typing import Any

from nodebalancer.balancing.health import Health, StatusChange
from nodebalancer.balancing.member import Member
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Pool
from nodebalancer.model import Check, Node
from nodebalancer.testing.builders import config, node

WALL = 1_700_000_000.0
"""What the wall clock says when the monotonic one says nothing."""


class Ward:
    """A config's pool and health, under a clock.

    Args:
        nodes: The config's; none: one with the name ``a``.
        keys: Its other keys; nodes are not probed when nothing is said.

    Attributes:
        now: Monotonic seconds; ``at``: the wall clock's.
        told: Changes of status so far.
    """

    def __init__(self, *nodes: Node, **keys: Any) -> None:
        self.now = 1000.0
        self.told: list[StatusChange] = []
        self.pool = Pool({})
        self.health = Health("www/web", self.pool, self.told.append)
        self.update(*(nodes or [node("a")]), **keys)

    def update(self, *nodes: Node, **keys: Any) -> None:
        """A reload."""
        self.config = config("web", *nodes, **{"check": Check.NONE, **keys})
        self.pool.update(self.config.nodes, self.config, self.at)
        self.health.update(self.config, self.now)

    def __getitem__(self, name: str) -> Member:
        return self.pool.members[name]

    @property
    def at(self) -> float:
        return WALL + self.now

    def probe(self, results: str, name: str = "a", reason: str = "HTTP 503", took: float = 0.5) -> None:
        """Probes one after the other: ``+`` for a good one, ``-`` for one that failed for ``reason``."""
        for result in results:
            began_at, self.now = self.now, self.now + took
            good = result == "+"
            self.health.probed(self[name], began_at, good, "" if good else reason, self.now, self.at)

    def fail(
        self,
        outcome: Outcome = Outcome.SERVER_ERROR,
        name: str = "a",
        reason: str = "HTTP 500",
        took: float = 0.0,
    ) -> None:
        """A live connection has failed that was picked ``took`` seconds ago."""
        self.health.failed(self[name], outcome, reason, self.now - took, self.now, self.at)

    def serve(self, name: str = "a", took: float = 0.0) -> None:
        """A live connection was good."""
        self.health.served(self[name], self.now - took, self.now, self.at)

    def locate(self, known: bool, name: str = "a") -> None:
        """It is known from now on where the node is, or not."""
        self.health.located(self[name], known, "" if known else "name not resolved", self.now, self.at)

    def wait(self, seconds: float) -> None:
        """Time passes, and what is due by then happens."""
        self.now += seconds
        self.health.due(self.now, self.at)

    def statuses(self) -> str:
        """The status of each node, in their order."""
        return " ".join(member.status.value for member in self.pool.members.values())

    def status(self, name: str) -> str:
        return self[name].status.value

    def reasons(self) -> list[str]:
        return [change.reason for change in self.told]
