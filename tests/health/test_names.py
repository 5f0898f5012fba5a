"""Nodes that go by a host name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from nodebalancer.fields import Address
from nodebalancer.health.checks import Path
from nodebalancer.health.names import AGAIN_SECONDS, Names, is_this_machine
from nodebalancer.model import Check, Node, Protocol, Settings
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork

ORIGIN = ("www", "web", "origin")
UNRESOLVED = (ORIGIN, None, "name not resolved")


def origin(name: str = "origin", host: str = "origin.internal", port: int = 80) -> Node:
    return node(name, Address(host, port))


def wanted(*nodes: Node, **fields: Any) -> Settings:
    return settings(nodebalancer("www", config("web", *nodes, **{"port": 8000, **fields})))


class Resolving:
    """Names over a network whose name server the test is."""

    def __init__(self, **names: list[str]) -> None:
        self.network = MemoryNetwork()
        self.network.names |= {f"{name}.internal": addresses for name, addresses in names.items()}
        self.told: list[tuple[Path, Address | None, str]] = []
        self.names = Names(MemoryEngine(self.network), self.network.clock, self, lambda host: host == "10.9.9.9")

    def resolved(self, path: Path, address: Address | None, reason: str) -> None:
        self.told.append((path, address, reason))

    def follow(self, wanted: Settings) -> None:
        for verb in (self.names.examine(wanted), self.names.prepare(wanted, ())):
            assert verb.result == ()
        self.names.commit()

    def answers(self, **names: list[str]) -> None:
        """What the name server says from now on, once it has been asked again."""
        self.network.names |= {f"{name}.internal": addresses for name, addresses in names.items()}
        self.told.clear()
        self.network.advance(AGAIN_SECONDS)


def test_a_name_is_resolved_when_it_is_wanted() -> None:
    resolving = Resolving(origin=["10.0.0.1"])
    resolving.follow(wanted(origin()))
    assert resolving.told == [(ORIGIN, Address("10.0.0.1", 80), "")]
    assert resolving.names.find(ORIGIN) == (Address("10.0.0.1", 80), "")


def test_numeric_nodes_are_nobodys_business_here() -> None:
    resolving = Resolving()
    resolving.follow(wanted(node()))
    assert resolving.told == []
    assert resolving.network.clock.getDelayedCalls() == []


def test_a_name_that_cannot_be_resolved_stops_nothing_and_is_asked_for_again() -> None:
    resolving = Resolving()
    resolving.follow(wanted(origin()))
    assert resolving.told == [UNRESOLVED]
    resolving.answers(origin=["10.0.0.1"])
    assert resolving.told == [(ORIGIN, Address("10.0.0.1", 80), "")]


def test_a_later_failure_keeps_the_address() -> None:
    resolving = Resolving(origin=["10.0.0.1"])
    resolving.follow(wanted(origin()))
    resolving.answers(origin=[])
    assert resolving.told == []
    assert resolving.names.find(ORIGIN) == (Address("10.0.0.1", 80), "")


def test_a_node_stays_at_its_address_for_as_long_as_that_is_among_the_answers() -> None:
    resolving = Resolving(origin=["10.0.0.1", "10.0.0.2"])
    resolving.follow(wanted(origin()))
    resolving.answers(origin=["10.0.0.2", "10.0.0.3", "10.0.0.1"])
    assert resolving.told == []
    resolving.answers(origin=["10.0.0.3", "10.0.0.2"])
    assert resolving.told == [(ORIGIN, Address("10.0.0.3", 80), "")]


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        (["127.0.0.1"], (None, "name resolved to 127.0.0.1:8000, our own listener; connections would go in circles")),
        (["10.9.9.9"], (None, "name resolved to 10.9.9.9:8000, our own listener; connections would go in circles")),
        (["127.0.0.1", "10.0.0.2"], (Address("10.0.0.2", 8000), "")),
        (["0.0.0.0", "::"], (None, "name not resolved")),
    ],
    ids=str,
)
def test_answers_that_lead_to_ourselves_or_nowhere_are_passed_over(answers: list[str], told: Any) -> None:
    resolving = Resolving(origin=answers)
    resolving.follow(wanted(origin(port=8000)))
    assert resolving.told == [(ORIGIN, *told)]


def test_an_address_that_becomes_our_own_listener_is_left() -> None:
    resolving = Resolving(origin=["10.9.9.9"])
    resolving.follow(wanted(origin(port=80)))
    resolving.told.clear()
    resolving.follow(wanted(origin(port=80), port=80))
    [(_, address, reason)] = resolving.told
    assert address is None
    assert "our own listener" in reason


def test_a_udp_listener_is_no_hindrance_to_a_tcp_node() -> None:
    resolving = Resolving(origin=["127.0.0.1"])
    udp = config("dns", port=80, protocol=Protocol.UDP)
    resolving.follow(settings(nodebalancer("www", config("web", origin(), port=8000), udp)))
    assert resolving.told == [(ORIGIN, Address("127.0.0.1", 80), "")]


def test_nodes_of_one_name_share_its_answer() -> None:
    resolving = Resolving(origin=["10.0.0.1"])
    resolving.follow(wanted(origin(), origin("other", port=81)))
    assert resolving.told == [
        (ORIGIN, Address("10.0.0.1", 80), ""),
        (("www", "web", "other"), Address("10.0.0.1", 81), ""),
    ]


def test_a_reload_tells_new_nodes_at_once_and_old_ones_nothing() -> None:
    resolving = Resolving(origin=["10.0.0.1"], new=["10.0.0.9"])
    resolving.follow(wanted(origin()))
    resolving.told.clear()
    resolving.follow(wanted(origin(), origin("other"), origin("new", "new.internal"), check=Check.CONNECTION))
    assert resolving.told == [
        (("www", "web", "other"), Address("10.0.0.1", 80), ""),
        (("www", "web", "new"), Address("10.0.0.9", 80), ""),
    ]


def test_a_node_that_gets_another_name_gets_that_ones_address() -> None:
    resolving = Resolving(origin=["10.0.0.1"], new=["10.0.0.9"])
    resolving.follow(wanted(origin()))
    resolving.told.clear()
    resolving.follow(wanted(origin(host="new.internal")))
    assert resolving.told == [(ORIGIN, Address("10.0.0.9", 80), "")]


def test_a_change_that_is_abandoned_changes_nothing() -> None:
    resolving = Resolving(origin=["10.0.0.1"])
    resolving.follow(wanted(origin()))
    resolving.names.prepare(wanted(), ())
    resolving.names.abandon()
    assert resolving.names.find(ORIGIN)[0] == Address("10.0.0.1", 80)


def test_nobody_is_asked_when_no_name_is_left() -> None:
    resolving = Resolving(origin=["10.0.0.1"])
    resolving.follow(wanted(origin()))
    resolving.follow(wanted(node()))
    assert resolving.network.clock.getDelayedCalls() == []
    resolving.follow(wanted(origin()))
    resolving.names.stop()
    assert resolving.network.clock.getDelayedCalls() == []


class SlowEngine(MemoryEngine):
    """Answers when the test says so."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(network)
        self.asked: list[tuple[str, Deferred[list[str]]]] = []

    def resolve(self, name: str) -> Deferred[list[str]]:
        self.asked.append((name, Deferred()))
        return self.asked[-1][1]


