"""The follower that has the listener for metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from nodebalancer.changes import Change
from nodebalancer.control.metrics.lag import Lag
from nodebalancer.control.metrics.sources import Sources
from nodebalancer.control.port import Port
from nodebalancer.errors import Problem
from nodebalancer.fields import Address
from nodebalancer.model import Settings

if TYPE_CHECKING:
    from nodebalancer.control.metrics.endpoint import Endpoint


class Metrics:
    """Follows the settings with ``/metrics`` and ``/health``.

    Args:
        reactor: Where it listens, by ``listenTCP``, and its time.
        sources: What figures are read from; its reloader may come later, before somebody asks.
    """

    def __init__(self, reactor: Any, sources: Sources) -> None:
        self._reactor = reactor
        self._sources = sources
        self._port = Port(reactor, "metrics", "the door to metrics")
        self._lag = Lag(reactor)
        self._endpoint: Endpoint | None = None

    @property
    def address(self) -> Address | None:
        """Where it listens; None: nowhere."""
        return self._port.address

    # IFollower

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Nothing here can be wrong that the settings do not tell by themselves."""
        return succeed(())

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Bind; nobody is let in by a new listener before ``commit``."""
        if wanted.metrics is None:
            return succeed(self._port.prepare(None, None))
        return succeed(self._port.prepare(wanted.metrics.listen, self._made()))

    def commit(self) -> Deferred[None]:
        """Let in who asks, where it is wanted; answers under way come to their end."""
        self._port.commit()
        if self.address is None:
            self._lag.stop()
        else:
            self._lag.start()
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        """Close what was bound."""
        self._port.abandon()
        return succeed(None)

    def drain(self) -> None:
        """From now on ``/health`` says that we stop; all else goes on, so that the stop can be watched."""
        if self._endpoint is not None:
            self._endpoint.stopping = True

    def stop(self) -> None:
        """Listen no more, and send everybody away."""
        self._port.stop()
        self._lag.stop()
        if self._endpoint is not None:
            self._endpoint.close()

    def _made(self) -> Endpoint:
        if self._endpoint is None:
            # What makes the text takes memory and a while to import, and most who try us have no use for it.
            from nodebalancer.control.metrics.collector import Figures
            from nodebalancer.control.metrics.endpoint import Endpoint
            from nodebalancer.control.metrics.rendering import Renderer

            renderer = Renderer(self._reactor, Figures(self._sources, self._lag).pieces)
            self._endpoint = Endpoint(self._reactor, renderer)
        return self._endpoint
