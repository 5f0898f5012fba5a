"""What has happened, in plain ints: written on the hot path, read by whoever asks."""

from __future__ import annotations

from nodebalancer.balancing.outcome import no_outcomes


class ConfigCounters:
    """The connections of one config, from its first to now.

    Attributes:
        open: Client connections open now.
        total: Client connections ever opened; ``open`` plus the sum of ``outcomes``.
        bytes_in: Bytes received from clients whose connections have ended.
        bytes_out: Bytes handed to them.
        outcomes: Ended connections, by ``Outcome``.
        refused_by_rule: Refused requests, by the rule they broke (``MessageError.rule``: a closed set, no client's text).
    """

    __slots__ = ("bytes_in", "bytes_out", "open", "outcomes", "refused_by_rule", "total")

    def __init__(self) -> None:
        self.open = 0
        self.total = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.outcomes = no_outcomes()
        self.refused_by_rule: dict[str, int] = {}


class NodeCounters:
    """The picks of one node. A connection may pick several nodes, so their sum can exceed the config's connections.

    Attributes:
        open: Picks not released yet.
        picks: Picks ever.
        outcomes: Releases, by ``Outcome``.
        flaps: Changes of status; many mean that the node flaps.
    """

    __slots__ = ("flaps", "open", "outcomes", "picks")

    def __init__(self) -> None:
        self.open = 0
        self.picks = 0
        self.outcomes = no_outcomes()
        self.flaps = 0

    @property
    def releases(self) -> int:
        """Picks given back."""
        return self.picks - self.open