@pytest.fixture
def slow() -> Resolving:
    resolving = Resolving()
    engine = SlowEngine(resolving.network)
    resolving.names = Names(engine, resolving.network.clock, resolving, is_this_machine)
    resolving.asked = engine.asked  # type: ignore[attr-defined]
    return resolving


def test_before_the_first_answer_a_node_is_not_resolved_yet(slow: Any) -> None:
    slow.follow(wanted(origin()))
    assert slow.names.find(ORIGIN) == (None, "name not resolved yet")
    assert slow.told == []


def test_a_name_server_that_is_slow_is_not_asked_twice_at_once(slow: Any) -> None:
    slow.follow(wanted(origin()))
    slow.network.advance(3 * AGAIN_SECONDS)
    assert len(slow.asked) == 1
    slow.asked[0][1].callback(["10.0.0.1"])
    slow.network.advance(AGAIN_SECONDS)
    assert len(slow.asked) == 2


def test_an_answer_for_a_node_that_is_gone_is_dropped(slow: Any) -> None:
    slow.follow(wanted(origin()))
    slow.follow(wanted())
    slow.asked[0][1].callback(["10.0.0.1"])
    assert slow.told == []


def test_a_fault_of_the_engine_is_logged_and_the_name_asked_for_again(
    slow: Any, logged_errors: Callable[[], list[LogEvent]]
) -> None:
    slow.follow(wanted(origin()))
    slow.asked[0][1].errback(RuntimeError("no threads"))
    [event] = logged_errors()
    assert event["host"] == "origin.internal"
    slow.network.advance(AGAIN_SECONDS)
    assert len(slow.asked) == 2


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("192.0.2.1", False), ("2001:db8::1", False), ("255.255.255.255", False)],
)
def test_the_kernel_knows_which_addresses_are_this_machines(host: str, expected: bool) -> None:
    assert is_this_machine(host) is expected
