"""Which node gets the connection: algorithms (R13), modes (R25 to R28), redispatch and the end of all nodes (R17)."""

from __future__ import annotations

import errno
from collections import Counter
from typing import Any

import attrs
import pytest

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.fields import Address
from nodebalancer.model import Algorithm, Check, Mode, Node, Protocol, ProxyProtocol
from nodebalancer.proxy.connection import DIALS_MAX
from nodebalancer.testing.balancers import NODES, WWW, MemoryBalancer
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.exchanges import GET, OK, http, post, status_of
from nodebalancer.testing.houses import House
from nodebalancer.testing.memory import MemoryNetwork
from nodebalancer.wire.proxy_protocol import V1_UNKNOWN, V2_LOCAL, v1_header, v2_header

SOURCE = "198.51.100.1"


def tcp(nodes: int = 1, **fields: Any) -> MemoryBalancer:
    return MemoryBalancer(Protocol.TCP, nodes, **fields)


def counts(lb: MemoryBalancer) -> list[int]:
    return [len(accepted) for accepted in lb.accepted]


# Algorithms


def test_round_robin_is_weighted_and_changes_weights_with_a_reload() -> None:
    lb = tcp(3)
    lb.change_nodes(n1={"weight": 200}, n3={"weight": 1})
    for _ in range(301):
        lb.client(b"x")
    assert counts(lb) == [200, 100, 1]


def test_leastconn_goes_by_open_connections_and_weight() -> None:
    lb = tcp(2, algorithm=Algorithm.LEASTCONN)
    lb.change_nodes(n1={"weight": 200})
    clients = [lb.client(b"x") for _ in range(6)]
    assert counts(lb) == [4, 2]
    for peer in lb.accepted[1]:
        peer.reset()
    lb.pump()
    clients += [lb.client(b"x") for _ in range(2)]
    assert counts(lb) == [4, 4]


def test_source_is_the_same_on_two_balancers_and_after_a_restart() -> None:
    def homes() -> list[int]:
        lb = tcp(4, algorithm=Algorithm.SOURCE)
        found = []
        for number in range(40):
            before = counts(lb)
            lb.client(b"x", f"198.51.100.{number}")
            lb.client(b"x", f"198.51.100.{number}")
            [home] = [at for at, (was, is_) in enumerate(zip(before, counts(lb), strict=True)) if is_ == was + 2]
            found.append(home)
        return found

    assert homes() == homes()
    assert set(homes()) == {0, 1, 2, 3}


def test_source_moves_only_the_clients_of_a_node_that_leaves() -> None:
    lb = tcp(4, algorithm=Algorithm.SOURCE)
    hosts = [f"198.51.100.{number}" for number in range(100)]

    def homes() -> dict[str, str]:
        found = {}
        for host in hosts:
            member = lb.live.pool.pick(host, lb.engine.now)
            assert member is not None
            lb.live.pool.release(member, Outcome.SERVED)
            found[host] = member.node.name
        return found

    before = homes()
    lb.change_nodes(n2={"mode": Mode.REJECT})
    after = homes()
    assert {host for host in hosts if before[host] != after[host]} == {host for host in hosts if before[host] == "n2"}


# Modes


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ("accept accept", "n1 n2"),
        ("reject accept", "n2"),
        ("drain accept", "n2"),
        ("backup accept", "n2"),
        ("backup reject", "n1"),
        ("backup backup", "n1 n2"),
        ("drain backup", "n2"),
        ("drain reject", ""),
    ],
)
def test_modes_apply_with_the_reload_and_open_connections_stay(modes: str, expected: str) -> None:
    lb = tcp(2)
    before = [lb.client(b"x") for _ in range(2)]
    n1, n2 = (Mode(word) for word in modes.split())
    lb.change_nodes(n1={"mode": n1}, n2={"mode": n2})
    was = counts(lb)
    for _ in range(4):
        lb.client(b"x")
    got = [f"n{at}" for at, (old, new) in enumerate(zip(was, counts(lb), strict=True), 1) if new > old]
    assert got == expected.split()
    assert not any(client.was_reset or client.ended for client in before)


def test_a_backup_takes_over_when_the_last_accept_node_is_down_and_steps_back() -> None:
    lb = tcp(2, check=Check.NONE)
    lb.change_nodes(n2={"mode": Mode.BACKUP})
    lb.network.fail(NODES[0], errno.ECONNREFUSED)
    lb.client(b"x")
    lb.client(b"x")
    assert counts(lb) == [0, 2]
    lb.network.heal(NODES[0])
    lb.advance(1)
    lb.listeners.due(lb.engine.now, 0)
    lb.client(b"x")
    assert counts(lb) == [1, 2]


