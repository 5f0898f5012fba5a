"""How much one client may take."""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nodebalancer.balancing.clients import client_key
from nodebalancer.balancing.throttle import CLIENTS_MAX, TELL_SECONDS, TOLD_MAX, ClientCounts, Throttle

CLIENT, OTHER = "192.0.2.1", "192.0.2.2"
NOW = 1000.0


def throttle(rate: int, burst: int | None = None, *exempt: str) -> Throttle:
    made = Throttle()
    made.update(rate, burst, tuple(map(ip_network, exempt)), NOW)
    return made


def admitted(throttle: Throttle, client: str, tries: int, now: float = NOW) -> int:
    return sum(throttle.admit(client, now) for _ in range(tries))


def test_a_client_gets_its_connections_a_second_and_no_more() -> None:
    """R2; other clients do not suffer."""
    limited = throttle(5)
    assert [admitted(limited, CLIENT, 20, NOW + second) for second in range(4)] == [5, 5, 5, 5]
    assert limited.refused == 60
    assert admitted(limited, OTHER, 5, NOW + 3) == 5


def test_tokens_come_back_one_by_one() -> None:
    limited = throttle(2)
    assert admitted(limited, CLIENT, 9) == 2
    assert admitted(limited, CLIENT, 9, NOW + 0.49) == 0
    assert admitted(limited, CLIENT, 9, NOW + 0.51) == 1
    assert admitted(limited, CLIENT, 9, NOW + 99) == 2


def test_being_refused_costs_a_client_nothing() -> None:
    limited = throttle(1)
    assert admitted(limited, CLIENT, 1000) == 1
    assert admitted(limited, CLIENT, 1, NOW + 1) == 1


def test_a_burst_of_its_own() -> None:
    limited = throttle(1, 10)
    assert admitted(limited, CLIENT, 99) == 10
    assert admitted(limited, CLIENT, 99, NOW + 3) == 3


@pytest.mark.parametrize("rate", [3, 7, 1000])
def test_a_whole_burst_comes_in_at_one_moment(rate: int) -> None:
    """Whatever 1 / rate is rounded to, and after a year of uptime."""
    limited = throttle(rate)
    assert admitted(limited, CLIENT, rate + 5, 3e7 + 0.1) == rate


def test_an_ipv6_client_is_its_64() -> None:
    limited = throttle(2)
    assert [limited.admit(f"2001:db8::{number}", NOW) for number in range(1, 4)] == [True, True, False]
    assert limited.admit("2001:db8:0:1::1", NOW)


def test_exempt_clients_are_never_refused_and_not_remembered() -> None:
    limited = throttle(1, None, "192.0.2.1", "2001:db8::1")
    assert admitted(limited, CLIENT, 9) == 9
    assert admitted(limited, "2001:db8::1", 9) == 9
    assert limited.clients == 0
    # Of the same /64.
    assert admitted(limited, "2001:db8::2", 9) == 1


def test_a_rate_of_nothing_is_off_and_remembers_nothing() -> None:
    limited = throttle(1)
    assert admitted(limited, CLIENT, 2) == 1
    limited.update(0, None, (), NOW)
    assert limited.clients == 0
    assert admitted(limited, CLIENT, 9) == 9


@pytest.mark.parametrize(
    ("rate", "burst", "at_once", "a_second_later"),
    [
        (10, 10, 0, 10),  # unchanged
        (20, 20, 10, 20),  # ten tokens more fit into the bucket
        (5, 5, 0, 5),
        (10, 30, 20, 10),
        (1, 10, 0, 1),
    ],
)
def test_a_reload_changes_the_rate_and_gives_nobody_back_what_is_used(
    rate: int, burst: int, at_once: int, a_second_later: int
) -> None:
    limited = throttle(10)
    assert admitted(limited, CLIENT, 99) == 10
    limited.update(rate, burst, (), NOW)
    assert admitted(limited, CLIENT, 99) == at_once
    assert admitted(limited, CLIENT, 99, NOW + 1) == a_second_later


