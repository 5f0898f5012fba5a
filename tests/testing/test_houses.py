"""The house is a balancer like that of a process."""

from __future__ import annotations

import attrs
import pytest

from nodebalancer.errors import SettingsError
from nodebalancer.fields import Address
from nodebalancer.model import Check, Protocol
from nodebalancer.testing.builders import NODE_ADDRESS, config, node, nodebalancer, settings
from nodebalancer.testing.houses import House
from nodebalancer.testing.memory import MemoryNetwork

HERE = Address("127.0.0.1", 80)
WEB = config("web", node(), port=80, protocol=Protocol.TCP)
WANTED = settings(nodebalancer("www", WEB, listen=(HERE.host,)))


@pytest.fixture
def network() -> MemoryNetwork:
    network = MemoryNetwork()
    network.node(NODE_ADDRESS)
    return network


def test_clients_are_served_nodes_probed_and_events_told(network: MemoryNetwork) -> None:
    house = House(WANTED, network)
    client = house.client(HERE, b"x")
    assert house.statuses() == "Unknown"
    network.advance(3)
    assert house.statuses() == "UP"
    assert [change.node for change in house.events.changes] == ["a"]
    client.reset()
    network.pump()
    assert house.outcomes() == {"client_left": 1}
    house.check_at_rest()
    house.stop()
    network.advance(2)
    assert not network.clock.getDelayedCalls()


def test_what_is_still_open_is_not_at_rest(network: MemoryNetwork) -> None:
    house = House(WANTED, network)
    house.client(HERE, b"x")
    with pytest.raises(AssertionError):
        house.check_at_rest()
    house.stop()
    house.check_at_rest()


def test_settings_that_are_not_good_are_refused(network: MemoryNetwork) -> None:
    house = House(WANTED, network)
    bad = attrs.evolve(WEB, check=Check.HTTP_BODY, check_path="/", check_body="(")
    with pytest.raises(SettingsError):
        house.want(settings(nodebalancer("www", bad, listen=(HERE.host,))))
    assert house.live().wanted is WEB
    house.stop()
