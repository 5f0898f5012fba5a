"""What figures are read from: rooms that we do not know, handed in by ``process``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import attrs

from nodebalancer.balancing.counters import ConfigCounters
from nodebalancer.balancing.pool import Pool
from nodebalancer.balancing.throttle import ClientCounts, Throttle
from nodebalancer.control.events import Events
from nodebalancer.control.reload import Reloader
from nodebalancer.model import PortConfig

Expiries = Callable[[], Iterable[tuple[tuple[str, str], str, float]]]
"""Of every certificate that serves: its NodeBalancer and config, its file, when it expires in seconds since the epoch."""


class IGate(Protocol):
    """What stands before a NodeBalancer."""

    open: int
    limit: int
    throttle: Throttle
    counts: ClientCounts
    firewalled: int
    pushed_out: int
    times_full: int


class ILiveConfig(Protocol):
    """A config as it runs."""

    wanted: PortConfig
    pool: Pool
    counters: ConfigCounters


class IDataPlane(Protocol):
    """Everything that carries traffic."""

    @property
    def configs(self) -> Mapping[tuple[str, str], ILiveConfig]:
        """Every config at work, by NodeBalancer's and config's name."""

    @property
    def gates(self) -> Mapping[str, IGate]:
        """Each NodeBalancer's, by name."""


def none_lost() -> int:
    """Of a log that is not written no line is lost."""
    return 0


@attrs.define(eq=False)
class Sources:
    """All that figures are read from.

    Attributes:
        data: Carries the traffic.
        events: What has become of nodes.
        expiries: When certificates expire.
        engine: What moves the bytes, in a word.
        lost: Lines of the access log that could not be written.
        reloader: Brings in what the file says; None: there is no file. It comes later than the followers that it needs.
    """

    data: IDataPlane
    events: Events
    expiries: Expiries
    engine: str
    lost: Callable[[], int] = none_lost
    reloader: Reloader | None = None