def test_a_reload_keeps_buckets_of_clients_that_were_last_seen_a_while_ago() -> None:
    """One bucket of each generation, and one that is full again."""
    limited = throttle(1, 10)
    admitted(limited, CLIENT, 10)
    later = NOW + 10.5
    admitted(limited, OTHER, 10, later)
    assert limited.clients == 2
    limited.update(2, 20, (), later)
    assert limited.clients == 1
    assert admitted(limited, OTHER, 99, later) == 10
    assert admitted(limited, CLIENT, 99, later) == 20


def test_a_million_addresses_take_no_more_memory_than_is_said() -> None:
    """And clients that were there before the flood are let in during it."""
    limited = throttle(2)
    most = 0
    for number in range(1_000_000):
        assert limited.admit(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", NOW + number / 1e6)
        if number % 10_000 == 0:
            most = max(most, limited.clients)
    assert CLIENTS_MAX < most <= 2 * CLIENTS_MAX
    assert limited.refused == 0


def test_what_a_client_has_used_outlives_a_change_of_generations() -> None:
    """A bucket is dropped when it is full again and not before."""
    limited = throttle(1, 10)
    for second in range(100):
        now = NOW + second * 0.99
        limited.admit(f"198.51.100.{second}", now)
        assert admitted(limited, CLIENT, 99, now) <= (10 if second == 0 else 1)


def test_clients_that_have_gone_are_forgotten() -> None:
    limited = throttle(5)
    for number in range(1000):
        limited.admit(f"198.51.{number >> 8}.{number & 255}", NOW)
    for step in range(1, 4):
        limited.admit(CLIENT, NOW + step * 2)
        limited.admit(OTHER, NOW + step * 2 + 1.5)
    assert limited.clients <= 4


@given(
    st.integers(1, 20),
    st.integers(1, 40),
    st.lists(st.tuples(st.sampled_from((CLIENT, OTHER)), st.integers(0, 3000)), max_size=120),
)
def test_a_client_never_gets_more_than_its_burst_and_rate_and_never_less(
    rate: int, burst: int, steps: list[tuple[str, int]]
) -> None:
    """Against buckets of exact fractions; where the two differ, it is by what rounding may do."""
    limited = throttle(rate, burst)
    tokens = {CLIENT: Fraction(burst), OTHER: Fraction(burst)}
    seen = {CLIENT: 0, OTHER: 0}
    for client, clock in zip(
        (client for client, _ in steps), itertools.accumulate(step for _, step in steps), strict=True
    ):
        bucket = min(Fraction(burst), tokens[client] + Fraction(rate * (clock - seen[client]), 1000))
        seen[client] = clock
        let_in = limited.admit(client, NOW + clock / 1000)
        tokens[client] = bucket - let_in
        assert let_in or bucket < 1
        assert tokens[client] >= -Fraction(2, 100)


def test_the_log_hears_of_a_client_once_a_minute() -> None:
    limited = throttle(1)
    assert [limited.tell(CLIENT, NOW + second) for second in (0, 1, 59.9)] == [True, False, False]
    assert limited.tell(OTHER, NOW + 30)
    assert limited.tell(CLIENT, NOW + TELL_SECONDS)
    assert not limited.tell(OTHER, NOW + TELL_SECONDS)
    assert limited.tell("2001:db8::1", NOW)
    assert not limited.tell("2001:db8::2", NOW)


def test_the_log_does_not_hear_of_more_clients_than_it_can_take() -> None:
    limited = throttle(1)
    told = sum(limited.tell(f"10.0.{number >> 8}.{number & 255}", NOW + number / 1000) for number in range(5000))
    assert told == TOLD_MAX
    assert limited.tell(OTHER, NOW + TELL_SECONDS + 10)


def counts(limit: int, *clients: str) -> ClientCounts:
    made = ClientCounts()
    made.update(limit, clients)
    return made


def test_a_client_has_so_many_connections_at_once() -> None:
    """R3."""
    open_now = counts(2)
    assert [open_now.enter(CLIENT) for _ in range(4)] == [True, True, False, False]
    assert open_now.enter(OTHER)
    assert open_now.refused == 2
    open_now.leave(CLIENT)
    assert [open_now.enter(CLIENT) for _ in range(2)] == [True, False]


def test_all_of_a_64_count_as_one() -> None:
    open_now = counts(1)
    assert open_now.enter("2001:db8::1")
    assert not open_now.enter("2001:db8::2")
    open_now.leave("2001:db8::1")
    assert open_now.enter("2001:db8::2")


def test_a_limit_that_comes_with_a_reload_counts_what_is_open_already() -> None:
    open_now = counts(0)
    open_now.update(2, [CLIENT, CLIENT, OTHER, "2001:db8::1", "2001:db8::2"])
    assert open_now.clients == 3
    assert not open_now.enter(CLIENT)
    assert open_now.enter(OTHER)
    assert not open_now.enter("2001:db8::3")
    open_now.update(1, [])
    assert open_now.clients == 3
    for client in (CLIENT, CLIENT, OTHER, OTHER, "2001:db8::1", "2001:db8::2"):
        assert not open_now.enter(client)
        open_now.leave(client)
    assert open_now.clients == 0
    assert open_now.enter(CLIENT)
    open_now.update(0, [])
    assert open_now.clients == 0


def test_leaving_without_having_entered_is_a_fault_of_ours() -> None:
    with pytest.raises(AssertionError, match=r"more connections from 192\.0\.2\.1 have left"):
        counts(1).leave(CLIENT)


@settings(max_examples=50, stateful_step_count=40)
class Comings(RuleBasedStateMachine):
    """Clients come and leave, and the limit changes, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = ClientCounts()
        self.open: list[str] = []

    @rule(client=st.sampled_from((CLIENT, OTHER, "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")))
    def come(self, client: str) -> None:
        if not self.counts.limit:
            self.open.append(client)
            return
        room = self.by_key()[client_key(client)] < self.counts.limit
        assert self.counts.enter(client) is room
        if room:
            self.open.append(client)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        client = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if self.counts.limit:
            self.counts.leave(client)

    @rule(limit=st.integers(0, 3))
    def reload(self, limit: int) -> None:
        self.counts.update(limit, self.open)

    def by_key(self) -> Counter[str]:
        return Counter(map(client_key, self.open))

    @invariant()
    def remembers_who_is_open_and_nobody_else(self) -> None:
        assert self.counts.clients == (len(self.by_key()) if self.counts.limit else 0)


test_counts_are_true_over_any_history = Comings.TestCase


def test_what_is_left_is_what_would_be_let_in_and_to_ask_costs_nothing() -> None:
    limited = throttle(5, 8, "203.0.113.0/24")
    assert [limited.left(CLIENT, NOW) for _ in range(3)] == [8, 8, 8]
    for second in range(6):
        now = NOW + second / 3
        left = limited.left(CLIENT, now)
        assert left is not None
        taken = min(left, 3 + second)
        assert admitted(limited, CLIENT, taken, now) == taken
        assert limited.left(CLIENT, now) == left - taken
    assert admitted(limited, CLIENT, 20, now) == limited.left(CLIENT, NOW + 9) or limited.left(CLIENT, now) == 0
    assert limited.left("203.0.113.9", NOW) is None
    assert Throttle().left(CLIENT, NOW) is None


def test_the_open_connections_of_a_client_can_be_asked_for() -> None:
    counts = ClientCounts()
    counts.update(3, [CLIENT, OTHER, CLIENT])
    assert [counts.open(client) for client in (CLIENT, OTHER, "192.0.2.3")] == [2, 1, 0]
