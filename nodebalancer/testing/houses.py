"""All that balances, in the memory network: listeners, names, probes and events, led by a control plane as in a process."""

from __future__ import annotations

import random
from typing import Any

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.control.events import Events
from nodebalancer.control.plane import ControlPlane
from nodebalancer.fields import Address
from nodebalancer.health.monitor import Monitor
from nodebalancer.health.names import Names
from nodebalancer.model import Settings
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.proxy.live import LiveConfig
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.testing.memory_ends import MemoryPeer


class House:
    """A balancer that runs ``wanted``; its parts are those of ``process.parts.Parts``.

    Args:
        wanted: Settings, which have to be good.
        network: Where it is; default: one of its own.
        cookie_key: The key of cookies.

    Attributes:
        events: What has become of nodes; the others are as in ``Parts``.
    """

    def __init__(self, wanted: Settings, network: MemoryNetwork | None = None, cookie_key: bytes = b"key") -> None:
        self.network = network or MemoryNetwork()
        self.engine = MemoryEngine(self.network)
        clock = self.network.clock
        self.events = Events(clock)
        self.listeners = Listeners(self.engine, tell=self.events.status_changed, cookie_key=lambda: cookie_key)
        self.names = Names(self.engine, clock, self.listeners, lambda host: False)
        chance = random.Random(5).random  # noqa: S311 not for secrets
        self.monitor = Monitor(self.engine, clock, self.names, self.listeners, chance=chance)
        self.plane = ControlPlane((self.listeners, self.names, self.monitor))
        self.want(wanted)

    def want(self, wanted: Settings) -> None:
        """Go over to other settings.

        Raises:
            SettingsError: They are not good.
        """
        answers: list[Any] = []
        self.plane.want(wanted).addBoth(answers.append)
        [answer] = answers
        if not isinstance(answer, tuple):
            answer.raiseException()

    def stop(self) -> None:
        """End it as a process ends: whatever is open is reset, and nobody is probed any more."""
        self.monitor.stop()
        self.names.stop()
        self.listeners.stop(0)
        self.network.pump()

    def live(self, config: str = "www/web") -> LiveConfig:
        """A config at work, by its path."""
        nodebalancer, _, name = config.partition("/")
        return self.listeners.configs[nodebalancer, name]

    def statuses(self, config: str = "www/web") -> str:
        """The status of each of its nodes, in their order."""
        return " ".join(member.status.value for member in self.live(config).pool.members.values())

    def outcomes(self, config: str = "www/web") -> dict[str, int]:
        """How its connections have ended so far, in words; without zeros."""
        counts = self.live(config).counters.outcomes
        return {outcome.word: count for outcome in Outcome if (count := counts[outcome])}

    def client(self, address: Address, sends: bytes = b"", source: str = "198.51.100.1") -> MemoryPeer:
        """A new client that has sent ``sends``; everything that needs no time has happened."""
        client = self.network.client(address, source)
        if sends:
            client.send(sends)
        self.network.pump()
        return client

    def check_at_rest(self) -> None:
        """Nothing is open, every pick was released, every connection ended with one outcome."""
        for live in self.listeners.configs.values():
            assert not live.connections
            assert live.counters.open == live.gate.open == live.gate.counts.clients == 0
            assert not live.gate.headless
            assert sum(live.counters.outcomes) == live.counters.total
            for member in live.pool.members.values():
                assert member.open == 0
                assert sum(member.outcomes) == member.picks
