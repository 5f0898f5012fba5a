"""Source: a client's address alone decides, and who comes or goes moves nobody else's clients."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.balancing.algorithms import Source
from nodebalancer.balancing.member import Member
from nodebalancer.testing.builders import node

CLIENTS = [f"198.51.{number >> 8}.{number & 255}" for number in range(2000)]


def members(count: int) -> list[Member]:
    return [Member(node(f"app-{number}")) for number in range(count)]


def source(weights: Mapping[Member, int]) -> Source:
    algorithm = Source()
    algorithm.assign(weights)
    return algorithm


def homes(algorithm: Source) -> dict[str, Member | None]:
    """Which node each client has."""
    return {client: algorithm.choose(client, ()) for client in CLIENTS}


def moved(before: Mapping[str, Member | None], after: Mapping[str, Member | None]) -> set[str]:
    return {client for client in CLIENTS if before[client] is not after[client]}


def test_clients_have_the_nodes_that_they_have_always_had() -> None:
    """Two balancers agree, and so do two versions: these may change with a major release only."""
    algorithm = source(dict.fromkeys(members(5), 100))
    clients = ("192.0.2.1", "192.0.2.2", "198.51.100.7", "203.0.113.255", "2001:db8::1", "2001:db8::2")
    chosen = [algorithm.choose(client, ()) for client in clients]
    assert [member.node.name[-1] for member in chosen if member] == list("444132")


@given(st.lists(st.integers(1, 255), min_size=1, max_size=8), st.permutations(range(8)))
@settings(max_examples=20, deadline=None)
def test_neither_the_order_of_nodes_nor_what_was_before_matters(weights: list[int], order: list[int]) -> None:
    """A balancer that has seen many changes agrees with one that has just started (R13)."""
    these = members(len(weights))
    wanted = dict(zip(these, weights, strict=True))
    old = source(dict.fromkeys(members(3), 1))
    homes(old)
    for number in order:
        if number < len(these):
            old.assign({these[number]: 7})
            homes(old)
    old.assign({these[number]: weights[number] for number in order if number < len(these)})
    assert homes(old) == homes(source(wanted))


@given(st.lists(st.integers(1, 255), min_size=1, max_size=12), st.integers(1, 255), st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_node_that_comes_or_goes_moves_its_own_clients_only(weights: list[int], weight: int, asked: bool) -> None:
    """And about as many as its share. Slots that were not asked for meanwhile do not differ from those that were."""
    *these, other = members(len(weights) + 1)
    few = dict(zip(these, weights, strict=True))
    more = {**few, other: weight}
    algorithm = source(few)
    before = homes(algorithm)
    algorithm.assign(more)
    if asked:
        homes(algorithm)
    between = homes(source(more))
    assert all(between[client] is other for client in moved(before, between))
    assert homes(algorithm) == between
    algorithm.assign(few)
    assert homes(algorithm) == before
    share = weight / sum(more.values())
    assert len(moved(before, between)) == pytest.approx(share * len(CLIENTS), abs=7 * (share * len(CLIENTS)) ** 0.5 + 7)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from((0, 0, 1, 100)), st.integers(0, 2)), max_size=15))
@settings(max_examples=60, deadline=None)
def test_what_is_remembered_is_never_wrong(changes: list[tuple[int, int, int]]) -> None:
    """Nodes go, come back or change their weight one by one, and only some slots are asked for between."""
    these = members(6)
    weights = dict.fromkeys(these, 1)
    algorithm = source(weights)
    for number, weight, some in changes:
        weights[these[number]] = weight
        left = {member: weight for member, weight in weights.items() if weight}
        algorithm.assign(left)
        fresh = source(left)
        for client in CLIENTS[some:60:3]:
            assert algorithm.choose(client, ()) is fresh.choose(client, ())


def test_clients_are_spread_by_weight() -> None:
    """R23."""
    a, b, c = members(3)
    counts = Counter(homes(source({a: 5, b: 3, c: 2})).values())
    assert [counts[member] / len(CLIENTS) for member in (a, b, c)] == pytest.approx([0.5, 0.3, 0.2], abs=0.04)


@pytest.mark.parametrize("pattern", ["10.0.{}.1", "10.{}.0.1", "192.168.7.{}", "2001:db8:{:x}::1", "2001:db8::{:x}"])
def test_neighbours_are_spread_too(pattern: str) -> None:
    """The clients of a service often differ in one byte only."""
    algorithm = source(dict.fromkeys(members(4), 1))
    counts = Counter(algorithm.choose(pattern.format(number), ()) for number in range(256))
    assert min(counts.values()) > 256 / 4 / 2


def test_who_was_tried_is_replaced_by_the_node_that_comes_next() -> None:
    """A client whose node cannot be reached gets the one that it would have if that had left."""
    these = members(4)
    algorithm = source(dict.fromkeys(these, 1))
    for client in CLIENTS[:50]:
        first = algorithm.choose(client, ())
        assert first is not None
        others = [member for member in these if member is not first]
        second = algorithm.choose(client, (first,))
        assert second is source(dict.fromkeys(others, 1)).choose(client, ())
        assert algorithm.choose(client, these) is None
        assert algorithm.choose(client, ()) is first


def test_without_nodes_there_is_nobody() -> None:
    algorithm = Source()
    assert algorithm.choose("192.0.2.1", ()) is None
    algorithm.assign({members(1)[0]: 1})
    assert algorithm.choose("192.0.2.1", ()) is not None
    algorithm.assign({})
    assert algorithm.choose("192.0.2.1", ()) is None


def test_one_change_among_many_nodes_does_not_make_all_slots_be_computed_anew() -> None:
    """Of three hundred nodes one flaps: slots that it has nothing to do with cost nothing, or one comparison."""
    these = members(300)
    weights = dict.fromkeys(these, 1)
    algorithm = source(weights)
    before = homes(algorithm)
    flapping = before[CLIENTS[0]]
    stayed = [client for client in CLIENTS if before[client] is not flapping]
    assert 0 < len(CLIENTS) - len(stayed) < 40

    def scores() -> int:
        return calls_of("score", lambda: [algorithm.choose(client, ()) for client in stayed])

    algorithm.assign({member: 1 for member in these if member is not flapping})
    assert scores() == 0
    algorithm.assign(weights)
    assert 0 < scores() <= 2 * len(stayed)
    assert scores() == 0
    assert homes(algorithm) == before


def calls_of(function: str, action: Callable[[], object]) -> int:
    """How often a function of this name is called meanwhile."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call" and frame.f_code.co_name == function

    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(None)
    return calls
