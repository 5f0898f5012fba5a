"""A balancer in the memory network: real listeners, pools and protocols, with clients and nodes that a test plays."""

from __future__ import annotations

from typing import Any

import attrs

from nodebalancer.balancing.health import StatusChange
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.changes import plan
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Firewall, Node, NodeBalancer, PortConfig, Protocol, Settings
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.proxy.live import LiveConfig
from nodebalancer.testing.logs import KeptEntries
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.testing.memory_ends import MemoryPeer
from nodebalancer.wire.answers import Pages

WWW = Address("203.0.113.1", 80)
"""Where the balancer listens."""

NODES = (Address("10.0.0.1", 8080), Address("10.0.0.2", 8080), Address("10.0.0.3", 8080), Address("10.0.0.4", 8080))


class MemoryBalancer:
    """One NodeBalancer ``www`` with one config ``main`` and its nodes.

    Args:
        protocol: What is spoken with clients.
        nodes: How many nodes there are, at the first of ``NODES``.
        pieces: ``MemoryNetwork``: the sizes in which bytes arrive.
        nodebalancer: Fields of the ``NodeBalancer``.
        fields: Fields of the ``PortConfig``.

    Attributes:
        address: Where it listens.
        accepted: For each node the connections it has accepted.
        clients: For a test that wants to remember its clients.
        pages: For our errors, from the next reload on.
        told: Every change of a node's status.
        access_log: Every request and connection.
    """

    def __init__(
        self,
        protocol: Protocol,
        nodes: int = 1,
        *,
        pieces: Any = None,
        nodebalancer: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        self.network = MemoryNetwork(pieces=pieces)
        self.engine = MemoryEngine(self.network)
        self.pages: Pages = {}
        self.told: list[StatusChange] = []
        self.access_log = KeptEntries()
        self.listeners = Listeners(
            self.engine, tell=self.told.append, access_log=self.access_log, pages_for=lambda path: self.pages
        )
        self.address = WWW
        self.clients: list[MemoryPeer] = []
        self.accepted = [self.network.node(address) for address in NODES[:nodes]]
        self._settings = NOTHING
        wanted = {f"n{i}": Node(f"n{i}", address) for i, address in enumerate(NODES[:nodes], 1)}
        config = PortConfig("main", nodes=wanted, port=WWW.port, protocol=protocol, **fields)
        www = NodeBalancer("www", listen=(WWW.host,), configs={"main": config}, **(nodebalancer or {}))
        self.reload(Settings(nodebalancers={"www": www}))

    def reload(self, wanted: Settings) -> None:
        """Go over to other settings, which have to be good."""
        problems: list[Any] = []
        self.listeners.prepare(wanted, plan(self._settings, wanted)).addCallback(problems.extend)
        assert problems == []
        self.listeners.commit()
        self._settings = wanted

    @property
    def live(self) -> LiveConfig:
        """The config at work."""
        return self.listeners.configs["www", "main"]

    def change(
        self, nodebalancer: dict[str, Any] | None = None, firewall: Firewall | None = None, **fields: Any
    ) -> None:
        """A reload in which these fields of the NodeBalancer and the config are others, and all else as it was."""
        www = self._settings.nodebalancers["www"]
        main = attrs.evolve(www.configs["main"], **fields)
        www = attrs.evolve(www, configs={"main": main}, **(nodebalancer or {}))
        firewalls = {firewall.name: firewall} if firewall else self._settings.firewalls
        self.reload(attrs.evolve(self._settings, nodebalancers={"www": www}, firewalls=firewalls))

    def change_nodes(self, **fields: dict[str, Any]) -> None:
        """A reload in which these nodes have these fields: ``change_nodes(n1={"mode": Mode.DRAIN})``."""
        nodes = self.live.wanted.nodes
        self.change(nodes={name: attrs.evolve(node, **fields.get(name, {})) for name, node in nodes.items()})

    def client(self, sends: bytes = b"", source: str = "198.51.100.1") -> MemoryPeer:
        """A new client that has sent ``sends``; everything that needs no time has happened."""
        client = self.network.client(WWW, source)
        if sends:
            client.send(sends)
        self.network.pump()
        return client

    def node(self, number: int = 1) -> MemoryPeer:
        """The newest connection that node ``number`` (from 1) has accepted."""
        return self.accepted[number - 1][-1]

    def pump(self) -> None:
        """Let everything happen that needs no time."""
        self.network.pump()

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.network.advance(seconds)

    def statuses(self) -> str:
        """The status of each node, in their order."""
        return " ".join(member.status.value for member in self.live.pool.members.values())

    def status_changes(self) -> list[str]:
        """Every change so far: ``n1 DOWN: a connection failed: timed out``."""
        return [f"{change.node} {change.new.value}: {change.reason}" for change in self.told]

    @property
    def outcomes(self) -> dict[str, int]:
        """How connections have ended so far, in words; without zeros."""
        return {o.word: count for o in Outcome if (count := self.live.counters.outcomes[o])}

    def check_at_rest(self) -> None:
        """Nothing is open, every pick was released, every connection ended with one outcome."""
        counters = self.live.counters
        assert counters.open == 0
        assert sum(counters.outcomes) == counters.total
        assert not self.live.connections
        assert self.live.gate.open == 0
        assert not self.live.gate.headless
        for member in self.live.pool.members.values():
            assert member.open == 0
            assert sum(member.outcomes) == member.picks
