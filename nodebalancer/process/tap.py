"""The command: ``twistd nodebalancer``.

The settings are read and checked in ``postOptions``, which twistd runs before it writes a pidfile, opens a log or forks, so
that whoever types the command sees what is wrong with them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from twisted.application.service import IService, MultiService, Service
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from nodebalancer.accesslog.file import STANDARD_OUTPUT
from nodebalancer.changes import plan
from nodebalancer.control.change_lines import in_lines
from nodebalancer.control.last_good import LastGood, last_good_of, stranger
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.model import Service as ServiceSettings
from nodebalancer.model import Settings
from nodebalancer.process.demo import Demo
from nodebalancer.process.launch import Launch, refuse
from nodebalancer.process.limits import limits
from nodebalancer.process.parts import ENGINES, Parts, engine_maker
from nodebalancer.process.servicelog.observer import ServiceLog
from nodebalancer.process.servicelog.outlets import outlet_of
from nodebalancer.process.signals import Signals
from nodebalancer.process.single import Balancer, ProcessWide
from nodebalancer.process.summary import summary
from nodebalancer.process.systemd.inherited import environment, passed
from nodebalancer.process.systemd.notify import Systemd
from nodebalancer.settings.reading import Loaded

DEFAULT_CONFIG = "/etc/nodebalancer/nodebalancer.ini"


class Options(usage.Options):
    """The command line after ``twistd nodebalancer``; twistd's own options stand before that word.

    Attributes:
        settings: What is to run; None for the demo, whose settings are made later.
        file: Where they stand; None for the demo.
        launch: The terminal that the command was typed at.
        placed: Says where in the file a problem is.
        environ: The environment that this process was started with.
        passed: The sockets, looked for before anything else here is opened.
    """

    synopsis = "[--config FILE] [--engine NAME] [--or-last-good] [--check | --plan | --demo]"
    longdesc = (
        "Balances TCP connections and HTTP requests over nodes, as the settings in an INI file say. "
        "With twistd -n it stays in the foreground, else it becomes a daemon with twistd's --pidfile and --logfile. "
        "With twistd --uid it gives up root's rights once it listens. SIGTERM and SIGINT let open connections finish for "
        "grace_period seconds; a second one ends at once. SIGHUP reloads the settings."
    )
    optParameters = [  # noqa: RUF012 twisted's usage
        ["config", "c", DEFAULT_CONFIG, "The settings."],
        ["engine", None, "auto", f"What moves the bytes: {', '.join(ENGINES)}; auto is the fastest this system has."],
    ]
    optFlags = [  # noqa: RUF012 twisted's usage
        ["check", None, "Tell everything that is wrong with the settings, or what would run; listen on nothing."],
        ["plan", None, "Tell what a reload of the settings would change, and whom it would touch; change nothing."],
        ["or-last-good", None, "When the settings cannot be used, start from those that ran last."],
        ["demo", None, "Run three small web nodes and balance them; needs no settings."],
    ]

    settings: Settings | None
    file: SettingsFile | None = None
    launch: Launch
    placed: Callable[[Problem], Problem] = staticmethod(lambda problem: problem)
    _text: str = ""

    def __init__(self) -> None:
        super().__init__()
        self._loud: list[str] = []
        self.environ = environment()
        self.passed = passed(self.environ)

    def postOptions(self) -> None:
        """Read the settings, before anything is begun.

        Raises:
            SystemExit: With 1 when something is wrong, after sentences on standard error; with 0 after ``--check``.
        """
        self._refuse_nonsense()
        self.settings = None if self["demo"] else self._load()
        if self["check"] and self.settings is not None:
            self._check(self.settings)
        if self["plan"] and self.settings is not None:
            self._plan(self.settings)
        if self.settings is not None and self.settings.service.access_log == STANDARD_OUTPUT and self._becomes_daemon():
            refuse(
                [
                    "[service] access_log = -: a daemon has no standard output; name a file, or stay in the foreground with -n"
                ]
            )
        self.launch = Launch(self.parent if self.parent is not None else {})
        for sentence in self._loud:
            self.launch.warn(sentence)

    def _becomes_daemon(self) -> bool:
        return self.parent is not None and not self.parent.get("nodaemon")

    def wanted(self) -> Iterator[Settings]:
        """What is to run; then, with ``--or-last-good``, what ran last if it is something else, for when that cannot be followed."""
        if self.settings is not None:
            yield self.settings
        if self["or-last-good"] and not self._loud:
            try:
                last, loaded = self._fall_back()
            except SettingsError as e:
                for problem in e.problems:
                    self.launch.warn(str(problem))
                return
            if loaded.settings != self.settings:
                self.launch.warn(_instead(self["config"], "cannot be followed", last))
                self.placed = loaded.places.placed
                yield loaded.settings

    def _refuse_nonsense(self) -> None:
        for flag in ("check", "plan"):
            if self[flag] and self["demo"]:
                refuse([f"--{flag} and --demo exclude each other: the demo has no settings file to {flag}"])
        if self["engine"] not in ENGINES:
            refuse([f"--engine {self['engine']}: expected one of {', '.join(ENGINES)}"])
        try:
            engine_maker(self["engine"])
        except ImportError as e:
            refuse([f"--engine {self['engine']}: not on this system ({e})"])

    def _load(self) -> Settings:
        """The settings, from the file as it was named; ``config`` is absolute from then on, since twistd changes its directory."""
        named = self["config"]
        self["config"] = os.path.abspath(named)
        self.file = SettingsFile(self["config"], named)
        try:
            self._text, loaded = self.file.load()
        except SettingsError as e:
            if not self["or-last-good"]:
                refuse(e.problems)
            self._text = self.file.remains()
            self._loud += map(str, e.problems)
            try:
                last, loaded = self._fall_back()
            except SettingsError as e:
                refuse([*self._loud, *e.problems])
            self._loud.append(_instead(self["config"], "CANNOT BE USED", last))
            self.placed = loaded.places.placed
            return loaded.settings
        for warning in loaded.warnings:
            sys.stderr.write(f"warning: {warning}\n")
        self.placed = loaded.places.placed
        return loaded.settings

    def _fall_back(self) -> tuple[SettingsFile, Loaded]:
        """The copy of what ran last, and what it says, if we may start from it.

        Raises:
            SettingsError: There is none, it was made from another file, or it cannot be used.
        """
        other = self._stranger()
        if not other:
            return self._last_good("fall back on")
        message = (
            f"it was made from {other}, not from {self['config']}, so it is nothing to fall back on; both have the same "
            "state_dir, and each needs its own"
        )
        raise SettingsError((Problem(last_good_of(self._text).path, message),))

    def _last_good(self, purpose: str) -> tuple[SettingsFile, Loaded]:
        """The copy of what ran last, and what it says.

        Args:
            purpose: What it is for: ``compare with``.

        Raises:
            SettingsError: There is none, or it cannot be used.
        """
        last = last_good_of(self._text)
        if _is_there(last.path):
            return last, last.load()[1]
        message = (
            f"there is no last-good.ini yet, so nothing to {purpose}; every start and reload writes what runs there, "
            "if that directory exists"
        )
        if not self._text:
            message += f" (the default state_dir, since {self['config']} cannot be asked for another)"
        raise SettingsError((Problem(last.path, message),))

    def _stranger(self) -> str:
        """The other settings file that the copy of what ran last was made from; empty: it was made from ours."""
        assert self.file is not None  # the demo has no use for it
        return stranger(last_good_of(self._text), self.file)

    def _check(self, wanted: Settings) -> NoReturn:
        certificates = self._examined(wanted).certificates
        sys.stdout.write(summary(wanted, limits(), certificates.described) + "\n")
        raise SystemExit(0)

    def _plan(self, wanted: Settings) -> NoReturn:
        try:
            last, loaded = self._last_good("compare with")
        except SettingsError as e:
            refuse(e.problems)
        current = loaded.settings
        self._examined(wanted)
        lines = list(in_lines(current, wanted, plan(current, wanted)))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(os.stat(last.path).st_mtime))
        other = self._stranger()
        made_from = f" and was made from {other}" if other else ""
        sys.stdout.write(f"compared with {last.path}, which ran last ({since}){made_from}:\n")
        sys.stdout.write("".join(f"  {line}\n" for line in lines or ["nothing would change"]))
        raise SystemExit(0)

    def _examined(self, wanted: Settings) -> Parts:
        """The parts, having found no problem in ``wanted``.

        Raises:
            SystemExit: They have.
        """
        from twisted.internet import reactor  # noqa: TID251 only here and in makeService

        parts = Parts(reactor, self["engine"])
        problems: list[Any] = []
        parts.plane.examine(wanted).addCallback(problems.extend)
        for warning in parts.certificates.warnings:
            sys.stderr.write(f"warning: {self.placed(warning)}\n")
        if problems:
            refuse(map(self.placed, problems))
        return parts


def _is_there(path: str) -> bool:
    """Whether there is a file, or one that we may not look at: why, its reader is told."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def _instead(config: str, why: str, last: SettingsFile) -> str:
    return f"{config} {why}; starting from {last.path}, which is what ran last"


