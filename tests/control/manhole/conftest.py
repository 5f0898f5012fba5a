"""A balancer in memory, with a settings file, for those who ask and change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from nodebalancer.control.editor import Editor
from nodebalancer.control.events import Events
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.manhole.verbs import Subject
from nodebalancer.control.manhole.why import UnservedRing
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.reload import Reloader
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.fields import Address
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.testing.memory_ends import MemoryPeer
from nodebalancer.testing.nodes import in_own_state

INI = """\
# kept
[nodebalancer www]
listen = 203.0.113.1

[config www/main]
port = 80
protocol = tcp
check = none

[nodes www/main]
# the first
n1 = 10.0.0.1:8080 weight=50
n2 = 10.0.0.2:8080 mode=backup
"""


class Lb:
    """The balancer, and what its shell is about."""

    def __init__(self, directory: Path, clock: Any) -> None:
        self.ini = directory / "nodebalancer.ini"
        self.network = MemoryNetwork()
        self.nodes = [self.network.node(Address(f"10.0.0.{number}", 8080)) for number in (1, 2)]
        self.unserved = UnservedRing(lambda: 1.7e9)
        self.events = Events(clock)
        self.listeners = Listeners(
            MemoryEngine(self.network), tell=self.events.status_changed, unserved=self.unserved.note
        )
        self.plane = ControlPlane((self.listeners,))
        file, last_good = SettingsFile(str(self.ini)), LastGood()
        self.subject = Subject(self.listeners, self.events, self.unserved, clock, {"here": self})
        self.subject.editor = Editor(file, self.plane, last_good)
        self.subject.reloader = Reloader(file, self.plane, last_good)
        self.load()

    def load(self, text: str = INI) -> None:
        self.ini.write_text(in_own_state(self.ini.parent, text))
        assert self.subject.reloader is not None
        failed: list[Any] = []
        self.subject.reloader.reload("test").addErrback(failed.append)
        assert failed == []

    def client(self, host: str = "198.51.100.1") -> MemoryPeer:
        client = self.network.client(Address("203.0.113.1", 80), host)
        self.network.pump()
        return client


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lb(tmp_path: Path, clock: Clock) -> Lb:
    return Lb(tmp_path, clock)


@pytest.fixture
def lb_for(tmp_path: Path) -> Any:
    """The same over another clock, such as the reactor."""
    return lambda clock: Lb(tmp_path, clock)
