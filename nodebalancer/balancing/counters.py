"""What has happened, in plain ints: written on the hot path, read by whoever asks.

A duration is counted by one look into a list: ``counts[int(seconds * PER_SECOND).bit_length()] += 1``. So the first of
its buckets is for less than half a millisecond, and each that follows for less than twice as much as the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from nodebalancer.balancing.outcome import no_outcomes

PER_SECOND: Final = 2000
"""Durations are counted in half milliseconds."""

BUCKETS: Final = 48
"""The last is for all beyond two thousand years: no duration is out of its list."""

BUCKETS_TOLD: Final = 19
"""Those that are told one by one, to 131 seconds; the rest is told together."""


class Durations:
    """How long something took, each time.

    Attributes:
        counts: How often, by bucket.
        seconds: All of it together.
    """

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """It took so long; 0 or more."""
        self.counts[int(seconds * PER_SECOND).bit_length()] += 1
        self.seconds += seconds

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Upper bounds in seconds, and how often it took less: the buckets of Prometheus. The last bound is infinite."""
        counts = self.counts
        below = accumulate(counts[:BUCKETS_TOLD])
        yield from ((2**bucket / PER_SECOND, count) for bucket, count in enumerate(below))
        yield float("inf"), sum(counts)


class ConfigCounters:
    """The connections of one config, from its first to now.

    Attributes:
        open: Client connections open now.
        total: Client connections ever opened; ``open`` plus the sum of ``outcomes``.
        bytes_in: Bytes received from clients whose connections have ended.
        bytes_out: Bytes handed to them.
        outcomes: Ended connections, by ``Outcome``.
        responses: Ended connections, by the first digit of the status that the client got: ours, or the node's; 0: none,
            as in tcp.
        lasted: From accept to end, of each that has ended.
        refused_by_rule: Refused requests, by the rule they broke (``MessageError.rule``: a closed set, no client's text).
    """

    __slots__ = ("bytes_in", "bytes_out", "lasted", "open", "outcomes", "refused_by_rule", "responses", "total")

    def __init__(self) -> None:
        self.open = 0
        self.total = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.outcomes = no_outcomes()
        self.responses = [0] * 10
        self.lasted = Durations()
        self.refused_by_rule: dict[str, int] = {}


class NodeCounters:
    """The picks of one node. A connection may pick several nodes, so their sum can exceed the config's connections.

    Attributes:
        open: Picks not released yet.
        picks: Picks ever.
        outcomes: Releases, by ``Outcome``.
        responses: Its responses, by the first digit of their status (http only); a response whose head was refused is none.
        bytes_in: Bytes received for it from clients whose connections ended with it. ``bytes_out``: handed to them.
        connecting: From dial to connection, of each that was made.
        answering: From connection to the response's head (http only), with the time that the client took to upload.
        flaps: Changes of status; many mean that the node flaps.
    """

    __slots__ = ("answering", "bytes_in", "bytes_out", "connecting", "flaps", "open", "outcomes", "picks", "responses")

    def __init__(self) -> None:
        self.open = 0
        self.picks = 0
        self.outcomes = no_outcomes()
        self.responses = [0] * 10
        self.bytes_in = 0
        self.bytes_out = 0
        self.connecting = Durations()
        self.answering = Durations()
        self.flaps = 0

    @property
    def releases(self) -> int:
        """Picks given back."""
        return self.picks - self.open
