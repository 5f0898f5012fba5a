"""The parts of a process: each follows the settings, and together they are all there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nodebalancer.accesslog.file import Owner
from nodebalancer.accesslog.follower import AccessLogFile, tell_losses
from nodebalancer.accesslog.writer import AccessLog
from nodebalancer.certificates.follower import Certificates
from nodebalancer.control.cookie_key import CookieKey
from nodebalancer.control.editor import Editor
from nodebalancer.control.error_pages import ErrorPages
from nodebalancer.control.events import Events
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.manhole.follower import Manhole
from nodebalancer.control.manhole.verbs import Subject
from nodebalancer.control.manhole.why import UnservedRing
from nodebalancer.control.metrics.follower import Metrics
from nodebalancer.control.metrics.sources import Sources
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.reload import Reloader
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.health.monitor import Monitor
from nodebalancer.health.names import Names, is_this_machine
from nodebalancer.interfaces import IFollower
from nodebalancer.process.systemd.inherited import Inherited, Passed
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.transport.engine import Engine
from nodebalancer.transport.engine_reactor import ReactorEngine

ENGINES = ("auto", "epoll", "reactor")
"""What ``--engine`` may be; ``auto`` is epoll where the system has it, else reactor."""

NOTHING_PASSED = Passed()
"""Nobody has sockets for us."""


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
        passed: Sockets that were passed to us.
        followers: More that follow the settings.
        owner: Who gets log files that root makes: user and group.

    Attributes:
        plane: The one door to change or ask anything.
        reloader: Brings in what the file says; ``editor``: changes what runs and the file; None without a file.
        inherited: Sockets that were passed to us.
        listeners: The data plane; ``certificates``: what it speaks TLS with.
        names: Where nodes are that go by a name; ``monitor``: their probes; ``events``: what became of them.
        manhole: The shell; ``metrics``: figures and ``/health``.
        access_log: Where requests and connections are told of.
    """

    reloader: Reloader | None = None
    editor: Editor | None = None

    def __init__(
        self,
        reactor: Any,
        engine: str,
        file: SettingsFile | None = None,
        last_good: LastGood | None = None,
        passed: Passed = NOTHING_PASSED,
        followers: Iterable[IFollower] = (),
        owner: Owner = (None, None),
    ) -> None:
        made = engine_maker(engine)(reactor)
        self.inherited = Inherited(made, passed)
        self.events = Events(reactor)
        self.certificates = Certificates(reactor)
        self.access_log = AccessLog(reactor.callFromThread, tell_losses)
        cookies = CookieKey()
        pages = ErrorPages()
        unserved = UnservedRing()
        self.listeners = Listeners(
            made,
            listen=self.inherited.listen,
            tell=self.events.status_changed,
            unserved=unserved.note,
            access_log=self.access_log,
            tls_for=self.certificates.tls_for,
            cookie_key=lambda: cookies.key,
            pages_for=pages.pages_for,
        )
        self.names = Names(made, reactor, self.listeners, is_this_machine)
        self.monitor = Monitor(made, reactor, self.names, self.listeners)
        subject = Subject(self.listeners, self.events, unserved, reactor, {"parts": self})
        self.manhole = Manhole(reactor, subject)
        kind = type(made).__name__.removesuffix("Engine").lower()
        sources = Sources(self.listeners, self.events, self.certificates.expiries, kind, lambda: self.access_log.lost)
        self.metrics = Metrics(reactor, sources)
        # What listeners need comes before them, and who reports to them after.
        self.plane = ControlPlane(
            (
                *followers,
                AccessLogFile(self.access_log, owner),
                self.certificates,
                cookies,
                pages,
                self.listeners,
                self.names,
                self.monitor,
                self.manhole,
                self.metrics,
            )
        )

        if file is not None:
            last_good = last_good or LastGood()
            self.reloader = Reloader(file, self.plane, last_good, warnings=self.certificates.take_warnings)
            self.editor = Editor(file, self.plane, last_good)
            subject.editor, subject.reloader = self.editor, self.reloader
            sources.reloader = self.reloader

    def start(self) -> None:
        """Begin what needs a running reactor."""
        self.certificates.start()

    def drain(self) -> None:
        """Change nothing any more, and tell who asks for our health that we stop."""
        self.plane.stop()
        self.metrics.drain()

    def stop(self) -> None:
        """Probe, resolve and look at files no more."""
        self.manhole.stop()
        self.monitor.stop()
        self.names.stop()
        self.certificates.stop()

    def close(self) -> None:
        """All connections have ended."""
        self.access_log.close()
        self.metrics.stop()