# Redispatch


def test_a_dial_that_fails_goes_to_another_node_and_never_twice_to_the_same() -> None:
    lb = http(2, check_passive=False)
    lb.network.fail(NODES[0], errno.ECONNREFUSED)
    clients = [lb.client(GET) for _ in range(4)]
    for peer in lb.accepted[1]:
        peer.send(OK)
    lb.pump()
    assert [status_of(client.received) for client in clients] == [200] * 4
    failed = lb.live.pool.members["n1"]
    assert failed.picks == failed.outcomes[Outcome.CONNECT_FAILED] <= 4


def test_there_is_an_end_to_it() -> None:
    """With four nodes that refuse, three are tried; each once."""
    lb = http(4, check_passive=False)
    for address in NODES:
        lb.network.fail(address, errno.ECONNREFUSED)
    client = lb.client(GET)
    assert status_of(client.received) == 503
    assert sorted(member.picks for member in lb.live.pool.members.values()) == [0, 1, 1, 1]
    assert DIALS_MAX == 3
    assert lb.outcomes == {}
    lb.advance(3)
    assert lb.outcomes == {"connect_failed": 1}
    lb.check_at_rest()


def test_a_node_that_does_not_answer_is_waited_for_as_long_as_said() -> None:
    lb = http(2, timeout_connect=2)
    lb.network.blackhole(NODES[0])
    client = lb.client(GET)
    lb.advance(1.9)
    assert counts(lb) == [0, 0]
    lb.advance(0.2)
    assert counts(lb) == [0, 1]
    lb.node(2).send(OK)
    lb.pump()
    assert status_of(client.received) == 200
    assert lb.status_changes() == ["n1 DOWN: a connection failed: timed out"]


def test_what_was_sent_to_one_node_is_not_sent_to_another() -> None:
    lb = http(2)
    client = lb.client(post(b"pay", 3))
    lb.node(1).reset()
    lb.pump()
    assert status_of(client.received) == 502
    assert counts(lb) == [1, 0]


def test_a_sticky_client_whose_node_cannot_be_reached_gets_another_for_its_own() -> None:
    lb = tcp(3, algorithm=Algorithm.SOURCE)
    lb.client(b"x")
    home = counts(lb).index(1)
    lb.network.fail(NODES[home], errno.ECONNREFUSED)
    for _ in range(3):
        lb.client(b"x")
    after = counts(lb)
    assert after[home] == 1
    assert sorted(after) == [0, 1, 3]


# Nobody left


def test_without_any_node_that_is_up_http_says_503_and_when_to_come_again() -> None:
    lb = http(2, check=Check.NONE)
    for address in NODES[:2]:
        lb.network.fail(address, errno.ECONNREFUSED)
    first = lb.client(GET)
    assert lb.statuses() == "DOWN DOWN"
    second = lb.client(GET)
    for client in (first, second):
        assert status_of(client.received) == 503
        assert b"\r\nRetry-After: 10\r\n" in client.received
    lb.advance(3)
    assert lb.outcomes == {"connect_failed": 1, "no_node": 1}
    lb.check_at_rest()


def test_over_tcp_the_client_is_closed_at_once() -> None:
    lb = tcp(2, check=Check.NONE)
    for address in NODES[:2]:
        lb.network.fail(address, errno.ECONNREFUSED)
    clients = [lb.client(), lb.client()]
    assert [client.ended for client in clients] == [True, True]
    assert not any(client.was_reset or client.received for client in clients)


def world(protocol: Protocol = Protocol.HTTP, **fields: Any) -> House:
    nodes = [node(f"n{number}", address) for number, address in enumerate(NODES[:2], 1)]
    network = MemoryNetwork()
    for one in nodes:
        network.node(one.address)
    web = config("web", *nodes, port=WWW.port, protocol=protocol, **fields)
    return House(settings(nodebalancer("www", web, listen=(WWW.host,))), network)


