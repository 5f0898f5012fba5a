"""Who is let in, and how many (R2 to R4): in front of real connections, and changed by reloads."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from nodebalancer.fields import Address
from nodebalancer.model import Firewall, NodeBalancer, Policy, Protocol
from nodebalancer.proxy.tcp import TCPClient
from nodebalancer.testing.balancers import MemoryBalancer
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.exchanges import GET, OK, http, status_of
from nodebalancer.testing.houses import House
from nodebalancer.testing.logs import logged
from nodebalancer.testing.memory_ends import MemoryPeer

OFFICE = Firewall("office", Policy.DROP, ("ACCEPT TCP 80 198.51.100.0/24, 2001:db8::/32",))
INSIDE, OUTSIDE = "198.51.100.1", "203.0.113.77"


def tcp(nodes: int = 1, **fields: Any) -> MemoryBalancer:
    return MemoryBalancer(Protocol.TCP, nodes, **fields)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clients for which a protocol was made."""
    hosts: list[str] = []
    make = TCPClient.__init__

    def note(self: TCPClient, live: Any, peer: Address) -> None:
        hosts.append(peer.host)
        make(self, live, peer)

    monkeypatch.setattr(TCPClient, "__init__", note)
    return hosts


# Firewall


def test_who_is_outside_is_reset_before_there_is_a_protocol_and_nothing_else_sees_them(built: list[str]) -> None:
    lb = tcp(nodebalancer={"firewall": "office", "client_conn_throttle": 5})
    lb.change(firewall=OFFICE)
    with logged() as lines:
        clients = [lb.client(b"x", source) for source in (INSIDE, OUTSIDE, "2001:db8::1", "2001:db9::1")]
    assert [client.was_reset for client in clients] == [False, True, False, True]
    assert built == [INSIDE, "2001:db8::1"]
    assert lb.live.gate.firewalled == 2
    assert lb.live.gate.throttle.clients == 2
    assert (lb.live.counters.total, lines) == (2, [])


def test_a_firewall_changes_with_a_reload_and_open_connections_stay() -> None:
    lb = tcp()
    before = lb.client(b"a", OUTSIDE)
    lb.change({"firewall": "office"}, OFFICE)
    assert lb.client(b"b", OUTSIDE).was_reset
    lb.node().send(b"still here")
    lb.pump()
    assert before.received == b"still here"
    lb.change(firewall=Firewall("office", Policy.DROP, ("ACCEPT TCP ALL 0.0.0.0/0",)))
    assert not lb.client(b"c", OUTSIDE).was_reset
    lb.change({"firewall": ""})
    assert lb.live.admitted is None


def test_rules_are_for_their_ports() -> None:
    """The same firewall before two ports, of which a rule names one."""
    configs = [config(name, node(), port=port, protocol=Protocol.TCP) for name, port in (("web", 80), ("db", 5432))]
    house = House(
        settings(nodebalancer("www", *configs, listen=("127.0.0.1",), firewall="office"), firewalls=(OFFICE,))
    )
    refused = [house.client(Address("127.0.0.1", port), source=INSIDE).was_reset for port in (80, 5432)]
    assert refused == [False, True]
    house.stop()


# Throttle


def test_the_throttle_lets_a_burst_in_and_then_its_rate(built: list[str]) -> None:
    lb = tcp(nodebalancer={"client_conn_throttle": 2, "throttle_burst": 5})
    assert [lb.client(b"x").was_reset for _ in range(7)] == [False] * 5 + [True] * 2
    assert not lb.client(b"x", "198.51.100.2").was_reset
    lb.advance(1)
    assert [lb.client(b"x").was_reset for _ in range(3)] == [False, False, True]
    assert lb.live.gate.throttle.refused == 3
    assert len(built) == lb.live.counters.total == 8


def test_one_line_a_client_a_minute() -> None:
    lb = tcp(nodebalancer={"client_conn_throttle": 1})
    with logged("[nodebalancer www]") as lines:
        for source in (INSIDE, "198.51.100.2"):
            for _ in range(20):
                lb.client(b"x", source)
        assert len(lines) == 2
        lb.advance(61)
        for _ in range(20):
            lb.client(b"x")
    assert lines == [
        f"[nodebalancer www] connections from {host} are refused: more than 1 new connections a second"
        for host in (INSIDE, "198.51.100.2", INSIDE)
    ]


