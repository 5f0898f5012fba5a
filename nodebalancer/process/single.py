"""Everything in one process, as one tree of services.

twistd calls ``makeService``, forks, calls ``privilegedStartService``, drops privileges and calls ``startService``. Nothing here
has a descriptor or a thread before ``privilegedStartService``: that is where the first settings are followed, which is a
reload from nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodebalancer.control.plane import ControlPlane
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.model import Settings
from nodebalancer.process.launch import Launch
from nodebalancer.process.limits import needs, raise_descriptors, shortage
from nodebalancer.process.signals import Signals
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.transport.engine import Engine
from nodebalancer.transport.engine_reactor import ReactorEngine

log = Logger()

ENGINES = ("auto", "epoll", "reactor")
"""What ``--engine`` may be; ``auto`` is epoll where the system has it, else reactor."""

COLLECTOR_THRESHOLDS = (50_000, 20, 20)
"""Objects and generations between two runs of the garbage collector. Python's own 700 would have it look through every
connection several times a second, and connections form no cycles that it could find."""


def engine_maker(name: str) -> Callable[[Any], Engine]:
    """What makes the engine called ``name``, one of ``ENGINES``, from a reactor.

    Raises:
        ImportError: ``epoll`` was asked for and this system has none; caught by the command line.
    """
    if name == "reactor":
        return ReactorEngine
    try:
        from nodebalancer.transport.engine_epoll import EpollEngine
    except ImportError:
        if name == "epoll":
            raise
        return ReactorEngine
    return EpollEngine


def make_plane(reactor: Any, engine: str) -> tuple[ControlPlane, Listeners]:
    """The parts that follow the settings; nothing is followed yet. Opens descriptors, so not before twistd has forked."""
    listeners = Listeners(engine_maker(engine)(reactor))
    return ControlPlane((listeners,)), listeners


class Balancer(Service):
    """Carries the traffic: from before privileges are dropped until the last connection has ended.

    Args:
        reactor: The one reactor of the process.
        engine: One of ``ENGINES``.
        wanted: Settings to try one after the other until some can be followed; a file gives exactly one.
        launch: Hears why we cannot start.

    Attributes:
        plane: The one door to change or ask anything; from ``privilegedStartService`` on.
        listeners: From then on, too.
    """

    plane: ControlPlane
    listeners: Listeners

    def __init__(self, reactor: Any, engine: str, wanted: Iterable[Settings], launch: Launch) -> None:
        self._reactor = reactor
        self._engine = engine
        self._wanted = wanted
        self._launch = launch

    def privilegedStartService(self) -> None:
        """Listen on everything that is wanted, while we have the right to.

        Raises:
            SystemExit: It cannot be done, and the operator was told why; ends the process.
        """
        super().privilegedStartService()
        self.plane, self.listeners = make_plane(self._reactor, self._engine)
        problems: tuple[Problem, ...] = ()
        for settings in self._wanted:
            self._make_room(settings)
            problems = self._follow(settings)
            if not problems:
                return
        self._launch.failed(problems)

    def startService(self) -> None:
        """Say where we listen."""
        super().startService()
        for address, live in self.listeners.listening():
            count = len(live.wanted.nodes)
            log.info(
                "listening on {address} for [config {path}], {count} {nodes}",
                address=str(address),
                path=live.path,
                count=count,
                nodes="node" if count == 1 else "nodes",
            )

    def stopService(self) -> Deferred[None]:
        """Listen no more; fires when all connections have ended, after ``grace_period`` by a reset."""
        super().stopService()
        if not hasattr(self, "listeners"):
            return succeed(None)
        grace = self.plane.current.service.grace_period
        log.info(
            "not listening any more; open connections: {count}, they have {grace} seconds to end",
            count=self.listeners.open_connections,
            grace=grace,
        )
        return self.listeners.stop(grace)

    def end_now(self) -> None:
        """Reset what is left of the connections; ``stopService`` was called before."""
        self.listeners.stop(0)

    def _make_room(self, settings: Settings) -> None:
        needed = needs(settings)
        warning = shortage(needed, raise_descriptors(needed.descriptors))
        if warning:
            self._launch.warn(warning)

    def _follow(self, settings: Settings) -> tuple[Problem, ...]:
        """Run what ``settings`` say, or the problems. In one process all followers answer at once."""
        answers: list[Any] = []
        self.plane.want(settings).addBoth(answers.append)
        [answer] = answers
        if isinstance(answer, Failure):
            if not isinstance(answer.value, SettingsError):
                answer.raiseException()
            return answer.value.problems
        return ()


class ProcessWide(Service):
    """What there is once in a process: signal handlers, the garbage collector, the terminal we were launched from.

    The first of the tree's services, so that a signal that comes as soon as we listen is ours already.
    """

    def __init__(self, reactor: Any, signals: Signals, launch: Launch) -> None:
        self._reactor = reactor
        self._signals = signals
        self._launch = launch

    def privilegedStartService(self) -> None:
        """From here on a signal stops us in good order."""
        super().privilegedStartService()
        self._signals.install()

    def startService(self) -> None:
        """Once all services have started, what is in memory stays, and the terminal is not needed any more."""
        super().startService()
        self._reactor.callWhenRunning(settle_collector)
        self._reactor.callWhenRunning(self._launch.started)


def settle_collector() -> None:
    """Take all that start-up made out of the garbage collector's sight, and let it run rarely."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
