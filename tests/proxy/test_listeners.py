"""Listeners follow the settings: prepare, commit, abandon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Pool
from nodebalancer.changes import plan
from nodebalancer.errors import ListenError, Problem
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Node, NodeBalancer, PortConfig, Protocol, Settings
from nodebalancer.proxy.connection import ClientSide
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.testing.balancers import MemoryBalancer
from nodebalancer.testing.exchanges import GET, OK, http, post, status_of
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.transport.engine import Listener

NODE = Address("10.0.0.1", 8080)


def www(*configs: PortConfig, **fields: Any) -> Settings:
    """Settings with one NodeBalancer."""
    fields.setdefault("listen", ("203.0.113.1",))
    return Settings(nodebalancers={"www": NodeBalancer("www", configs={c.name: c for c in configs}, **fields)})


def config(name: str = "main", **fields: Any) -> PortConfig:
    return PortConfig(name, nodes={"n": Node("n", NODE)}, **fields)


class World:
    """Listeners on a memory network, and the road that a reload takes."""

    def __init__(self, engine: Callable[[MemoryNetwork], MemoryEngine] = MemoryEngine) -> None:
        self.network = MemoryNetwork()
        self.listeners = Listeners(engine(self.network))
        self.nodes = self.network.node(NODE)
        self.current = NOTHING

    def prepare(self, wanted: Settings) -> list[Problem]:
        problems: list[Problem] = []
        assert self.listeners.examine(wanted).result == ()
        self.listeners.prepare(wanted, plan(self.current, wanted)).addCallback(problems.extend)
        return problems

    def reload(self, wanted: Settings) -> list[Problem]:
        problems = self.prepare(wanted)
        if problems:
            self.listeners.abandon()
        else:
            self.listeners.commit()
            self.current = wanted
        return problems

    def where(self) -> dict[str, str]:
        return {str(address): live.path for address, live in self.listeners.listening()}

    def answers(self, host: str, port: int) -> bool:
        """Whether a client that comes there reaches a node."""
        before = len(self.nodes)
        try:
            self.network.client(Address(host, port)).send(GET)
        except ConnectionRefusedError:
            return False
        self.network.pump()
        return len(self.nodes) > before


def test_every_config_listens_on_every_address_of_its_nodebalancer() -> None:
    """R1, R5: addresses of both families times ports."""
    world = World()
    assert world.reload(www(config("a", port=80), config("b", port=81), listen=("0.0.0.0", "::"))) == []
    assert world.where() == {"0.0.0.0:80": "www/a", "[::]:80": "www/a", "0.0.0.0:81": "www/b", "[::]:81": "www/b"}
    assert world.answers("0.0.0.0", 80)
    assert world.answers("::", 81)


def test_nobody_is_served_between_prepare_and_commit() -> None:
    """A client that comes early waits; what was refused in the end never served anybody."""
    world = World()
    assert world.prepare(www(config())) == []
    assert not world.answers("203.0.113.1", 80)
    world.listeners.commit()
    world.network.pump()
    assert len(world.nodes) == 1


def test_a_taken_port_is_a_problem_with_section_and_key_and_changes_nothing() -> None:
    world = World()
    world.reload(www(config("a", port=80)))
    world.network.node(Address("203.0.113.1", 82))
    (problem,) = world.reload(www(config("b", port=81), config("c", port=82)))
    assert str(problem) == (
        "[config www/c] port = 82: cannot listen on 203.0.113.1:82: already in use by another program "
        "(from listen of [nodebalancer www])"
    )
    assert world.where() == {"203.0.113.1:80": "www/a"}
    assert world.answers("203.0.113.1", 80)
    assert not world.answers("203.0.113.1", 81)


def test_abandon_without_prepare_does_nothing() -> None:
    world = World()
    world.reload(www(config()))
    world.listeners.abandon()
    assert world.answers("203.0.113.1", 80)


def test_a_reload_keeps_connections_counters_and_listeners() -> None:
    """R30: what stays is not touched."""
    lb = http(2)
    client = lb.client(GET)
    listening = {id(door.listener) for door in lb.listeners._doors.values()}
    settings = lb._settings
    balancer = settings.nodebalancers["www"]
    main = balancer.configs["main"]
    fewer = attrs.evolve(main, nodes={"n2": main.nodes["n2"]})
    lb.reload(Settings(nodebalancers={"www": attrs.evolve(balancer, configs={"main": fewer})}))
    assert {id(door.listener) for door in lb.listeners._doors.values()} == listening
    lb.node(1).send(OK)
    lb.pump()
    assert status_of(client.received) == 200
    for _ in range(3):
        lb.client(GET)
    assert len(lb.accepted[0]) == 1
    assert lb.live.counters.total == 4


def test_a_renamed_config_takes_its_listener_along() -> None:
    world = World()
    world.reload(www(config("old")))
    listener = next(iter(world.listeners._doors.values())).listener
    assert world.reload(www(config("new"))) == []
    assert next(iter(world.listeners._doors.values())).listener is listener
    assert world.where() == {"203.0.113.1:80": "www/new"}
    assert world.answers("203.0.113.1", 80)


def test_a_changed_port_listens_on_the_new_and_leaves_the_old() -> None:
    world = World()
    world.reload(www(config(port=80)))
    world.reload(www(config(port=81)))
    assert not world.answers("203.0.113.1", 80)
    assert world.answers("203.0.113.1", 81)


def test_a_removed_config_drains() -> None:
    """Its listener is gone at once, its connections go on to their end."""
    world = World()
    world.reload(www(config("a", port=80), config("b", port=81)))
    client = world.network.client(Address("203.0.113.1", 81))
    client.send(GET)
    world.network.pump()
    world.reload(www(config("a", port=80)))
    assert not world.answers("203.0.113.1", 81)
    assert world.listeners.open_connections == 1
    world.nodes[0].send(OK)
    world.network.pump()
    assert status_of(client.received) == 200
    world.reload(www(config("a", port=82)))
    assert world.listeners.leaving == []


def test_protocol_changes_between_tcp_and_http_apply_to_new_clients() -> None:
    world = World()
    world.reload(www(config()))
    world.reload(www(config(protocol=Protocol.TCP)))
    client = world.network.client(Address("203.0.113.1", 80))
    client.send(b"not http")
    world.network.pump()
    assert world.nodes[0].received == b"not http"


class WithoutIPv6(MemoryEngine):
    """A machine without IPv6."""

    def listen(self, address: Address, *args: Any, **kwargs: Any) -> Any:
        if ":" in address.host:
            raise ListenError("this machine has no IPv6", unsupported=True)
        return super().listen(address, *args, **kwargs)


def test_a_machine_without_ipv6_goes_on_with_ipv4() -> None:
    """``listen = 0.0.0.0, ::`` is the default and must start everywhere."""
    world = World(WithoutIPv6)
    assert world.reload(www(config(), listen=("0.0.0.0", "::"))) == []
    assert world.where() == {"0.0.0.0:80": "www/main"}


def test_ipv6_alone_on_a_machine_without_it_is_a_problem() -> None:
    world = World(WithoutIPv6)
    assert len(world.reload(www(config(), listen=("::", "2001:db8::1")))) == 2


def test_the_cap_makes_clients_wait_and_drops_nobody() -> None:
    """R3: at max_connections the next client waits in the queue until another one is done."""
    lb = http(nodebalancer={"max_connections": 2})
    clients = [lb.client(GET) for _ in range(3)]
    assert len(lb.accepted[0]) == 2
    for node in list(lb.accepted[0]):
        node.send(OK)
    lb.pump()
    lb.node().send(OK)
    lb.pump()
    assert [status_of(client.received) for client in clients] == [200, 200, 200]
    lb.check_at_rest()


def test_outgoing_addresses_are_taken_in_turn_by_family() -> None:
    lb = http(2, outgoing_address=("10.9.0.1", "10.9.0.2", "2001:db8::9"))
    for _ in range(4):
        lb.client(GET)
    sources = {node._end.other.address.host for nodes in lb.accepted for node in nodes if node._end.other}
    assert sources == {"10.9.0.1", "10.9.0.2"}
    assert lb.live.source_for("2001:db8::1") == "2001:db8::9"


def test_an_ipv4_node_is_dialled_from_wherever_when_all_outgoing_addresses_are_ipv6() -> None:
    lb = http(outgoing_address=("2001:db8::9",))
    assert lb.live.source_for("10.0.0.1") is None


def test_a_stop_waits_for_open_connections() -> None:
    lb = http()
    client = lb.client(GET)
    done: list[Any] = []
    lb.listeners.stop(60).addCallback(done.append)
    lb.pump()
    with pytest.raises(ConnectionRefusedError):
        lb.client()
    lb.advance(20)
    assert not done
    lb.node().send(OK)
    lb.advance(3)
    assert status_of(client.received) == 200
    assert done == [None]
    lb.advance(60)


def test_a_stop_with_nothing_open_is_over_at_once() -> None:
    lb = http()
    done: list[Any] = []
    lb.listeners.stop(60).addCallback(done.append)
    assert done == [None]


def test_a_second_stop_may_end_the_wait() -> None:
    """The operator asks twice: what is open is reset."""
    lb = http()
    client = lb.client(post(b"a", 5))
    done: list[Any] = []
    lb.listeners.stop(60).addCallback(done.append)
    lb.listeners.stop(0).addCallback(done.append)
    lb.pump()
    assert client.was_reset
    assert done == [None, None]


def test_a_listener_is_what_the_seam_says() -> None:
    lb = http()
    listener: Listener = next(iter(lb.listeners._doors.values())).listener
    assert listener.address == Address("203.0.113.1", 80)


def test_who_has_waited_at_the_cap_until_the_end_does_not_delay_it() -> None:
    """A listener that closes serves its queue; when nobody is waited for any more, that is over too."""
    lb = http(nodebalancer={"max_connections": 1})
    clients = [lb.client(GET), lb.client(GET)]
    done: list[Any] = []
    lb.listeners.stop(0).addCallback(done.append)
    lb.pump()
    assert [client.was_reset for client in clients] == [True, True]
    assert done == [None]
    lb.check_at_rest()


def test_clients_in_the_queue_of_a_config_that_is_removed_are_still_its_own() -> None:
    """They are served, counted like all others, and waited for at the end."""
    world = World()
    both = config("a", port=80), config("b", port=81)
    world.reload(www(*both, max_connections=1))
    clients = []
    for port in (80, 81):
        clients.append(world.network.client(Address("203.0.113.1", port)))
        clients[-1].send(GET)
        world.network.pump()
    assert world.listeners.open_connections == 1
    world.reload(www(both[0], max_connections=1))
    world.network.pump()
    assert (len(world.nodes), world.listeners.open_connections) == (2, 2)
    world.reload(www(both[0], max_connections=1, client_max_connections=5))
    for node in world.nodes:
        node.send(OK)
    world.network.advance(3)
    assert [status_of(client.received) for client in clients] == [200, 200]
    [gate] = world.listeners.gates.values()
    assert (gate.open, gate.counts.clients, world.listeners.open_connections) == (0, 0, 0)


def test_what_is_found_out_about_a_node_that_is_gone_is_nobodys() -> None:
    lb = http()
    for path in (("www", "main", "gone"), ("www", "gone", "n1"), ("gone", "main", "n1")):
        lb.listeners.probed(path, 0, False, "HTTP 503", 1, 1)
        lb.listeners.resolved(path, None, "name not resolved")
    assert lb.statuses() == "Unknown"


def test_connections_that_were_not_served_are_told_of_with_the_node_they_had() -> None:
    told: list[tuple[str, str, str, str]] = []

    def tell(path: str, pool: Pool, connection: ClientSide, outcome: Outcome) -> None:
        node = "" if connection.member is None else connection.member.node.name
        told.append((path, connection.peer, node, outcome.word))

    lb = MemoryBalancer(Protocol.TCP)
    lb.live.unserved = tell
    served = lb.client(b"x")
    lb.node().half_close()
    served.half_close()
    lb.pump()
    assert told == []
    lb.client(b"x")
    lb.node().reset()
    lb.pump()
    assert told == [("www/main", "198.51.100.1", "n1", "cut_short")]
    lb.check_at_rest()