def makeService(options: Options) -> IService:
    """The tree of services that twistd runs."""
    from twisted.internet import reactor  # noqa: TID251 as late as possible: --reactor chooses it

    launch = options.launch
    services: list[Service] = []
    if options.settings is not None:
        wanted: Iterable[Settings] = options.wanted()
    else:
        demo = Demo(reactor, launch)
        services.append(demo)
        wanted = demo.wanted()
    twistd = options.parent if options.parent is not None else {}
    logs = _service_logs(options)

    def reopen() -> None:
        for each in logs:
            each.reopen()
        balancer.reopen()

    systemd = Systemd(reactor, options.environ, lambda: balancer.status())
    balancer = Balancer(
        reactor,
        options["engine"],
        wanted,
        launch,
        lambda problem: options.placed(problem),
        file=options.file,
        last_good=LastGood(make_directory=options["or-last-good"]),
        busy=systemd.reloading,
        passed=options.passed,
        followers=logs,
        owner=(twistd.get("uid"), twistd.get("gid")),
    )
    tree = Tree(logs)
    signals = Signals(reactor, balancer.end_now, balancer.reload, reopen=reopen)
    for service in (ProcessWide(reactor, signals, launch), systemd, *services, balancer):
        service.setServiceParent(tree)
    return tree


class Tree(MultiService):
    """All services together; twistd asks its application for an observer of its log before it makes one itself."""

    def __init__(self, logs: Iterable[ServiceLog]) -> None:
        super().__init__()
        self._logs = logs

    def setServiceParent(self, parent: Any) -> None:
        """``parent`` is the application, when twistd runs us."""
        if isinstance(parent, Componentized):
            for log in self._logs:
                parent.setComponent(ILogObserver, log)
        super().setServiceParent(parent)


def _service_logs(options: Options) -> list[ServiceLog]:
    """Our log, as twistd's options have it; none when ``--logger`` names another, or it is not twistd that runs us.

    Raises:
        SystemExit: It cannot be opened; ends the command.
    """
    twistd = options.parent
    if twistd is None or twistd.get("logger"):
        return []
    service = ServiceSettings() if options.settings is None else options.settings.service
    try:
        return [ServiceLog(service, outlet_of(twistd))]
    except OSError as e:
        refuse([f"--logfile={twistd['logfile'] or 'twistd.log'}: cannot be opened: {(e.strerror or str(e)).lower()}"])
    except ValueError as e:
        refuse([f"--logfile=-: {e}"])
