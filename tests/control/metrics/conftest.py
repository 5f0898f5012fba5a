"""A balancer in memory, and the figures of it."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from nodebalancer.control.events import Events
from nodebalancer.control.metrics.collector import Figures
from nodebalancer.control.metrics.lag import Lag
from nodebalancer.control.metrics.sources import Sources
from nodebalancer.model import Protocol
from nodebalancer.testing.balancers import MemoryBalancer

EXPIRIES = [(("www", "secure"), "www.pem", 1.9e9), (("www", "secure"), "www.pem", 1.8e9)]


class Figured:
    """A balancer and its figures."""

    def __init__(self, protocol: Protocol, nodes: int) -> None:
        self.clock = Clock()
        self.lb = MemoryBalancer(protocol, nodes)
        self.sources = Sources(self.lb.listeners, Events(self.clock), lambda: EXPIRIES, "memory", lambda: 7)
        self.lag = Lag(self.clock, self.clock.seconds)
        self.figures = Figures(self.sources, self.lag)

    def read(self) -> dict[str, float]:
        """Every series and its value, as Prometheus would understand the text."""
        text = generate_latest(self.figures).decode()
        return {
            f"{sample.name}{sample.labels or ''}": sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@pytest.fixture
def figured() -> Figured:
    """An http config with two nodes."""
    return Figured(Protocol.HTTP, 2)


@pytest.fixture
def figured_with() -> Any:
    """The same with another protocol or number of nodes."""
    return Figured
