"""The table remembers clients as long as it should and no longer; cookies name nodes and nothing else."""

from __future__ import annotations

import tracemalloc
from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.balancing.member import Member
from nodebalancer.balancing.stickiness import Cookies, Table, cookie_value
from nodebalancer.testing.builders import node

A, B = Member(node("a")), Member(node("b"))
CLIENT = "198.51.100.7"


def test_a_client_is_remembered_until_its_time_is_over() -> None:
    """R15; the time begins with its last connection, not its first."""
    table = Table(1800, 100)
    assert table.recall(CLIENT, b"", 0.0) is None
    table.remember(CLIENT, A, 0.0)
    assert table.recall(CLIENT, b"", 1799.0) is A
    table.remember(CLIENT, A, 1799.0)
    assert table.recall(CLIENT, b"", 3598.0) is A
    assert table.recall(CLIENT, b"", 3599.0) is None


def test_asking_does_not_begin_the_time_again() -> None:
    table = Table(10, 100)
    table.remember(CLIENT, A, 0.0)
    assert table.recall(CLIENT, b"", 9.0) is A
    assert table.recall(CLIENT, b"", 10.0) is None


def test_the_last_node_is_the_one() -> None:
    table = Table(10, 100)
    table.remember(CLIENT, A, 0.0)
    table.remember(CLIENT, B, 1.0)
    assert table.recall(CLIENT, b"", 2.0) is B
    assert len(table) == 1


def test_another_time_applies_to_those_that_are_there() -> None:
    """A reload with another ``stickiness_ttl``."""
    table = Table(10, 100)
    table.remember(CLIENT, A, 0.0)
    table.ttl = 100
    assert table.recall(CLIENT, b"", 50.0) is A
    table.ttl = 5
    assert table.recall(CLIENT, b"", 50.0) is None


def test_clients_of_a_node_that_lets_them_go_are_forgotten_at_once() -> None:
    member = Member(node())
    table = Table(10, 100)
    table.remember(CLIENT, member, 0.0)
    member.era += 1
    assert table.recall(CLIENT, b"", 1.0) is None
    table.remember(CLIENT, member, 2.0)
    assert table.recall(CLIENT, b"", 3.0) is member


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:3::1", False),
        ("2001:db8::1", False),
        ("198.51.100.8", False),
    ],
)
def test_an_ipv6_client_is_its_subnet(other: str, same: bool) -> None:
    """Its address changes every day, its /64 does not."""
    table = Table(10, 100)
    table.remember("2001:db8:1:2::1", A, 0.0)
    assert (table.recall(other, b"", 1.0) is A) == same


def test_who_was_away_longest_goes_first() -> None:
    """A flood of addresses pushes out clients that are away, and not the table's bounds."""
    table = Table(1000, 3)
    for now, client in enumerate("abcad"):
        table.remember(client, A, now)
    assert len(table) == 3
    assert [client for client in "abcd" if table.recall(client, b"", 5.0)] == ["a", "c", "d"]


@pytest.mark.parametrize("why", ["their time is over", "their node has let them go"])
def test_entries_that_count_no_more_leave_as_others_come(why: str) -> None:
    """At the pace of connections, two for each; the table of a service that was busy once does not stay large."""
    member = Member(node())
    table = Table(10, 1000)
    for number in range(30):
        table.remember(f"old-{number}", member, 0.0)
    if why != "their time is over":
        member.era += 1
    for number in range(30):
        table.remember(CLIENT, A, 1.0 if why != "their time is over" else 20.0)
        assert len(table) == max(30 - 2 * number - 1, 1)


def test_a_smaller_size_is_reached_at_the_pace_of_connections() -> None:
    """A reload that lowers ``stickiness_entries`` from ten millions does not stand still for it."""
    table = Table(1000, 100)
    for number in range(100):
        table.remember(f"old-{number}", A, 0.0)
    table.size = 10
    for number in range(90):
        table.remember(f"new-{number}", A, 1.0)
    assert len(table) == 10


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from((A, B)), st.floats(0, 6), st.booleans()), max_size=40)
)
@settings(max_examples=100, deadline=None)
def test_it_is_a_bounded_dict_with_times(steps: list[tuple[str, Member, float, bool]]) -> None:
    """Against the same written down without a thought of speed."""
    table = Table(10, 4)
    oracle: OrderedDict[str, tuple[Member, float]] = OrderedDict()
    now = 0.0
    for client, member, pause, connects in steps:
        now += pause
        if connects:
            table.remember(client, member, now)
            oracle[client] = (member, now)
            oracle.move_to_end(client)
            while len(oracle) > 4:
                oracle.popitem(last=False)
        for each in "abcdef":
            known, last = oracle.get(each, (None, now))
            assert table.recall(each, b"", now) is (known if now - last < 10 else None)
        assert len(table) <= 4


def test_memory_is_what_the_docstring_says() -> None:
    """350 bytes an entry at most, in a table that is full and sees new clients with long addresses all the time."""
    size = 22_000  # a dict has just grown then, and is at its emptiest
    tracemalloc.start()
    try:
        table = Table(1800, size)
        for number in range(2 * size):
            table.remember(f"2001:1db8:{number + 4096:x}:ffff::1", A, number / 1000)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(table) == size
    assert used <= 350 * size


def test_a_cookie_names_its_node() -> None:
    """R16; whatever else comes names nobody and is no error."""
    A.cookie, B.cookie = b"0123456789abcdef", b"fedcba9876543210"
    cookies = Cookies((A, B))
    assert cookies.recall(CLIENT, b"0123456789abcdef", 0.0) is A
    assert cookies.recall("2001:db8::1", b"fedcba9876543210", 9e9) is B
    for foreign in (b"", b"srv140717", b"0123456789ABCDEF", b"0123456789abcde", b"\xff" * 5000):
        assert cookies.recall(CLIENT, foreign, 0.0) is None
    cookies.remember(CLIENT, A, 0.0)
    assert cookies.recall(CLIENT, b"", 0.0) is None


def test_a_cookie_is_the_same_for_ever() -> None:
    """After a restart and an upgrade too; else all clients would move. Checked against ``openssl dgst -hmac``."""
    assert cookie_value(b"secret", "www", "app-1") == b"fe2e7a4ccb86e7e5"


@given(st.tuples(*[st.tuples(st.binary(max_size=3), *[st.text("ab.-_", min_size=1, max_size=3)] * 2)] * 2))
def test_no_two_nodes_have_one_cookie(nodes: tuple[tuple[bytes, str, str], tuple[bytes, str, str]]) -> None:
    """Nor have nodes of one name in two NodeBalancers, nor under two keys."""
    one, other = nodes
    # An HMAC's key is filled up with zeros.
    same = (one[0].rstrip(b"\0"), *one[1:]) == (other[0].rstrip(b"\0"), *other[1:])
    assert (cookie_value(*one) == cookie_value(*other)) == same
