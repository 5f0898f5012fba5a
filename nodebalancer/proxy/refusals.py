"""Requests that are refused, explained to the operator: which rule, who, and what it was.

Anybody can send garbage as fast as the network carries it, so each rule has its lines a second; the rest is counted, and the
count is told when the second is over.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from twisted.logger import Logger

from nodebalancer.errors import MessageError
from nodebalancer.transport.engine import Engine
from nodebalancer.wire.http1.lines import escaped

log = Logger()

LINES_A_SECOND: Final = 10
"""For each rule."""

SAID_BYTES: Final = 100
"""How much of a refused request is repeated."""


class Refusals:
    """Counts the refused requests of one config, and tells of them.

    Args:
        path: The config, for the lines.
        engine: Has the seconds.
        by_rule: ``ConfigCounters.refused_by_rule``.
    """

    __slots__ = ("_by_rule", "_engine", "_path", "_seconds")

    def __init__(self, path: str, engine: Engine, by_rule: dict[str, int]) -> None:
        self._path = path
        self._engine = engine
        self._by_rule = by_rule
        self._seconds: dict[str, list[float]] = {}  # by rule: when its second began, how many came in it

    def note(self, client: str, error: MessageError, said: bytes) -> None:
        """A request of ``client``, which began with ``said``, was refused for ``error``."""
        rule = error.rule
        self._by_rule[rule] = self._by_rule.get(rule, 0) + 1
        second = self._seconds.get(rule)
        now = self._engine.now
        if second is None or (second[1] <= LINES_A_SECOND and now - second[0] >= 1):
            second = self._seconds[rule] = [now, 0]
        second[1] += 1
        if second[1] <= LINES_A_SECOND:
            more = "…" if len(said) > SAID_BYTES else ""
            log.info(
                '[config {config}] refused a request from {client} with {status}: {rule}; it began "{said}"{more}',
                config=self._path,
                client=client,
                status=error.status,
                rule=rule,
                said=escaped(said[:SAID_BYTES]),
                more=more,
            )
        elif second[1] == LINES_A_SECOND + 1:
            self._engine.deadline(1, partial(self._tell_rest, rule))

    def _tell_rest(self, rule: str) -> None:
        count = int(self._seconds.pop(rule)[1]) - LINES_A_SECOND
        log.info(
            "[config {config}] refused {count} more for the same reason: {rule}",
            config=self._path,
            count=count,
            rule=rule,
        )