@pytest.mark.parametrize("check", [Check.NONE, Check.CONNECTION])
def test_it_recovers_by_itself(check: Check) -> None:
    """By probes, or where there are none by trying again."""
    house = world(check=check)
    for address in NODES[:2]:
        house.network.fail(address, errno.ECONNREFUSED)
    house.network.advance(30)
    if check is Check.NONE:
        house.client(WWW, GET)
    assert house.statuses() == "DOWN DOWN"
    assert status_of(house.client(WWW, GET).received) == 503
    for address in NODES[:2]:
        house.network.heal(address)
    house.network.advance(31)
    assert house.statuses() == ("Unknown Unknown" if check is Check.NONE else "UP UP")
    house.client(WWW, GET)
    member = house.live().pool.members["n1"]
    assert member.open == 1
    house.stop()
    house.check_at_rest()


def test_a_node_that_came_up_gets_to_its_share_slowly() -> None:
    house = world(Protocol.TCP, slow_start=100, check_interval=2, check_timeout=1, check_rise=1)
    house.network.fail(NODES[0], errno.ECONNREFUSED)
    house.network.advance(20)
    assert house.statuses() == "DOWN UP"
    house.network.heal(NODES[0])

    def share() -> float:
        members = house.live().pool.members
        before = {name: member.picks for name, member in members.items()}
        for _ in range(100):
            house.client(WWW, b"x").reset()
        house.network.pump()
        return (members["n1"].picks - before["n1"]) / 100

    house.network.advance(4)
    assert house.statuses() == "UP UP"
    assert share() < 0.1
    house.network.advance(50)
    assert 0.25 < share() < 0.45
    house.network.advance(60)
    assert share() == 0.5
    house.stop()


# PROXY protocol


@pytest.mark.parametrize(("version", "header"), [(ProxyProtocol.V1, v1_header), (ProxyProtocol.V2, v2_header)])
@pytest.mark.parametrize("source", [SOURCE, "2001:db8::7"])
def test_the_node_hears_first_of_all_who_the_client_is(version: ProxyProtocol, header: Any, source: str) -> None:
    lb = tcp(2, proxy_protocol=version)
    lb.network.fail(NODES[0], errno.ECONNREFUSED)
    client = lb.client(b"hello", source)
    assert lb.node(2).received == header(client.address, WWW) + b"hello"
    lb.node(2).send(b"back")
    lb.pump()
    assert client.received == b"back"


def test_the_header_does_not_wait_for_the_client_to_speak() -> None:
    lb = tcp(proxy_protocol=ProxyProtocol.V2)
    client = lb.client()
    assert lb.node().received == v2_header(client.address, WWW)


@pytest.mark.parametrize(("version", "opening"), [(ProxyProtocol.V1, V1_UNKNOWN), (ProxyProtocol.V2, V2_LOCAL)])
def test_probes_say_that_they_are_for_nobody(version: ProxyProtocol, opening: bytes) -> None:
    house = world(Protocol.TCP, proxy_protocol=version)
    peers = house.network._nodes[NODES[0]]
    house.network.advance(3)
    assert [bytes(peer.received) for peer in peers] == [opening] * len(peers) != []
    assert house.statuses() == "UP UP"
    house.stop()


def test_a_reload_switches_the_header_on_for_new_connections() -> None:
    lb = tcp()
    lb.client(b"a")
    lb.change(proxy_protocol=ProxyProtocol.V1)
    lb.client(b"b")
    assert [bytes(peer.received)[:6] for peer in lb.accepted[0]] == [b"a", b"PROXY "]


# Reloads


def test_a_node_that_is_added_gets_clients_after_its_first_good_probe() -> None:
    house = world(Protocol.TCP)
    house.network.advance(3)
    www = settings(house.plane.current.nodebalancers["www"]).nodebalancers["www"]
    web = www.configs["web"]
    third = Node("n3", NODES[2])
    house.network.node(NODES[2])
    more = attrs.evolve(web, nodes={**web.nodes, "n3": third})
    house.want(settings(attrs.evolve(www, configs={"web": more})))
    for _ in range(6):
        house.client(WWW, b"x")
    picks = Counter({name: member.picks for name, member in house.live().pool.members.items()})
    assert (picks["n3"], house.statuses()) == (0, "UP UP Unknown")
    house.network.advance(3)
    for _ in range(6):
        house.client(WWW, b"x")
    assert (house.live().pool.members["n3"].picks, house.statuses()) == (2, "UP UP UP")
    house.stop()


def test_an_address_that_changes_is_a_new_node() -> None:
    lb = tcp(1)
    lb.client(b"x")
    other = lb.network.node(Address("10.0.0.9", 80))
    lb.change_nodes(n1={"address": Address("10.0.0.9", 80)})
    lb.client(b"y")
    assert [bytes(peer.received) for peer in other] == [b"y"]
    assert lb.live.pool.members["n1"].picks == 1
