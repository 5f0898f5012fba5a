"""The follower that owns all listeners and everything behind them.

``prepare`` opens doors, ``commit`` assigns and closes, ``abandon`` closes what ``prepare`` opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, succeed

from nodebalancer.accesslog.writer import AccessLog
from nodebalancer.balancing.health import StatusChange
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Pool
from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Protocol, Settings
from nodebalancer.proxy.connection import ClientSide
from nodebalancer.proxy.doors import Door, Listen, Preparation, places_of
from nodebalancer.proxy.gate import Gate
from nodebalancer.proxy.live import LiveConfig
from nodebalancer.transport.addresses import clash
from nodebalancer.transport.engine import TICK_SECONDS, TLS, Engine
from nodebalancer.wire.answers import Pages

Path = tuple[str, str]
"""NodeBalancer and config."""

NodePath = tuple[str, str, str]
"""NodeBalancer, config and node."""


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
        self._retired: list[Door] = []

    # IFollower

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Nothing here can be wrong that the settings do not tell by themselves."""
        return succeed(())

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Bind what is wanted and not bound yet; new listeners do not accept before ``commit``."""
        self._end_last_calls(places_of(wanted).keys() - self._doors.keys())
        self._prepared = Preparation(self._listen, self._doors, wanted)
        return succeed(self._prepared.open())

    def abandon(self) -> Deferred[None]:
        """Close what was bound."""
        if self._prepared is not None:
            self._prepared.undo()
            self._prepared = None
        return succeed(None)

    def commit(self) -> Deferred[None]:
        """Let the configs be what is wanted, and the doors lead to them."""
        prepared = self._prepared
        assert prepared is not None
        self._prepared = None
        self._wanted = wanted = prepared.wanted
        self._update_configs(wanted)
        before, self._doors = self._doors, prepared.doors
        self._retire(door for address, door in before.items() if address not in self._doors)
        for address, (nodebalancer, config) in places_of(wanted).items():
            if address in self._doors:
                path = nodebalancer.name, config.name
                tls = self._tls_for(path) if self._tls_for and config.protocol is Protocol.HTTPS else None
                self._doors[address].lead_to(self.configs[path], tls)
        self._guard()
        return succeed(None)

    # What else is asked for.

    def listening(self) -> Iterable[tuple[Address, LiveConfig]]:
        """Every open listener's address (with its real port) and the config it belongs to."""
        return [(door.listener.address, door.live) for door in self._doors.values()]

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
        doors, self._doors = self._doors, {}
        self._retire(doors.values())
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
        if any(door.listener.unserved for door in self._retired):
            # Should they all be refused, nobody would tell.
            self.engine.deadline(TICK_SECONDS, self._look_for_the_last)
        else:
            self._stopping.callback(None)

    def _stop_connections(self) -> None:
        for live in self._all_configs():
            live.gate.ended = live.guarded = True
            for connection in tuple(live.connections):
                connection.stop()
        for door in self._retired:
            door.listener.close()

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
        called = [door.live for door in self._retired if door.listener.unserved]
        self.leaving = [*(live for live in self.leaving if live.connections or live in called), *self.configs.values()]
        self.configs, self.gates = configs, gates

    def _retire(self, doors: Iterable[Door]) -> None:
        """Close ``doors`` as soon as nobody is on the way to them."""
        left = list(doors)
        self._retired = [*(door for door in self._retired if door.listener.unserved), *left]
        self.engine.retire(door.listener for door in left)

    def _end_last_calls(self, wanted: Iterable[Address]) -> None:
        """Close retired doors that are in the way of what is wanted."""
        for door in self._retired:
            if any(clash(door.listener.address, address) for address in wanted):
                door.listener.close()

    def _guard(self) -> None:
        """Tell each gate its listeners."""
        for name, gate in self.gates.items():
            doors = [door for door in self._doors.values() if door.live.gate is gate]
            clients = [c.peer for live in self._all_configs() if live.gate is gate for c in live.connections]
            gate.update(self._wanted.nodebalancers[name], clients, self.engine.now)
            gate.guard(door.listener for door in doors)
