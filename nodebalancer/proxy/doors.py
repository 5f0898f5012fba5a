"""The doors of a balancer: open listeners, and what leads from there to the configs.

Doors are keyed by where they are, not by section: a config that is renamed, whose protocol is another one, or whose address another one
takes over, hands its open socket along. A reload opens what is missing and closes nothing until it is certain: a wildcard and a specific
address of one port are open side by side for as long as that takes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from OpenSSL import SSL
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from nodebalancer.errors import ListenError, Problem
from nodebalancer.fields import Address
from nodebalancer.model import EVERYWHERE, NodeBalancer, PortConfig, Protocol, Settings
from nodebalancer.proxy.connection import ClientSide
from nodebalancer.proxy.http.client import HTTPClient
from nodebalancer.proxy.https import HTTPSClient
from nodebalancer.proxy.live import LiveConfig
from nodebalancer.proxy.tcp import TCPClient
from nodebalancer.transport.addresses import clash
from nodebalancer.transport.engine import TLS, Listener

log = Logger()

CLIENTS: Mapping[Protocol, type[ClientSide]] = {
    Protocol.TCP: TCPClient,
    Protocol.HTTP: HTTPClient,
    Protocol.HTTPS: HTTPSClient,
}
"""Who speaks with the clients of a config."""

Listen = Callable[..., Listener]
"""``Engine.listen``."""


class ClientFactory(Factory):
    """Makes the protocol for each client of one listener (P2).

    Attributes:
        live: The config whose listener this is; another one after a reload that moved it, None before the first is committed.
        client: The class of its clients.
        context: The engine's ``TLS.context`` (https only).
    """

    noisy = False
    live: LiveConfig | None = None
    client: type[ClientSide]
    context: Callable[[], SSL.Context]

    def buildProtocol(self, addr: Any) -> ClientSide | None:  # type: ignore[override]
        """A client's side of a connection, or None: it is not let in; ``addr`` is an ``Address``."""
        live = self.live
        if live is None or (live.guarded and not live.gate.admits(addr.host, live, live.engine.now)):
            return None
        return self.client(live, addr)


class Door:
    """One open listener and the factory behind it. Nobody is let in before it leads somewhere and its gate resumes it."""

    __slots__ = ("factory", "listener")

    def __init__(self, listen: Listen, address: Address, freebind: bool, beside: Collection[Listener]) -> None:
        self.factory = ClientFactory()
        self.listener = listen(address, self.factory, freebind=freebind, beside=beside)
        self.listener.pause()

    @property
    def live(self) -> LiveConfig:
        """Where it leads, once it does."""
        live = self.factory.live
        assert live is not None
        return live

    def lead_to(self, live: LiveConfig, tls: TLS | None) -> None:
        """From now on clients are those of ``live``, and speak what it wants."""
        factory = self.factory
        protocol = live.wanted.protocol
        factory.live = live
        factory.client = CLIENTS[protocol]
        if tls is not None:
            factory.context = tls.context
        secure = protocol is Protocol.HTTPS
        self.listener.expect(tls=factory if secure else None, client_first=protocol is not Protocol.TCP)


def places_of(settings: Settings) -> dict[Address, tuple[NodeBalancer, PortConfig]]:
    """Every address and port that ``settings`` want listened on, and for which config."""
    return {
        Address(host, config.port): (nodebalancer, config)
        for nodebalancer in settings.nodebalancers.values()
        for config in nodebalancer.configs.values()
        for host in nodebalancer.listen
    }


class Preparation:
    """What ``prepare`` has done so far, so that it can be undone.

    Args:
        listen: Opens listeners.
        doors: Those that are open.
        wanted: The settings that are being prepared.

    Attributes:
        wanted: As above.
        doors: Every door there will be after ``commit``: those that stay and those that were opened.
    """

    def __init__(self, listen: Listen, doors: Mapping[Address, Door], wanted: Settings) -> None:
        self.wanted = wanted
        self.doors: dict[Address, Door] = {}
        self._listen = listen
        self._before = doors
        self._places = places_of(wanted)
        self._opened: dict[Address, Door] = {}

    def open(self) -> tuple[Problem, ...]:
        """Open what is missing; the problems, if any."""
        problems = []
        for address, (nodebalancer, config) in self._places.items():
            door = self._before.get(address)
            if door is None:
                beside = [other.listener for other in self._leaving(address).values()]
                try:
                    door = Door(self._listen, address, nodebalancer.freebind, beside)
                except ListenError as e:
                    problems.extend(_problem(e, address, nodebalancer, config))
                    continue
                self._opened[address] = door
            self.doors[address] = door
        return tuple(problems)

    def undo(self) -> None:
        """Close what was opened. Clients that came to it meanwhile are those of the wildcard whose place it was to take."""
        for address, door in self._opened.items():
            for other, before in self._leaving(address).items():
                if other.host in EVERYWHERE:
                    live = before.live
                    door.lead_to(live, before.factory if live.wanted.protocol is Protocol.HTTPS else None)
            door.listener.close()

    def _leaving(self, address: Address) -> dict[Address, Door]:
        """Doors that are to go and are in the way of ``address``."""
        return {
            other: door for other, door in self._before.items() if other not in self._places and clash(other, address)
        }


def _problem(error: ListenError, address: Address, nodebalancer: NodeBalancer, config: PortConfig) -> list[Problem]:
    """What to tell the operator; no problem, but a warning, is a family that this machine has not and need not have."""
    where = f"[config {nodebalancer.name}/{config.name}] port = {config.port}"
    hint = "; freebind = true listens there all the same" if error.absent else ""
    message = f"cannot listen on {address}: {error.reason}{hint}"
    if error.unsupported and has_other_family(nodebalancer, address):
        log.warn("{where}: {message}; going on without it", where=where, message=message)
        return []
    spot = f"config {nodebalancer.name}/{config.name}", "port"
    return [Problem(where, f"{message} (from listen of [nodebalancer {nodebalancer.name}])", spot)]


def has_other_family(nodebalancer: NodeBalancer, address: Address) -> bool:
    """Whether the NodeBalancer listens on addresses of the other family too, IPv4 or IPv6."""
    return any((":" in host) != (":" in address.host) for host in nodebalancer.listen)
