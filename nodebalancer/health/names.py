"""Nodes that go by a host name: where they are now.

Rules:

* A name is asked for when a reload brings or keeps it, and every ``AGAIN_SECONDS``. Nobody waits for the answer.
* A node is one address, as with HAProxy: of several answers the first (the system's order, RFC 6724), and then that one
  for as long as it is among the answers, so that a name server that deals its answers out anew each time moves nobody.
* A name that cannot be resolved keeps the addresses it had; one that never could has none.
* Answers that lead to our own listeners, or nowhere (``0.0.0.0``, which blocking name servers give), are passed over.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.fields import Address
from nodebalancer.health.checks import Path
from nodebalancer.looping import GuardedLoop
from nodebalancer.model import EVERYWHERE, NOTHING, Settings
from nodebalancer.settings.listeners import OwnListeners, transport_of
from nodebalancer.transport.engine import Engine

log = Logger()

AGAIN_SECONDS: Final = 30.0
"""How often names are resolved anew."""

NOT_YET: Final = "name not resolved yet"
NOT_RESOLVED: Final = "name not resolved"


class INameSink(Protocol):
    """Who dials nodes."""

    def resolved(self, path: Path, address: Address | None, reason: str) -> None:
        """The node at ``path`` is at ``address``, numeric, from now on.

        Args:
            path: NodeBalancer, config and node.
            address: None while there is none, and nothing can be dialled.
            reason: Why there is none: ``name not resolved``; empty when there is one.
        """


class Named:
    """One node that goes by a name.

    Attributes:
        wanted: Its address with the name.
        transport: ``tcp`` or ``udp``.
        address: Where it is; None while that is not known.
        reason: Why it is not known.
    """

    __slots__ = ("address", "reason", "transport", "wanted")

    def __init__(self, wanted: Address, transport: str) -> None:
        self.wanted = wanted
        self.transport = transport
        self.address: Address | None = None
        self.reason = NOT_YET


class Names:
    """Follows the settings with the addresses of nodes that go by a name.

    Its place among the followers is behind whoever the sink belongs to: answers known already are told while it commits.

    Args:
        engine: Resolves.
        clock: Makes the loop turn.
        sink: Is told of each node that gets another address, or none.
        is_local: Whether a numeric host is this machine: ``is_this_machine``.
    """

    def __init__(
        self,
        engine: Engine,
        clock: IReactorTime,
        sink: INameSink,
        is_local: Callable[[str], bool],
    ) -> None:
        self._engine = engine
        self._sink = sink
        self._is_local = is_local
        self._nodes: dict[Path, Named] = {}
        self._answers: dict[str, list[str]] = {}
        self._asked: set[str] = set()
        self._wanted = NOTHING
        self._ours = OwnListeners(NOTHING)
        self._loop = GuardedLoop(clock, AGAIN_SECONDS, self._resolve_all, name="the resolving of names")

    # IFollower

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Nothing: whether a name can be resolved is not asked before it is needed."""
        return succeed(())

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Nothing that could fail."""
        self._wanted = wanted
        return succeed(())

    def abandon(self) -> Deferred[None]:
        """Nothing was done."""
        return succeed(None)

    def commit(self) -> Deferred[None]:
        """Keep what is known of nodes that stay, and ask for every name."""
        self._ours = OwnListeners(self._wanted)
        before, self._nodes = self._nodes, {}
        for path, named in named_nodes(self._wanted).items():
            old = before.get(path)
            self._nodes[path] = old if old is not None and old.wanted == named.wanted else named
        hosts = self._hosts()
        self._answers = {host: found for host, found in self._answers.items() if host in hosts}
        for host in self._answers:
            self._tell(host)
        self._resolve_all()
        if self._nodes:
            self._loop.start()
        else:
            self._loop.stop()
        return succeed(None)

    # What else is asked for.

    def find(self, path: Path) -> tuple[Address | None, str]:
        """Where the node at ``path``, which goes by a name, is; or None, and why not."""
        named = self._nodes[path]
        return named.address, named.reason

    def stop(self) -> None:
        """Ask no more."""
        self._loop.stop()

    def _hosts(self) -> set[str]:
        return {named.wanted.host for named in self._nodes.values()}

    def _resolve_all(self) -> None:
        for host in sorted(self._hosts() - self._asked):
            self._asked.add(host)
            # An engine answers with an empty list rather than a failure; what is a fault of ours is logged all the same.
            self._engine.resolve(host).addCallback(self._answered, host).addErrback(self._broken, host)

    def _answered(self, found: list[str], host: str) -> None:
        self._asked.discard(host)
        if host not in self._hosts():
            return
        if not found and self._answers.get(host):
            log.warn("{host} cannot be resolved any more; its last addresses stay", host=host)
            return
        self._answers[host] = found
        self._tell(host)

    def _broken(self, failure: Failure, host: str) -> None:
        self._asked.discard(host)
        log.failure("{host} could not be resolved", failure, host=host)

    def _tell(self, host: str) -> None:
        for path, named in self._nodes.items():
            if named.wanted.host == host:
                before = named.address, named.reason
                named.address, named.reason = self._choose(named, self._answers[host])
                if (named.address, named.reason) != before:
                    self._log(path, named)
                    self._sink.resolved(path, named.address, named.reason)

    def _choose(self, named: Named, found: list[str]) -> tuple[Address | None, str]:
        addresses = [Address(host, named.wanted.port) for host in found if host not in EVERYWHERE]
        good = [address for address in addresses if not self._is_ours(named, address)]
        if named.address in good:
            return named.address, ""
        if good:
            return good[0], ""
        if addresses:
            return None, f"name resolved to {addresses[0]}, our own listener; connections would go in circles"
        return None, NOT_RESOLVED

    def _is_ours(self, named: Named, address: Address) -> bool:
        return self._ours.at(named.transport, address, self._is_local) is not None

    def _log(self, path: Path, named: Named) -> None:
        log.info(
            "[nodes {config}] {node} ({wanted}): {news}",
            config="/".join(path[:2]),
            node=path[2],
            wanted=str(named.wanted),
            news=f"is at {named.address}" if named.address else named.reason,
        )


def named_nodes(settings: Settings) -> dict[Path, Named]:
    """Every node that goes by a name."""
    return {
        (nodebalancer.name, config.name, node.name): Named(node.address, transport_of(config))
        for nodebalancer in settings.nodebalancers.values()
        for config in nodebalancer.configs.values()
        for node in config.nodes.values()
        if node.address.is_name
    }


def is_this_machine(host: str) -> bool:
    """Whether a numeric address is one of this machine's.

    The kernel answers to itself from the very address that is asked for. Nothing is sent: UDP's ``connect`` only looks
    for a route.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((host, 9))
            return bool(asking.getsockname()[0] == host)
    except OSError:
        return False
