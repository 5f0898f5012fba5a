"""What stays over a reload, and what becomes of what goes (R30)."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from nodebalancer.balancing.member import Status
from nodebalancer.model import (
    Algorithm,
    CipherSuite,
    Firewall,
    Mode,
    NodeBalancer,
    Policy,
    Protocol,
    Settings,
    Stickiness,
)
from nodebalancer.testing.balancers import NODES, WWW, MemoryBalancer
from nodebalancer.testing.builders import node
from nodebalancer.testing.exchanges import GET, OK, http, status_of

CHANGES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "algorithm": {"algorithm": Algorithm.LEASTCONN},
    "checks": {"check_interval": 31, "check_attempts": 5},
    "time-outs": {"timeout_client": 7},
    "another suite": {"cipher_suite": CipherSuite.LEGACY},
    "throttle": {"nodebalancer": {"client_conn_throttle": 50}},
    "fewer connections": {"nodebalancer": {"max_connections": 1}},
    "a firewall that refuses all": {
        "firewall": Firewall("wall", Policy.DROP),
        "nodebalancer": {"firewall": "wall"},
    },
}
"""Reloads in which the config, its port and its nodes stay."""

change = pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))


def without(lb: MemoryBalancer, name: str) -> None:
    """A reload that takes a node away."""
    lb.change(nodes={key: node for key, node in lb.live.wanted.nodes.items() if key != name})


@change
def test_an_exchange_under_way_goes_on(change: dict[str, Any]) -> None:
    lb = http()
    client = lb.client(GET)
    lb.change(**change)
    lb.node().send(OK)
    lb.pump()
    assert status_of(client.received) == 200


@change
def test_counts_and_status_stay(change: dict[str, Any]) -> None:
    lb = http(2)
    lb.client(GET)
    lb.node().send(OK)
    lb.pump()
    member = lb.live.pool.members["n1"]
    lb.live.pool.set_status(member, Status.DOWN, "seen", 5.0)
    lb.change(**change)
    assert lb.live.pool.members["n1"] is member
    assert (member.status, member.reason, member.since) == (Status.DOWN, "seen", 5.0)
    assert (member.picks, lb.live.counters.total) == (1, 1)


@change
def test_clients_keep_their_nodes(change: dict[str, Any]) -> None:
    """R15: the stickiness table stays."""
    lb = http(3, stickiness=Stickiness.TABLE)
    for last in range(1, 7):
        lb.client(GET, f"198.51.100.{last}")
    before = [len(accepted) for accepted in lb.accepted]
    assert before == [2, 2, 2]
    lb.change(**{**change, "nodebalancer": {}})
    for last in range(1, 7):
        lb.client(GET, f"198.51.100.{last}")
    seen = [[bytes(peer.received) for peer in accepted] for accepted in lb.accepted]
    clients = [{data.partition(b"X-Forwarded-For: ")[2].partition(b"\r\n")[0] for data in node} for node in seen]
    assert [len(accepted) for accepted in lb.accepted] == [4, 4, 4]
    assert [len(addresses) for addresses in clients] == [2, 2, 2]


def test_what_clients_have_used_of_their_throttle_stays_used() -> None:
    """R2: whoever is refused now would not be let in by a reload."""
    lb = http(nodebalancer={"client_conn_throttle": 1, "throttle_burst": 3})
    for _ in range(3):
        lb.client(GET)
    lb.change(check_interval=31)
    assert lb.client(GET).was_reset
    assert not lb.client(GET, "198.51.100.2").was_reset


def test_weights_modes_and_algorithms_count_from_the_next_client_on() -> None:
    lb = http(2)
    lb.change_nodes(n1={"weight": 1}, n2={"weight": 3})
    for _ in range(8):
        lb.client(GET)
    assert [len(accepted) for accepted in lb.accepted] == [2, 6]
    lb.change_nodes(n1={"mode": Mode.DRAIN})
    for _ in range(4):
        lb.client(GET)
    assert [len(accepted) for accepted in lb.accepted] == [2, 10]
    lb.change_nodes(n1={"mode": Mode.ACCEPT}, n2={"weight": 1})
    lb.change(algorithm=Algorithm.LEASTCONN)
    for _ in range(4):
        lb.client(GET)
    assert [len(accepted) for accepted in lb.accepted] == [6, 10]


@pytest.mark.parametrize("mode", [Mode.DRAIN, Mode.REJECT, None])
def test_a_node_that_goes_finishes_what_it_has_begun(mode: Mode | None) -> None:
    """Drained, rejected or removed: no new client, and open connections go on."""
    lb = http(2)
    first = lb.client(GET)
    if mode:
        lb.change_nodes(n1={"mode": mode})
    else:
        without(lb, "n1")
    for _ in range(3):
        lb.client(GET)
    assert [len(accepted) for accepted in lb.accepted] == [1, 3]
    lb.node(1).send(OK)
    lb.pump()
    assert status_of(first.received) == 200


def test_a_node_that_comes_back_is_a_new_one() -> None:
    lb = http(2)
    old = lb.live.pool.members["n1"]
    lb.live.pool.set_status(old, Status.DOWN, "seen", 5.0)
    without(lb, "n1")
    lb.change(nodes={"n1": node("n1", NODES[0]), **lb.live.wanted.nodes})
    assert lb.live.pool.members["n1"] is not old
    assert lb.live.pool.members["n1"].status is Status.UNKNOWN


def test_a_firewall_counts_from_the_next_client_on() -> None:
    lb = http()
    lb.change({"firewall": "wall"}, Firewall("wall", Policy.DROP))
    assert lb.client(GET).was_reset
    lb.change({"firewall": ""})
    assert not lb.client(GET).was_reset


@pytest.mark.parametrize("gone", ["config", "nodebalancer"])
def test_a_config_or_nodebalancer_that_goes_refuses_clients_and_finishes_what_it_has_begun(gone: str) -> None:
    lb = http()
    client = lb.client(GET)
    others = {"x": NodeBalancer("x")}
    if gone == "config":
        others["www"] = attrs.evolve(lb.listeners._wanted.nodebalancers["www"], configs={})
    lb.reload(Settings(others))
    with pytest.raises(ConnectionRefusedError):
        lb.client()
    assert lb.listeners.open_connections == 1
    lb.node().send(OK)
    lb.pump()
    assert status_of(client.received) == 200
    assert lb.listeners.open_connections == 0


def test_a_port_that_changes_is_listened_on_before_the_old_one_is_left() -> None:
    """At no time do both refuse."""
    lb = http()
    www = lb.listeners._wanted.nodebalancers["www"]
    moved = attrs.evolve(www, configs={"main": attrs.evolve(www.configs["main"], port=8080)})
    wanted = Settings({"www": moved})
    assert lb.listeners.prepare(wanted, ()).result == ()
    early = lb.network.client(WWW._replace(port=8080))
    early.send(GET)
    old = lb.client(GET)
    lb.listeners.commit()
    lb.pump()
    assert len(lb.accepted[0]) == 2
    for peer in lb.accepted[0]:
        peer.send(OK)
    lb.pump()
    assert [status_of(early.received), status_of(old.received)] == [200, 200]
    with pytest.raises(ConnectionRefusedError):
        lb.client()


def test_a_protocol_that_changes_is_for_new_clients_and_those_that_are_here_go_on() -> None:
    lb = http()
    client = lb.client(GET)
    lb.change(protocol=Protocol.TCP)
    assert bytes(lb.client(b"no http").received) == b""
    assert bytes(lb.node().received) == b"no http"
    lb.accepted[0][0].send(OK)
    lb.pump()
    assert status_of(client.received) == 200


def test_a_stop_serves_who_was_accepted_already() -> None:
    """Who waits in the kernel's queue when we stop has been promised a connection."""
    lb = http()
    client = lb.network.client(WWW)
    client.send(GET)
    done: list[None] = []
    lb.listeners.stop(30).addCallback(done.append)
    assert not done
    lb.pump()
    lb.node().send(OK)
    lb.advance(2)
    assert status_of(client.received) == 200
    assert done == [None]
    lb.advance(60)