def test_the_throttle_is_over_all_ports_and_some_are_exempt() -> None:
    configs = [config(name, node(), port=port, protocol=Protocol.TCP) for name, port in (("a", 80), ("b", 81))]
    house = House(
        settings(
            nodebalancer(
                "www",
                *configs,
                listen=("127.0.0.1",),
                client_conn_throttle=1,
                throttle_exempt=(ip_network("198.51.100.9/32"),),
            )
        )
    )
    ports = [Address("127.0.0.1", port) for port in (80, 81)]
    assert [house.client(port).was_reset for port in ports] == [False, True]
    assert [house.client(port, source="198.51.100.9").was_reset for port in ports * 3] == [False] * 6
    house.stop()


def test_the_throttle_changes_with_a_reload() -> None:
    lb = tcp()
    assert not any(lb.client(b"x").was_reset for _ in range(9))
    lb.change({"client_conn_throttle": 1})
    assert [lb.client(b"x").was_reset for _ in range(3)] == [False, True, True]
    lb.change({"client_conn_throttle": 0})
    assert not any(lb.client(b"x").was_reset for _ in range(9))


# Connections at once, from one client


def test_a_client_has_so_many_at_once_over_all_ports(built: list[str]) -> None:
    lb = tcp(nodebalancer={"client_max_connections": 2})
    clients = [lb.client(b"x") for _ in range(3)]
    assert [client.was_reset for client in clients] == [False, False, True]
    assert not lb.client(b"x", "198.51.100.2").was_reset
    assert len(built) == 3
    clients[0].reset()
    lb.pump()
    assert [lb.client(b"x").was_reset for _ in range(2)] == [False, True]
    assert lb.live.gate.counts.refused == 2


def test_counts_are_right_when_reloads_switch_the_limit_on_and_off() -> None:
    """Also for connections of a config that the same reload removes, and for those that end while nobody counts."""
    lb = tcp()
    first, second = lb.client(b"a"), lb.client(b"b")
    lb.change({"client_max_connections": 2})
    assert lb.client(b"c").was_reset
    first.reset()
    lb.pump()
    third = lb.client(b"d")
    assert not third.was_reset
    lb.change({"client_max_connections": 0})
    second.reset()
    more = [lb.client(b"e") for _ in range(3)]
    lb.change({"client_max_connections": 4})
    assert lb.live.gate.counts.clients == 1
    assert lb.client(b"f").was_reset
    for client in (third, *more):
        client.reset()
    lb.pump()
    assert lb.live.gate.counts.clients == 0
    lb.check_at_rest()


def test_connections_of_a_config_that_is_gone_count_until_they_end() -> None:
    configs = [config(name, node(), port=port, protocol=Protocol.TCP) for name, port in (("a", 80), ("b", 81))]

    def wanted(*kept: Any) -> Any:
        return settings(nodebalancer("www", *kept, listen=("127.0.0.1",), client_max_connections=2))

    house = House(wanted(*configs))
    house.network.node(node().address)
    clients = [house.client(Address("127.0.0.1", port)) for port in (80, 81)]
    house.want(wanted(configs[0]))
    assert house.client(Address("127.0.0.1", 80)).was_reset
    clients[1].reset()
    house.network.pump()
    assert not house.client(Address("127.0.0.1", 80)).was_reset
    house.stop()
    house.check_at_rest()


# Connections at once, from everybody


def stalled(lb: MemoryBalancer, count: int) -> list[MemoryPeer]:
    return [lb.client(b"GET / HTTP/1.1\r\nHost: slow", f"192.0.2.{number % 250}") for number in range(count)]


@pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.HTTPS])
def test_a_fresh_client_is_served_while_all_connections_are_stalled(protocol: Protocol) -> None:
    lb = MemoryBalancer(protocol, nodebalancer={"max_connections": 100})
    slow = stalled(lb, 100)
    assert lb.live.gate.open == 100
    fresh = lb.client(GET)
    lb.node().send(OK)
    lb.pump()
    assert status_of(fresh.received) == 200
    assert [client.was_reset for client in slow] == [True] + [False] * 99
    assert lb.outcomes == {"served": 1, "refused": 1}
    assert (lb.live.gate.open, lb.live.gate.pushed_out) == (99, 1)


