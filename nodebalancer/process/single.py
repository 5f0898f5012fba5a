"""Everything in one process, as one tree of services.

twistd calls ``makeService``, forks, calls ``privilegedStartService``, drops privileges and calls ``startService``. Nothing here
has a descriptor or a thread before ``privilegedStartService``: that is where the first settings are followed, which is a
reload from nothing.
"""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodebalancer.balancing.member import Status
from nodebalancer.certificates.follower import Certificates
from nodebalancer.control.change_lines import counted
from nodebalancer.control.cookie_key import CookieKey
from nodebalancer.control.editor import Editor
from nodebalancer.control.error_pages import ErrorPages
from nodebalancer.control.events import Events
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.manhole.follower import Manhole
from nodebalancer.control.manhole.verbs import Subject
from nodebalancer.control.manhole.why import UnservedRing
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.reload import Reloader
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.fields import Address
from nodebalancer.health.monitor import Monitor
from nodebalancer.health.names import Names, is_this_machine
from nodebalancer.model import Settings
from nodebalancer.process.launch import Launch
from nodebalancer.process.limits import needs, raise_descriptors, shortage
from nodebalancer.process.rights import lost
from nodebalancer.process.signals import Signals
from nodebalancer.process.systemd.inherited import Inherited
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.transport.engine import Engine
from nodebalancer.transport.engine_reactor import ReactorEngine

log = Logger()

ENGINES = ("auto", "epoll", "reactor")
"""What ``--engine`` may be; ``auto`` is epoll where the system has it, else reactor."""

NOTHING_PASSED: Mapping[str, str] = MappingProxyType({})
"""An environment that names no sockets."""

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


class Parts:
    """The parts that follow the settings; nothing is followed yet.

    Args:
        reactor: The one reactor of the process.
        engine: One of ``ENGINES``.
        file: Where the settings stand; None: they came from nowhere and are not changed.
        last_good: Keeps what runs.
        environ: Names sockets that were passed to us.

    Attributes:
        plane: The one door to change or ask anything.
        reloader: Brings in what the file says; ``editor``: changes what runs and the file; None without a file.
        inherited: Sockets that were passed to us.
        listeners: The data plane; ``certificates``: what it speaks TLS with.
        names: Where nodes are that go by a name; ``monitor``: their probes; ``events``: what became of them.
        manhole: The shell.
    """

    reloader: Reloader | None = None
    editor: Editor | None = None

    def __init__(
        self,
        reactor: Any,
        engine: str,
        file: SettingsFile | None = None,
        last_good: LastGood | None = None,
        environ: Mapping[str, str] = NOTHING_PASSED,
    ) -> None:
        made = engine_maker(engine)(reactor)
        self.inherited = Inherited(made, environ)
        self.events = Events(reactor)
        self.certificates = Certificates(reactor)
        cookies = CookieKey()
        pages = ErrorPages()
        unserved = UnservedRing()
        self.listeners = Listeners(
            made,
            listen=self.inherited.listen,
            tell=self.events.status_changed,
            unserved=unserved.note,
            tls_for=self.certificates.tls_for,
            cookie_key=lambda: cookies.key,
            pages_for=pages.pages_for,
        )
        self.names = Names(made, reactor, self.listeners, is_this_machine)
        self.monitor = Monitor(made, reactor, self.names, self.listeners)
        subject = Subject(self.listeners, self.events, unserved, reactor, {"parts": self})
        self.manhole = Manhole(reactor, subject)
        # What listeners need comes before them, and who reports to them after.
        self.plane = ControlPlane(
            (self.certificates, cookies, pages, self.listeners, self.names, self.monitor, self.manhole)
        )

        if file is not None:
            last_good = last_good or LastGood()
            self.reloader = Reloader(file, self.plane, last_good, warnings=lambda: self.certificates.warnings)
            self.editor = Editor(file, self.plane, last_good)
            subject.editor, subject.reloader = self.editor, self.reloader

    def start(self) -> None:
        """Begin what needs a running reactor."""
        self.certificates.start()

    def stop(self) -> None:
        """Change nothing, probe, resolve and look at files no more."""
        self.plane.stop()
        self.manhole.stop()
        self.monitor.stop()
        self.names.stop()
        self.certificates.stop()


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
        environ: Names sockets that were passed to us.

    Attributes:
        parts: From ``privilegedStartService`` on: they open descriptors, and twistd forks before.
    """

    parts: Parts

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
        environ: Mapping[str, str] = NOTHING_PASSED,
    ) -> None:
        self._reactor = reactor
        self._engine = engine
        self._wanted = wanted
        self._launch = launch
        self._placed = placed
        self._file = file
        self._last_good = last_good or LastGood()
        self._busy = busy
        self._environ = environ
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
        self.parts = Parts(self._reactor, self._engine, self._file, self._last_good, self._environ)
        problems: tuple[Problem, ...] = ()
        for settings in self._wanted:
            for problem in problems:
                self._launch.warn(str(problem))
            self._make_room(settings)
            problems = tuple(map(self._placed, self._follow(settings)))
            if not problems:
                for warning in self.parts.certificates.warnings:
                    self._launch.warn(str(self._placed(warning)))
                self.parts.inherited.close_unused(self._addresses())
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
                "listening on {address} for [config {path}], {nodes}",
                address=str(address),
                path=live.path,
                nodes=counted(len(live.wanted.nodes), "node"),
            )

    def stopService(self) -> Deferred[None]:
        """Listen no more; fires when all connections have ended, after ``grace_period`` by a reset."""
        super().stopService()
        if not hasattr(self, "parts"):
            return succeed(None)
        self.parts.stop()
        grace = self.plane.current.service.grace_period
        log.info(
            "not listening any more; open connections: {count}, they have {grace} seconds to end",
            count=self.listeners.open_connections,
            grace=grace,
        )
        return self.listeners.stop(grace)

    def reload(self, asked_by: str) -> None:
        """Reload, if there is a file; how it ends is in the log."""
        if self.parts.reloader is None:
            log.info("{asked_by}: there is no file to reload", asked_by=asked_by)
        else:
            self.parts.reloader.request(asked_by)

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
        self._last_good.keep(self.plane.current, text)

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
