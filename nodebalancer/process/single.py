"""Everything in one process, as one tree of services.

twistd calls ``makeService``, forks, calls ``privilegedStartService``, drops privileges and calls ``startService``. Nothing here
has a descriptor or a thread before ``privilegedStartService``: that is where the first settings are followed, which is a
reload from nothing.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodebalancer.accesslog.file import Owner
from nodebalancer.balancing.member import Status
from nodebalancer.control.change_lines import counted
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.reload import Reloader
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.fields import Address
from nodebalancer.interfaces import IFollower
from nodebalancer.model import Service as ServiceSettings
from nodebalancer.model import Settings
from nodebalancer.process.launch import Launch
from nodebalancer.process.limits import needs, raise_descriptors, shortage
from nodebalancer.process.parts import NOTHING_PASSED, Parts
from nodebalancer.process.rights import give_listening, lost
from nodebalancer.process.signals import Signals
from nodebalancer.process.systemd.inherited import Passed
from nodebalancer.proxy.listeners import Listeners

log = Logger()

COLLECTOR_THRESHOLDS = (50_000, 20, 20)
"""Objects and generations between two runs of the garbage collector. Python's own 700 would have it look through every
connection several times a second, and connections form no cycles that it could find."""


class Balancer(Service):
    """Carries the traffic: from before privileges are dropped until the last connection has ended.

    Args:
        reactor: The one reactor of the process.
        engine: One of ``ENGINES``.
        wanted: Settings to try one after the other until some can be followed.
        launch: Hears why we cannot start.
        placed: Says where in the file a problem is.
        file: Where the settings stand, for reloads.
        last_good: Keeps what runs.
        busy: Told True as a reload begins and False when it has ended.
        passed: Sockets that were passed to us.
        followers: More that follow the settings.
        owner: Who gets log files that root makes: user and group.

    Attributes:
        parts: From ``privilegedStartService`` on: they open descriptors, and twistd forks before.
    """

    parts: Parts
    _delay: Deferred[None] | None = None

    def __init__(
        self,
        reactor: Any,
        engine: str,
        wanted: Iterable[Settings],
        launch: Launch,
        placed: Callable[[Problem], Problem] = lambda problem: problem,
        *,
        file: SettingsFile | None = None,
        last_good: LastGood | None = None,
        busy: Callable[[bool], None] = lambda busy: None,
        passed: Passed = NOTHING_PASSED,
        followers: Iterable[IFollower] = (),
        owner: Owner = (None, None),
    ) -> None:
        self._reactor = reactor
        self._engine = engine
        self._wanted = wanted
        self._launch = launch
        self._placed = placed
        self._file = file
        self._last_good = last_good or LastGood()
        self._busy = busy
        self._passed = passed
        self._followers = followers
        self._owner = owner
        self._user = os.geteuid()
        self._short: str | None = None

    @property
    def plane(self) -> ControlPlane:
        """The one door to change or ask anything."""
        return self.parts.plane

    @property
    def listeners(self) -> Listeners:
        """The data plane."""
        return self.parts.listeners

    def privilegedStartService(self) -> None:
        """Listen on everything that is wanted, while we have the right to.

        Raises:
            SystemExit: It cannot be done, and the operator was told why; ends the process.
        """
        super().privilegedStartService()
        self.parts = Parts(
            self._reactor,
            self._engine,
            self._file,
            self._last_good,
            self._passed,
            self._followers,
            self._owner,
        )
        problems: tuple[Problem, ...] = ()
        for settings in self._wanted:
            for problem in problems:
                self._launch.warn(str(problem))
            self._make_room(settings)
            problems = tuple(map(self._placed, self._follow(settings)))
            if not problems:
                for warning in self.parts.certificates.take_warnings():
                    self._launch.warn(str(self._placed(warning)))
                self.parts.inherited.close_unused(self._addresses())
                give_listening(*self._owner)
                return
        self._launch.failed(problems)

    def startService(self) -> None:
        """Say where we listen, and what we have lost with root's rights."""
        super().startService()
        self.parts.start()
        if self._file is not None and self.parts.reloader is not None:
            self._ready_to_reload(self._file, self.parts.reloader)
        for address, live in self.listeners.listening():
            log.info(
                "listening on {address} for [config {config}], {nodes}",
                address=str(address),
                config=live.path,
                nodes=counted(len(live.wanted.nodes), "node"),
            )

    def stopService(self) -> Deferred[None]:
        """Listen no more, after ``shutdown_delay``; fires when all connections have ended, after ``grace_period`` by a reset."""
        super().stopService()
        if not hasattr(self, "parts"):
            return succeed(None)
        self.parts.drain()
        return Deferred.fromCoroutine(self._stop(self.plane.current.service))

    async def _stop(self, service: ServiceSettings) -> None:
        if service.shutdown_delay:
            log.info("going on for {delay} seconds, in which /health says 503", delay=service.shutdown_delay)
            self._delay = deferLater(self._reactor, service.shutdown_delay)
            with contextlib.suppress(CancelledError):
                await self._delay
        self.parts.stop()
        stopped = self.listeners.stop(service.grace_period)
        log.info(
            "not listening any more; open connections: {count}, they have {grace} seconds to end",
            count=self.listeners.open_connections,
            grace=service.grace_period,
        )
        await stopped
        self.parts.close()

    def reload(self, asked_by: str) -> None:
        """Reload, if there is a file; how it ends is in the log."""
        if self.parts.reloader is None:
            log.info("{asked_by}: there is no file to reload", asked_by=asked_by)
        else:
            self.parts.reloader.request(asked_by)

    def reopen(self) -> None:
        """Open logs anew that were moved away."""
        if hasattr(self, "parts"):
            self.parts.access_log.reopen()

    def status(self) -> str:
        """How we are: ``3 configs, 7 nodes up, 1 down``."""
        if not self.running:
            return f"stopping, {counted(self.listeners.open_connections, 'connection')} open"
        configs = self.listeners.configs.values()
        counts = Counter(member.shown for live in configs for member in live.pool.members.values())
        unknown = f", {counts[Status.UNKNOWN]} unknown" if counts[Status.UNKNOWN] else ""
        up = counted(counts[Status.UP], "node")
        return f"{counted(len(configs), 'config')}, {up} up, {counts[Status.DOWN]} down{unknown}"

    def end_now(self) -> None:
        """Reset what is left of the connections; ``stopService`` was called before."""
        if self._delay is not None:
            self._delay.cancel()
        self.listeners.stop(0)

    def _ready_to_reload(self, file: SettingsFile, reloader: Reloader) -> None:
        """Keep what runs, and tell what a reload will not be able to do as the user that we are now."""
        if os.geteuid() != self._user:
            for sentence in lost(self.plane.current, file.path):
                self._launch.warn(sentence)
        reloader.busy = self._reloading
        # Whether we run what was asked for: with --or-last-good perhaps not.
        reloader.succeeded = not reloader.differs()
        try:
            text = file.text()
        except SettingsError:
            text = ""
        self._last_good.keep(self.plane.current, file, text)

    def _reloading(self, busy: bool) -> None:
        if not busy:
            self._make_room(self.plane.current)
            self.parts.inherited.tell_left(self._addresses())
        self._busy(busy)

    def _addresses(self) -> list[Address]:
        return [address for address, _ in self.listeners.listening()]

    def _make_room(self, settings: Settings) -> None:
        needed = needs(settings)
        warning = shortage(needed, raise_descriptors(needed.descriptors))
        if warning and warning != self._short:
            self._launch.warn(warning)
        self._short = warning

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
