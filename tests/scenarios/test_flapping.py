"""A day in which nodes come and go, with clients, probes and reloads, under one clock; and a machine that is paused."""

from __future__ import annotations

import errno
import random
from collections import Counter

import attrs
import pytest

from nodebalancer.balancing.member import Status
from nodebalancer.fields import Address
from nodebalancer.model import Algorithm, Check, Mode, Protocol, Settings, Stickiness
from nodebalancer.testing.balancers import NODES
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.houses import House
from nodebalancer.testing.logs import logged
from nodebalancer.testing.memory import MemoryNetwork

HERE = Address("127.0.0.1", 80)
DAY = 86_400


def wanted(chance: random.Random, check: Check) -> Settings:
    modes = [Mode.ACCEPT, *(chance.choice((Mode.ACCEPT, Mode.ACCEPT, Mode.DRAIN, Mode.BACKUP)) for _ in NODES[1:])]
    nodes = [
        node(f"n{number}", address, mode=mode, weight=chance.randrange(1, 256))
        for number, (address, mode) in enumerate(zip(NODES, modes, strict=True), 1)
    ]
    web = config(
        "web",
        *nodes,
        port=80,
        protocol=Protocol.TCP,
        check=check,
        algorithm=chance.choice(list(Algorithm)),
        stickiness=chance.choice((Stickiness.NONE, Stickiness.TABLE)),
        slow_start=chance.choice((0, 300)),
    )
    return settings(nodebalancer("www", web, listen=(HERE.host,), client_max_connections=chance.choice((0, 5))))


@pytest.mark.parametrize("check", [Check.CONNECTION, Check.NONE])
def test_a_day_of_flapping(check: Check) -> None:
    """Nodes die and come back at random; every client is served while any node can, and the books are right at the end."""
    chance = random.Random(7)
    network = MemoryNetwork()
    for address in NODES:
        network.node(address)
    house = House(wanted(chance, check), network)
    down: set[Address] = set()
    ended: Counter[str] = Counter()
    for second in range(DAY):
        network.clock.advance(1)
        if second % 60 == 0:
            address = chance.choice(NODES)
            if address in down:
                network.heal(address)
                down.discard(address)
            elif len(down) < len(NODES) - 1 or second % 3600 == 0:
                network.fail(address, chance.choice((errno.ECONNREFUSED, errno.EHOSTUNREACH)))
                down.add(address)
        if second % 20 == 0:
            client = house.client(HERE, source=f"198.51.100.{chance.randrange(1, 200)}")
            ended[(f"{'none' if len(down) == len(NODES) else 'some'}", client.ended)[0] + str(client.ended)] += 1
            client.reset()
        if second % 7200 == 7199:
            house.want(wanted(chance, check))
            for peers in network._nodes.values():
                peers.clear()
    assert ended["someFalse"] > 3000
    for address in down:
        network.heal(address)
    for _ in range(120):
        network.clock.advance(1)
        house.client(HERE).reset()
    assert Status.DOWN.value not in house.statuses()
    assert house.events.count > 500
    assert len(house.events.changes) <= 1000
    house.stop()
    house.check_at_rest()


def test_a_machine_that_was_paused_takes_no_node_out_and_cuts_nobody() -> None:
    """Forty seconds in which nothing of ours ran: probes were under way, and clients were idle for less than they may."""
    network = MemoryNetwork()
    for address in NODES[:2]:
        network.node(address)
    nodes = [node(f"n{number}", address) for number, address in enumerate(NODES[:2], 1)]
    web = config("web", *nodes, port=80, protocol=Protocol.TCP, timeout_tunnel=90, check_interval=6, check_attempts=1)
    house = House(settings(nodebalancer("www", web, listen=(HERE.host,))), network)
    network.advance(5)
    clients = [house.client(HERE, b"x") for _ in range(4)]
    for address in NODES[:2]:
        network.slow(address, 4)
    while house.monitor.in_flight < 2:
        network.advance(0.1)
    count = house.events.count
    network.clock.advance(40)
    network.advance(10)
    assert (house.statuses(), house.events.count) == ("UP UP", count)
    assert house.monitor.repeated == 2
    assert not any(client.was_reset or client.ended for client in clients)
    house.stop()


def test_reloads_do_not_disturb_the_books() -> None:
    """Every few connections other nodes, limits and algorithms, with connections open all the time."""
    chance = random.Random(3)
    network = MemoryNetwork()
    for address in NODES:
        network.node(address)
    house = House(wanted(chance, Check.CONNECTION), network)
    clients = []
    for _ in range(300):
        clients.append(house.client(HERE, source=f"198.51.100.{chance.randrange(9)}"))
        if chance.random() < 0.3:
            clients.pop(chance.randrange(len(clients))).reset()
        if chance.random() < 0.2:
            one = wanted(chance, chance.choice((Check.CONNECTION, Check.NONE)))
            www = one.nodebalancers["www"]
            web = www.configs["web"]
            kept = {name: value for name, value in web.nodes.items() if chance.random() < 0.7}
            house.want(settings(attrs.evolve(www, configs={"web": attrs.evolve(web, nodes=kept)})))
        network.advance(0.5)
    house.stop()
    house.check_at_rest()


def test_a_change_is_one_line_one_event_and_one_count() -> None:
    network = MemoryNetwork()
    network.node(NODES[0])
    web = config("web", node("app-1", NODES[0]), port=80, protocol=Protocol.TCP)
    house = House(settings(nodebalancer("www", web, listen=(HERE.host,))), network)
    network.advance(5)
    network.fail(NODES[0], errno.ECONNREFUSED)
    with logged("[nodes") as lines:
        for _ in range(10):
            house.client(HERE)
    assert lines == ["[nodes www/web] app-1 is DOWN (was UP): a connection failed: connection refused; change 2"]
    assert house.events.count == len(house.events.changes) == house.live().pool.members["app-1"].flaps == 2
    house.stop()
