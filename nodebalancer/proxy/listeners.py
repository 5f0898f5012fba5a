"""The follower that owns all listeners and everything behind them.

Listeners are keyed by where they listen, not by section: a config that is renamed, or whose address another one takes
over, hands its open socket along. ``prepare`` binds, ``commit`` only assigns, ``abandon`` closes what ``prepare`` bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from nodebalancer.accesslog.writer import AccessLog
from nodebalancer.balancing.health import StatusChange
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Pool
from nodebalancer.changes import Change
from nodebalancer.errors import ListenError, Problem
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, NodeBalancer, PortConfig, Protocol, Settings
from nodebalancer.proxy.connection import ClientSide
from nodebalancer.proxy.gate import Gate
from nodebalancer.proxy.http.client import HTTPClient
from nodebalancer.proxy.https import HTTPSClient
from nodebalancer.proxy.live import LiveConfig
from nodebalancer.proxy.tcp import TCPClient
from nodebalancer.transport.engine import TICK_SECONDS, TLS, Engine, Listener
from nodebalancer.wire.answers import Pages

log = Logger()

CLIENTS: Mapping[Protocol, type[ClientSide]] = {
    Protocol.TCP: TCPClient,
    Protocol.HTTP: HTTPClient,
    Protocol.HTTPS: HTTPSClient,
}
"""Who speaks with the clients of a config."""


Path = tuple[str, str]
"""NodeBalancer and config."""

NodePath = tuple[str, str, str]
"""NodeBalancer, config and node."""


class ClientFactory(Factory):
    """Makes the protocol for each client of one listener (P2).

    Attributes:
        live: The config whose listener this is; another one after a reload that moved it.
        client: The class of its clients.
        context: The engine's ``TLS.context`` (https only).
    """

    noisy = False
    live: LiveConfig
    client: type[ClientSide]
    context: Callable[[], SSL.Context]

    def lead_to(self, live: LiveConfig, tls: TLS | None) -> None:
        """From now on clients are those of ``live``."""
        self.live = live
        self.client = CLIENTS[live.wanted.protocol]
        if tls is not None:
            self.context = tls.context

    def buildProtocol(self, addr: Any) -> ClientSide | None:  # type: ignore[override]
        """A client's side of a connection, or None: it is not let in; ``addr`` is an ``Address``."""
        live = self.live
        if live.guarded and not live.gate.admits(addr.host, live, live.engine.now):
            return None
        return self.client(live, addr)


Listen = Callable[..., Listener]
"""``Engine.listen``."""


class Door:
    """One open listener and the factory behind it.

    Attributes:
        protocol: For what the listener was opened; another one needs another listener.
        freebind: Whether it may be where this machine is not.
    """

    __slots__ = ("factory", "freebind", "listener", "protocol")

    def __init__(self, listen: Listen, address: Address, protocol: Protocol, freebind: bool) -> None:
        self.factory = ClientFactory()
        self.protocol = protocol
        self.freebind = freebind
        self.listener = listen(
            address,
            self.factory,
            tls=self.factory if protocol is Protocol.HTTPS else None,
            client_first=protocol is not Protocol.TCP,
            freebind=freebind,
        )
        self.listener.pause()


Places = Mapping[Address, tuple[NodeBalancer, PortConfig]]


def places_of(settings: Settings) -> dict[Address, tuple[NodeBalancer, PortConfig]]:
    """Every address and port that ``settings`` want listened on, and for which config."""
    return {
        Address(host, config.port): (nodebalancer, config)
        for nodebalancer in settings.nodebalancers.values()
        for config in nodebalancer.configs.values()
        for host in nodebalancer.listen
    }


