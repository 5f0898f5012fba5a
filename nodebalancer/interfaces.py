"""The seams between rooms that are not an engine's: who follows the settings, and who hears what becomes of nodes.

``transport.engine`` has the seam towards the network.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from nodebalancer.balancing.health import StatusChange
from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.model import Settings


class IFollower(Protocol):
    """A part that does what the settings say, and changes with them.

    For each set of wanted settings ``ControlPlane.want`` calls ``examine``; if nobody has a problem, ``prepare`` of
    one follower after the other; then ``commit`` of all, or ``abandon`` of those that were asked to prepare as soon as
    one of them fails. Arguments are picklable and the answers are Deferreds, so that a follower can live in another
    process; today they have fired when they are returned.
    """

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Everything that would keep ``wanted`` from being prepared and that can be seen without opening a socket.

        Reads files, loads certificates, compiles patterns, and changes nothing: all that ``--check`` runs.
        """

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Get everything that can fail, so that ``commit`` cannot: bind sockets, above all.

        ``changes`` lead from what was last committed to ``wanted``. What runs goes on undisturbed. Answers the problems;
        none: ready to commit. After problems ``abandon`` is called.
        """

    def commit(self) -> Deferred[None]:
        """Do what was prepared. Cannot fail."""

    def abandon(self) -> Deferred[None]:
        """Give back what was prepared; nothing has changed."""


class IStatusSink(Protocol):
    """Hears of every change of a node's status: once, and in the order in which they happen."""

    def status_changed(self, change: StatusChange) -> None:
        """A node is UP, DOWN or Unknown, and was not before.

        Called in the middle of whatever showed it, a connection or a probe: it must not raise, and puts off what takes
        longer than handing on a line.
        """
