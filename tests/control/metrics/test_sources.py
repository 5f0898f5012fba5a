"""What figures are read from is what the data plane has."""

from __future__ import annotations

from nodebalancer.control.metrics.sources import IDataPlane, none_lost
from nodebalancer.model import Protocol
from nodebalancer.testing.balancers import MemoryBalancer


def test_listeners_are_a_data_plane() -> None:
    data: IDataPlane = MemoryBalancer(Protocol.TCP).listeners  # as far as mypy can tell
    assert data.configs["www", "main"].counters.total == 0
    assert data.gates["www"].limit == 10_000
    assert none_lost() == 0