def test_a_flood_of_stalled_clients_pushes_out_its_own() -> None:
    lb = http(nodebalancer={"max_connections": 50})
    slow = stalled(lb, 500)
    assert sum(client.was_reset for client in slow) == 450
    assert not any(client.was_reset for client in slow[450:])
    assert lb.live.gate.open == len(lb.live.gate.headless) == 50
    assert lb.live.gate.times_full == 0
    for client in slow[450:]:
        client.reset()
    lb.pump()
    lb.check_at_rest()


def test_many_that_come_in_one_turn_push_out_one_each() -> None:
    """Sockets of those that were pushed out are closed a turn later; nobody is asked to make way twice."""
    lb = http(nodebalancer={"max_connections": 10})
    slow = stalled(lb, 10)
    fresh = [lb.network.client(lb.address) for _ in range(5)]
    for client in fresh:
        client.send(GET)
    lb.pump()
    assert sum(client.was_reset for client in slow) == 5
    for peer in lb.accepted[0]:
        peer.send(OK)
    lb.pump()
    assert [status_of(client.received) for client in fresh] == [200] * 5
    assert lb.live.gate.open == 5


def test_when_all_have_sent_their_requests_the_next_waits_and_is_served() -> None:
    lb = http(nodebalancer={"max_connections": 2})
    clients = [lb.client(GET) for _ in range(3)]
    assert lb.live.gate.shut
    assert len(lb.accepted[0]) == 2
    lb.accepted[0][0].send(OK)
    lb.pump()
    lb.node().send(OK)
    lb.accepted[0][1].send(OK)
    lb.pump()
    assert [status_of(client.received) for client in clients] == [200] * 3
    lb.check_at_rest()


def test_the_newest_can_make_way_too_when_nobody_else_can() -> None:
    """One stalled client among those with requests is no reason to keep everybody else out."""
    lb = http(nodebalancer={"max_connections": 2})
    lb.client(GET)
    [slow] = stalled(lb, 1)
    assert not lb.live.gate.shut
    lb.client(GET)
    assert slow.was_reset
    assert len(lb.accepted[0]) == 2


def test_who_has_been_refused_and_is_read_on_may_make_way() -> None:
    """It has had its answer; what it still sends is only read so that the answer arrives."""
    lb = http(nodebalancer={"max_connections": 1})
    garbage = lb.client(b"what?\r\n\r\n")
    assert status_of(garbage.received) == 400
    fresh = lb.client(GET)
    lb.node().send(OK)
    lb.pump()
    assert status_of(fresh.received) == 200
    assert sum(lb.outcomes.values()) == 2
    lb.check_at_rest()


def test_tcp_clients_wait_at_the_cap_and_nobody_makes_way() -> None:
    lb = tcp(nodebalancer={"max_connections": 2})
    clients = [lb.client(b"x") for _ in range(3)]
    assert not any(client.was_reset for client in clients)
    assert len(lb.accepted[0]) == 2
    clients[0].reset()
    lb.pump()
    assert len(lb.accepted[0]) == 3


def test_the_cap_is_over_all_ports_and_not_over_all_nodebalancers() -> None:
    def one(name: str, port: int) -> NodeBalancer:
        web = config("web", node(), port=port)
        return nodebalancer(name, web, config("more", node(), port=port + 1), listen=("127.0.0.1",), max_connections=1)

    house = House(settings(one("a", 80), one("b", 90)))
    nodes = house.network.node(node().address)
    for port in (80, 81, 90):
        house.client(Address("127.0.0.1", port), GET)
    assert len(nodes) == 2
    house.stop()
    house.check_at_rest()


def test_a_reload_from_tcp_to_http_counts_the_clients_of_both() -> None:
    """Whoever has no head to send is never waited for, and whoever has is, whatever the config says since."""
    lb = http(nodebalancer={"max_connections": 2})
    [slow] = stalled(lb, 1)
    lb.change(protocol=Protocol.TCP)
    assert lb.client(b"x").received == b""
    lb.client(b"y")
    assert slow.was_reset
    assert len(lb.accepted[0]) == 2