class Listeners:
    """Follows the settings with listeners, pools and gates.

    Args:
        engine: Has the sockets.
        listen: What opens listeners; default: the engine.
        tell: Hears of every change of a node's status (``IStatusSink.status_changed``).
        unserved: Hears of each connection that was not served, at its end: the config's path, its pool, the connection, how it ended.
        access_log: Where requests and connections are told of; default: nowhere.
        tls_for: What an https config's listeners speak TLS with; known from before ``prepare``.
        cookie_key: The key of ``NB_SRVID``; asked at ``commit``.
        pages_for: A config's own pages for our errors; asked at ``commit``.

    Attributes:
        configs: Every config at work, by NodeBalancer's and config's name.
        leaving: Configs that were removed, by the last reload or with connections that are still open.
        gates: Each NodeBalancer's, by name.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        listen: Listen | None = None,
        tell: Callable[[StatusChange], None] = lambda change: None,
        unserved: Callable[[str, Pool, ClientSide, Outcome], None] = lambda *_: None,
        access_log: AccessLog | None = None,
        tls_for: Callable[[Path], TLS] | None = None,
        cookie_key: Callable[[], bytes] = bytes,
        pages_for: Callable[[Path], Pages] = lambda path: {},
    ) -> None:
        self.engine = engine
        self._listen: Listen = listen or engine.listen
        self._tell = tell
        self._unserved = unserved
        self._access_log = access_log or AccessLog()
        self._tls_for = tls_for
        self._cookie_key = cookie_key
        self._pages_for = pages_for
        self.configs: dict[Path, LiveConfig] = {}
        self.leaving: list[LiveConfig] = []
        self.gates: dict[str, Gate] = {}
        self._wanted = NOTHING
        self._doors: dict[Address, Door] = {}
        self._prepared: Preparation | None = None
        self._stopping: Deferred[None] | None = None
        self._closed: list[Listener] = []

    # IFollower

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Nothing here can be wrong that the settings do not tell by themselves."""
        return succeed(())

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Bind what is wanted and not bound yet; new listeners do not accept before ``commit``."""
        self._prepared = Preparation(self._listen, self._doors, wanted)
        return succeed(self._prepared.open())

    def abandon(self) -> Deferred[None]:
        """Close what was bound."""
        if self._prepared is not None:
            self._doors = self._prepared.undo()
            self._prepared = None
            self._guard()
        return succeed(None)

    def commit(self) -> Deferred[None]:
        """Let the configs be what is wanted, and the doors lead to them."""
        prepared = self._prepared
        assert prepared is not None
        self._prepared = None
        self._wanted = wanted = prepared.wanted
        self._update_configs(wanted)
        for address in set(self._doors) - set(prepared.doors) - prepared.closed:
            self._doors[address].listener.close()
        self._doors = prepared.doors
        for address, (nodebalancer, config) in places_of(wanted).items():
            if address in self._doors:
                path = nodebalancer.name, config.name
                tls = self._tls_for(path) if self._tls_for and config.protocol is Protocol.HTTPS else None
                self._doors[address].factory.lead_to(self.configs[path], tls)
        self._guard()
        return succeed(None)

    # What else is asked for.

    def listening(self) -> Iterable[tuple[Address, LiveConfig]]:
        """Every open listener's address (with its real port) and the config it belongs to."""
        return [(door.listener.address, door.factory.live) for door in self._doors.values()]

    @property
    def open_connections(self) -> int:
        """How many clients are connected, or still closing."""
        return sum(len(live.connections) for live in self._all_configs())

    # INameSink and IJudge, for the monitor.

    def resolved(self, path: NodePath, address: Address | None, reason: str) -> None:
        """A node that goes by a name is at ``address`` now, or nowhere."""
        live = self.configs.get(path[:2])
        if live is not None:
            live.resolved(path[2], address, reason)

    def probed(self, path: NodePath, began_at: float, ok: bool, reason: str, now: float, at: float) -> None:
        """A probe has ended; ``Health.probed``."""
        live = self.configs.get(path[:2])
        if live is not None:
            live.probed(path[2], began_at, ok, reason, now, at)

    def due(self, now: float, at: float) -> None:
        """Let nodes in again whose time has come; once a second."""
        for live in self.configs.values():
            live.health.due(now, at)

    def stop(self, grace: float) -> Deferred[None]:
        """Listen no more; fires when every connection has ended, after ``grace`` seconds by a reset.

        Calling it again, with a shorter time or 0, shortens the wait; all Deferreds fire together.
        """
        for door in self._doors.values():
            door.listener.close()
            self._closed.append(door.listener)
        self._doors = {}
        self._guard()
        if self._stopping is None:
            self._stopping = Deferred()
            for live in self._all_configs():
                live.watcher = self._look_for_the_last
        if grace <= 0:
            self._stop_connections()
        else:
            self.engine.deadline(grace, self._stop_connections)
        fired: Deferred[None] = Deferred()
        self._stopping.addCallback(lambda _: fired.callback(None))
        self._look_for_the_last()
        return fired

    def _look_for_the_last(self) -> None:
        assert self._stopping is not None
        if self.open_connections or self._stopping.called:
            return
        if any(listener.unserved for listener in self._closed):
            # Should they all be refused, nobody would tell.
            self.engine.deadline(TICK_SECONDS, self._look_for_the_last)
        else:
            self._stopping.callback(None)

    def _stop_connections(self) -> None:
        for live in self._all_configs():
            live.gate.ended = live.guarded = True
            for connection in tuple(live.connections):
                connection.stop()

    def _all_configs(self) -> Iterable[LiveConfig]:
        return (*self.configs.values(), *self.leaving)

    def _update_configs(self, wanted: Settings) -> None:
        """Make, update and retire ``configs`` and ``gates``."""
        configs: dict[Path, LiveConfig] = {}
        gates = {}
        for name, nodebalancer in wanted.nodebalancers.items():
            gates[name] = gate = self.gates.pop(name, None) or Gate(nodebalancer.max_connections, name)
            for config in nodebalancer.configs.values():
                path = (name, config.name)
                live = self.configs.pop(path, None) or LiveConfig(
                    path, self.engine, gate, self._tell, self._unserved, self._access_log
                )
                firewall = wanted.firewalls.get(nodebalancer.firewall)
                live.update(config, nodebalancer, firewall, self._cookie_key(), self._pages_for(path))
                configs[path] = live
        # Those removed just now may still get connections, from the queue of a listener that is being closed.
        self.leaving = [*(live for live in self.leaving if live.connections), *self.configs.values()]
        self.configs, self.gates = configs, gates

    def _guard(self) -> None:
        """Tell each gate its listeners."""
        for name, gate in self.gates.items():
            doors = [door for door in self._doors.values() if door.factory.live.gate is gate]
            clients = [c.peer for live in self._all_configs() if live.gate is gate for c in live.connections]
            gate.update(self._wanted.nodebalancers[name], clients, self.engine.now)
            gate.guard(door.listener for door in doors)


