"""The command: ``twistd nodebalancer``.

The settings are read and checked in ``postOptions``, which twistd runs before it writes a pidfile, opens a log or forks, so
that whoever types the command sees what is wrong with them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.python import usage

from nodebalancer.errors import SettingsError
from nodebalancer.model import Settings
from nodebalancer.process.demo import Demo
from nodebalancer.process.launch import Launch, refuse
from nodebalancer.process.limits import limits
from nodebalancer.process.settings_file import read_bytes
from nodebalancer.process.signals import Signals
from nodebalancer.process.single import ENGINES, Balancer, ProcessWide, engine_maker, make_plane
from nodebalancer.process.summary import summary
from nodebalancer.settings.reading import read

DEFAULT_CONFIG = "/etc/nodebalancer/nodebalancer.ini"


class Options(usage.Options):
    """The command line after ``twistd nodebalancer``; twistd's own options stand before that word.

    Attributes:
        settings: What is to run; None for the demo, whose settings are made later.
        launch: The terminal that the command was typed at.
    """

    synopsis = "[--config FILE] [--engine NAME] [--check | --demo]"
    longdesc = (
        "Balances TCP connections and HTTP requests over nodes, as the settings in an INI file say. "
        "With twistd -n it stays in the foreground, else it becomes a daemon with twistd's --pidfile and --logfile. "
        "With twistd --uid it gives up root's rights once it listens. SIGTERM and SIGINT let open connections finish for "
        "grace_period seconds; a second one ends at once."
    )
    optParameters = [  # noqa: RUF012 twisted's usage
        ["config", "c", DEFAULT_CONFIG, "The settings."],
        ["engine", None, "auto", f"What moves the bytes: {', '.join(ENGINES)}; auto is the fastest this system has."],
    ]
    optFlags = [  # noqa: RUF012 twisted's usage
        ["check", None, "Tell everything that is wrong with the settings, or what would run; listen on nothing."],
        ["demo", None, "Run three small web nodes and balance them; needs no settings."],
    ]

    settings: Settings | None
    launch: Launch

    def postOptions(self) -> None:
        """Read the settings, before anything is begun.

        Raises:
            SystemExit: With 1 when something is wrong, after sentences on standard error; with 0 after ``--check``.
        """
        self._refuse_nonsense()
        self.settings = None if self["demo"] else self._load()
        if self["check"] and self.settings is not None:
            self._check(self.settings)
        self.launch = Launch(self.parent if self.parent is not None else {})

    def _refuse_nonsense(self) -> None:
        if self["check"] and self["demo"]:
            refuse(["--check and --demo exclude each other: the demo has no settings file to check"])
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
        try:
            loaded = read(read_bytes(named), named)
        except SettingsError as e:
            refuse(e.problems)
        for warning in loaded.warnings:
            sys.stderr.write(f"warning: {warning}\n")
        return loaded.settings

    def _check(self, wanted: Settings) -> None:
        from twisted.internet import reactor  # noqa: TID251 only here and in makeService

        plane, _ = make_plane(reactor, self["engine"])
        problems: list[Any] = []
        plane.examine(wanted).addCallback(problems.extend)
        if problems:
            refuse(problems)
        sys.stdout.write(summary(wanted, limits()) + "\n")
        raise SystemExit(0)


def makeService(options: Options) -> IService:
    """The tree of services that twistd runs."""
    from twisted.internet import reactor  # noqa: TID251 as late as possible: --reactor chooses it

    launch = options.launch
    services: list[Service] = []
    if options.settings is not None:
        wanted: Iterable[Settings] = (options.settings,)
    else:
        demo = Demo(reactor, launch)
        services.append(demo)
        wanted = demo.wanted()
    balancer = Balancer(reactor, options["engine"], wanted, launch)
    tree = MultiService()
    for service in (ProcessWide(reactor, Signals(reactor, balancer.end_now), launch), *services, balancer):
        service.setServiceParent(tree)
    return tree
