"""The follower that owns all certificates, and looks for renewed ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from nodebalancer.certificates.loading import KEPT, Loaded, Remark, Serving, load
from nodebalancer.certificates.names import ContextsByName, chosen
from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.looping import GuardedLoop
from nodebalancer.model import PortConfig, Protocol, Settings
from nodebalancer.settings.sections import section_name

log = Logger()

LOOK_SECONDS = 60
"""Between two looks at the files. certbot renews in place, weeks before it must."""

Path = tuple[str, str]
"""NodeBalancer and config."""


class ServerTLS:
    """What a config's listeners ask for a context, for as long as the config exists.

    Attributes:
        config: As it was last committed.
        serving: What it serves with; None before the first ``serve``.
    """

    __slots__ = ("_by_name", "_context", "_told", "config", "serving")
    _context: SSL.Context

    def __init__(self, config: PortConfig) -> None:
        self.config = config
        self.serving: Serving | None = None
        self._by_name: ContextsByName = {}
        self._told: frozenset[tuple[str, Any]] = frozenset()

    def context(self) -> SSL.Context:
        """The context for a new connection."""
        return self._context

    def choose(self, connection: SSL.Connection) -> None:
        """Give a connection the context for the name that its client asks for; called by OpenSSL."""
        name = connection.get_servername()
        if name is not None:
            context = chosen(self._by_name, name)
            if context is not None:
                connection.set_context(context)

    def serve(self, serving: Serving) -> None:
        """From now on new connections get these; open ones keep theirs."""
        self.serving = serving
        self._context = serving.default.context
        self._by_name = serving.by_name

    def news(self, remarks: Iterable[Remark]) -> list[Remark]:
        """Those of ``remarks`` that were not among the last ones."""
        now = {(one.key, one.about): one for one in remarks}
        told, self._told = self._told, frozenset(now)
        return [one for what, one in now.items() if what not in told]


@attrs.frozen(eq=False)
class Examined:
    """An https config of wanted settings, and what its files are good for."""

    tls: ServerTLS
    config: PortConfig
    loaded: Loaded


class Certificates:
    """Follows the settings with certificates (R10 to R12).

    ``examine`` and ``prepare`` read files, with the rights that the process has at that time, and wait for them; between
    reloads ``look`` reads in a thread.

    Args:
        reactor: Its time and its threads.
        at: The wall clock, seconds since the epoch.
        in_thread: Calls a function somewhere else and gives a Deferred of what it returned; default: the reactor's threads.

    Attributes:
        warnings: What is not right with the certificates last examined, though they can be used.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        at: Callable[[], float] = time.time,
        in_thread: Callable[..., Deferred[Any]] | None = None,
    ) -> None:
        self.warnings: tuple[Problem, ...] = ()
        self._reactor = reactor
        self._at = at
        self._in_thread = in_thread or self._in_thread_of_reactor
        self._live: dict[Path, ServerTLS] = {}
        self._examined: tuple[Settings | None, Mapping[Path, Examined]] = (None, {})
        self._prepared: Mapping[Path, Examined] = {}
        self._remarks: tuple[tuple[ServerTLS, tuple[Remark, ...]], ...] = ()
        self._loop = GuardedLoop(reactor, LOOK_SECONDS, self.look, name="the look at certificate files")

    # IFollower

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Read and judge every file that ``wanted`` names."""
        examined = dict(self._load(wanted))
        self._examined = wanted, examined
        self._remarks = tuple((one.tls, one.loaded.warnings) for one in examined.values())
        self.warnings = tuple(
            problem_of(path, one.config, remark) for path, one in examined.items() for remark in one.loaded.warnings
        )
        return succeed(
            tuple(
                problem_of(path, one.config, remark) for path, one in examined.items() for remark in one.loaded.problems
            )
        )

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Be ready to serve what was examined; from now on ``tls_for`` knows the configs of ``wanted``."""
        problems: Deferred[tuple[Problem, ...]] = succeed(())
        if self._examined[0] is not wanted:
            problems = self.examine(wanted)
        self._prepared = self._examined[1]
        return problems

    def commit(self) -> Deferred[None]:
        """Serve it. What is not right about it is told by whoever takes the warnings, or else by the next look."""
        live = {}
        for path, one in self._prepared.items():
            assert one.loaded.serving is not None
            one.tls.config = one.config
            one.tls.serve(one.loaded.serving)
            live[path] = one.tls
        self._live = live
        self._forget()
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        """Go on with what is served."""
        self._forget()
        return succeed(None)

    def _forget(self) -> None:
        self._prepared = {}
        self._examined = None, {}

    # What else is asked for.

    def take_warnings(self) -> tuple[Problem, ...]:
        """``warnings``, for somebody who tells them; no look tells them again."""
        remarks, self._remarks = self._remarks, ()
        for tls, warnings in remarks:
            tls.news(warnings)
        return self.warnings

    def tls_for(self, path: Path) -> ServerTLS:
        """What the listeners of an https config are given; the same object for as long as there is such a config.

        Raises:
            KeyError: There is no such https config, neither prepared nor committed; a fault of ours.
        """
        prepared = self._prepared.get(path)
        return prepared.tls if prepared is not None else self._live[path]

    def described(self, path: Path) -> tuple[str, ...]:
        """A line for each certificate of a config that was examined: file, names, last day."""
        one = self._examined[1].get(path)
        serving = one.loaded.serving if one is not None else None
        return tuple(one.description for one in serving.certificates) if serving else ()

    def expiries(self) -> Iterable[tuple[Path, str, float]]:
        """Of every certificate that serves: its config, its file, and when it expires in seconds since the epoch."""
        for path, tls in self._live.items():
            for one in tls.serving.certificates if tls.serving else ():
                yield path, one.source.cert, one.pair.expires_at

    def start(self) -> None:
        """Look at the files from now on."""
        self._loop.start()

    def stop(self) -> None:
        """Look no more."""
        self._loop.stop()

    async def _look(self) -> None:
        if not self._live:
            return
        before = [(path, tls, tls.config, tls.serving) for path, tls in self._live.items()]
        at = self._at()
        loaded = await self._in_thread(
            lambda: [load(config, "/".join(path), serving, tls.choose, at) for path, tls, config, serving in before]
        )
        for (path, tls, config, serving), found in zip(before, loaded, strict=True):
            if (
                tls.serving is serving and tls.config is config and self._live.get(path) is tls
            ):  # no reload came between
                _renew(path, tls, found)

    def look(self) -> Deferred[None]:
        """Serve what the files say now, as far as it can be used, and tell what is new. Fires when that is done."""
        return Deferred.fromCoroutine(self._look())

    def _load(self, wanted: Settings) -> Iterable[tuple[Path, Examined]]:
        at = self._at()
        for nodebalancer in wanted.nodebalancers.values():
            for config in nodebalancer.configs.values():
                if config.protocol is Protocol.HTTPS:
                    path = nodebalancer.name, config.name
                    tls = self._live.get(path) or ServerTLS(config)
                    yield path, Examined(tls, config, load(config, "/".join(path), tls.serving, tls.choose, at))

    def _in_thread_of_reactor(self, function: Callable[[], Any]) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)


def problem_of(path: Path, config: PortConfig, remark: Remark) -> Problem:
    """A remark as operators get it."""
    section = section_name("config", *path)
    value = getattr(config, remark.key)
    text = value if isinstance(value, str) else ", ".join(value)
    return Problem(f"[{section}] {remark.key} = {text}", remark.message, (section, remark.key))


def _renew(path: Path, tls: ServerTLS, found: Loaded) -> None:
    """Go over to what was found, unless it has problems."""
    before = tls.serving
    if found.serving is not None and before is not None:
        tls.serve(found.serving)
        for one in found.serving.certificates:
            if one not in before.certificates:
                log.info("[config {config}] new {what}", config="/".join(path), what=one.description)
    problems = (attrs.evolve(one, message=f"{one.message}; {KEPT}") for one in found.problems)
    _tell(path, tls, (*problems, *found.warnings))


def _tell(path: Path, tls: ServerTLS, remarks: Iterable[Remark]) -> None:
    for remark in tls.news(remarks):
        log.warn("{problem}", problem=str(problem_of(path, tls.config, remark)))
