"""Nodes that go by a name: where they are dialled, and what they are while nobody knows (R24)."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from nodebalancer.fields import Address
from nodebalancer.model import Check, Protocol, Settings
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.houses import House
from nodebalancer.testing.logs import logged
from nodebalancer.testing.memory import MemoryNetwork

HERE = Address("127.0.0.1", 80)
NAMED = node("origin", Address("origin.internal", 8080))
PLAIN = node("app", Address("10.0.0.9", 8080))
FIRST, SECOND = Address("10.0.0.1", 8080), Address("10.0.0.2", 8080)


def wanted(*nodes: Any, **fields: Any) -> Settings:
    web = config("web", *(nodes or (NAMED,)), port=80, protocol=Protocol.TCP, **fields)
    return settings(nodebalancer("www", web, listen=(HERE.host,)))


@pytest.fixture
def network() -> MemoryNetwork:
    network = MemoryNetwork()
    for address in (FIRST, SECOND, PLAIN.address):
        network.node(address)
    return network


def accepted(house: House, address: Address) -> int:
    """Connections of clients; probes send nothing."""
    house.network.pump()
    return sum(bool(peer.received) for peer in house.network._nodes[address])


def test_a_name_that_cannot_be_resolved_stops_no_start_and_its_node_is_down(network: MemoryNetwork) -> None:
    house = House(wanted(NAMED, PLAIN), network)
    member = house.live().pool.members["origin"]
    assert (house.statuses(), member.reason, member.address) == ("DOWN Unknown", "name not resolved", None)
    for _ in range(4):
        house.client(HERE, b"x")
    assert accepted(house, PLAIN.address) == 4
    network.advance(40)
    assert (house.statuses(), member.reason) == ("DOWN UP", "name not resolved")
    house.stop()


def test_once_it_is_resolved_it_is_dialled_there(network: MemoryNetwork) -> None:
    house = House(wanted(), network)
    assert house.client(HERE).ended
    network.names["origin.internal"] = [FIRST.host]
    network.advance(31)
    house.client(HERE, b"x")
    assert accepted(house, FIRST) == 1
    network.advance(11)
    assert [change.reason for change in house.events.changes] == [
        "name not resolved yet",
        "name resolved",
        "a probe passed: connected",
    ]
    house.stop()


def test_another_answer_moves_new_connections_and_no_answer_moves_nobody(network: MemoryNetwork) -> None:
    network.names["origin.internal"] = [FIRST.host]
    house = House(wanted(), network)
    network.advance(3)
    before = house.client(HERE, b"x")
    network.names["origin.internal"] = [SECOND.host]
    network.advance(31)
    house.client(HERE, b"x")
    assert (accepted(house, FIRST), accepted(house, SECOND)) == (1, 1)
    with logged("origin.internal cannot be resolved any more") as lines:
        del network.names["origin.internal"]
        network.advance(31)
    assert len(lines) == 1
    house.client(HERE, b"x")
    assert accepted(house, SECOND) == 2
    assert house.statuses() == "UP"
    assert not before.was_reset
    house.stop()


def test_a_reload_keeps_what_is_known_and_nobody_notices(network: MemoryNetwork) -> None:
    network.names["origin.internal"] = [FIRST.host]
    house = House(wanted(), network)
    network.advance(3)
    count = house.events.count
    del network.names["origin.internal"]
    house.want(wanted(attrs.evolve(NAMED, weight=7), PLAIN))
    house.want(wanted(attrs.evolve(NAMED, weight=7), PLAIN, timeout_tunnel=9))
    assert (house.statuses(), house.events.count) == ("UP Unknown", count)
    house.client(HERE, b"x")
    assert accepted(house, FIRST) == 1
    house.stop()


def test_a_name_that_is_resolved_waits_for_its_first_probe_where_others_can_serve(network: MemoryNetwork) -> None:
    """Where it leads nobody has looked yet."""
    house = House(wanted(NAMED, PLAIN), network)
    network.advance(3)
    network.names["origin.internal"] = ["10.0.0.77"]
    network.advance(29)
    origin = house.live().pool.members["origin"]
    while origin.address is None:
        network.advance(0.1)
    for _ in range(5):
        house.client(HERE, b"x")
    assert origin.picks == 0
    network.advance(30)
    assert (house.statuses(), origin.reason) == ("DOWN UP", "a probe failed: connection refused")
    assert origin.picks == 0
    house.stop()


@pytest.mark.parametrize("check", [Check.NONE, Check.CONNECTION])
def test_an_answer_that_is_our_own_listener_is_none(network: MemoryNetwork, check: Check) -> None:
    """Also while a probe of the old address is under way and well."""
    network.names["origin.internal"] = [FIRST.host]
    house = House(wanted(check=check, check_rise=1), network)
    network.advance(3)
    web = config("own", port=8080, protocol=Protocol.TCP)
    network.slow(FIRST, 4)
    network.names["origin.internal"] = [FIRST.host]
    network.advance(10)
    network.release(FIRST)
    www = wanted(check=check, check_rise=1).nodebalancers["www"]
    house.want(settings(www, nodebalancer("own", web, listen=(FIRST.host,))))
    assert house.statuses() == "DOWN"
    assert "our own listener" in house.live().pool.members["origin"].reason
    network.advance(10)
    assert house.statuses() == "DOWN"
    assert house.client(HERE).ended
    house.stop()