class Preparation:
    """What ``prepare`` has done so far, so that it can be undone.

    Attributes:
        wanted: The settings that are being prepared.
        doors: Every door there will be after ``commit``: those that stay and those that were opened.
        closed: Where doors had to be closed to make way for others.
    """

    def __init__(self, listen: Listen, doors: Mapping[Address, Door], wanted: Settings) -> None:
        self.wanted = wanted
        self.doors: dict[Address, Door] = {}
        self._listen = listen
        self._before = dict(doors)
        self._opened: list[Door] = []
        self.closed: set[Address] = set()

    def open(self) -> tuple[Problem, ...]:
        """Open what is missing; the problems, if any."""
        places = places_of(self.wanted)
        problems = []
        for address, (nodebalancer, config) in places.items():
            door = self._before.get(address)
            if door is not None and door.protocol is config.protocol:
                self.doors[address] = door
                continue
            self._make_way(address, places)
            try:
                door = Door(self._listen, address, config.protocol, nodebalancer.freebind)
            except ListenError as e:
                where = f"[config {nodebalancer.name}/{config.name}] port = {config.port}"
                hint = "; freebind = true listens there all the same" if e.absent else ""
                message = f"cannot listen on {address}: {e.reason}{hint}"
                if e.unsupported and has_other_family(nodebalancer, address):
                    log.warn("{where}: {message}; going on without it", where=where, message=message)
                else:
                    spot = f"config {nodebalancer.name}/{config.name}", "port"
                    problems.append(
                        Problem(where, f"{message} (from listen of [nodebalancer {nodebalancer.name}])", spot)
                    )
                continue
            self._opened.append(door)
            self.doors[address] = door
        return tuple(problems)

    def _make_way(self, address: Address, places: Places) -> None:
        """Close what stands in the way of listening on ``address`` and is not to stay as it is.

        A wildcard and a specific address of one port exclude each other, so one has to go before the other can come.
        """
        for other, door in self._before.items():
            stays = other in places and other != address
            if not stays and other not in self.closed and clash(other, address):
                door.listener.close()
                self.closed.add(other)

    def undo(self) -> dict[Address, Door]:
        """Close what was opened, open again what was closed; the doors as they were before."""
        for door in self._opened:
            door.listener.close()
        for address in self.closed:
            before = self._before[address]
            try:
                door = Door(self._listen, address, before.protocol, before.freebind)
            except ListenError as e:
                log.error("cannot listen on {address} again: {reason}", address=str(address), reason=e.reason)
                del self._before[address]
                continue
            tls = before.factory if before.protocol is Protocol.HTTPS else None
            door.factory.lead_to(before.factory.live, tls)
            self._before[address] = door
        return self._before


def has_other_family(nodebalancer: NodeBalancer, address: Address) -> bool:
    """Whether the NodeBalancer listens on addresses of the other family too, IPv4 or IPv6."""
    return any((":" in host) != (":" in address.host) for host in nodebalancer.listen)


def clash(one: Address, other: Address) -> bool:
    """Whether two addresses cannot be listened on at once."""
    wild = ("0.0.0.0", "::")  # noqa: S104 compared with, not bound
    same_family = (":" in one.host) == (":" in other.host)
    return one.port == other.port and same_family and (one.host == other.host or one.host in wild or other.host in wild)
