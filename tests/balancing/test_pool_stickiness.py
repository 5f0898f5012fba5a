"""Clients stay with their nodes: by table (R15), by cookie (R16), and only as long as mode and status let them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from nodebalancer.balancing.pool import Member, Pool, Status
from nodebalancer.model import Algorithm, Mode, Node, PortConfig, Stickiness
from nodebalancer.testing.builders import config, node

CLIENT = "198.51.100.7"
NOW = 1000.0
AT = 1700000000.0
KEY = b"key"


def nodes(modes: str = "", names: str = "abc") -> list[Node]:
    """Nodes a, b, c; ``modes`` are those of the first: ``d`` for drain and so on."""
    spelt = {mode.value[0]: mode for mode in Mode}
    return [node(name, mode=spelt[mode]) for name, mode in zip(names, modes.ljust(len(names), "a"), strict=True)]


def rules(wanted: Sequence[Node], stickiness: Stickiness, **fields: Any) -> PortConfig:
    return config("web", *wanted, stickiness=stickiness, **fields)


def pool_of(wanted: PortConfig, key: bytes = KEY) -> Pool:
    pool = Pool({}, "www", key)
    pool.update(wanted.nodes, wanted)
    return pool


class Browser:
    """A client with an address and a cookie jar."""

    def __init__(self, address: str = CLIENT, now: float = NOW) -> None:
        self.address = address
        self.now = now
        self.cookie = b""

    def get(self, pool: Pool, tried: tuple[Member, ...] = ()) -> str:
        """The name of the node that it gets; ``-`` for none."""
        member = pool.pick(self.address, self.now, tried, self.cookie)
        if member is None:
            return "-"
        self.cookie = pool.cookie_to_set(member, self.cookie) or self.cookie
        return member.node.name


BOTH = pytest.mark.parametrize("stickiness", [Stickiness.TABLE, Stickiness.HTTP_COOKIE])


@BOTH
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_client_keeps_its_node_while_others_come_and_go(stickiness: Stickiness, algorithm: Algorithm) -> None:
    """R15, R16: whatever happens to the number of healthy nodes, and over reloads."""
    pool = pool_of(rules(nodes(), stickiness, algorithm=algorithm))
    browsers = [Browser(f"198.51.100.{number}") for number in range(9)]
    before = [browser.get(pool) for browser in browsers]
    assert len(set(before)) > 1
    b = pool.members["b"]
    pool.set_status(b, Status.DOWN, "", AT)
    stay = [number for number, name in enumerate(before) if name != "b"]
    assert [browsers[number].get(pool) for number in stay] == [before[number] for number in stay]
    pool.set_status(b, Status.UP, "", AT)
    changed = rules([*nodes(), node("d", weight=255)], stickiness, algorithm=algorithm)
    pool.update(changed.nodes, changed)
    assert [browsers[number].get(pool) for number in stay] == [before[number] for number in stay]


@BOTH
def test_without_stickiness_nobody_is_held(stickiness: Stickiness) -> None:
    """R14; a reload can begin and end it."""
    none, some = rules(nodes(), Stickiness.NONE), rules(nodes(), stickiness)
    pool = pool_of(none)
    browser = Browser()
    assert "".join(browser.get(pool) for _ in range(4)) == "abca"
    assert browser.cookie == b""
    pool.update(some.nodes, some)
    assert "".join(browser.get(pool) for _ in range(4)) == "bbbb"
    pool.update(none.nodes, none)
    assert "".join(browser.get(pool) for _ in range(4)) == "cabc"


def test_the_table_survives_reloads_and_follows_its_settings() -> None:
    pool = pool_of(rules(nodes(), Stickiness.TABLE, stickiness_ttl=100))
    browser = Browser()
    assert browser.get(pool) == "a"
    for wanted in (
        rules(nodes(names="cab"), Stickiness.TABLE, stickiness_ttl=50),
        rules(nodes(), Stickiness.TABLE, stickiness_ttl=50, algorithm=Algorithm.LEASTCONN),
    ):
        pool.update(wanted.nodes, wanted)
        browser.now += 40
        assert browser.get(pool) == "a"
    browser.now += 50
    assert browser.get(pool) == "b"
    small = rules(nodes(), Stickiness.TABLE, stickiness_entries=1)
    pool.update(small.nodes, small)
    assert [Browser(f"198.51.101.{number}", browser.now).get(pool) for number in range(2)] == ["a", "b"]
    assert browser.get(pool) == "c"


@BOTH
def test_a_client_of_a_node_that_goes_down_is_balanced_anew(stickiness: Stickiness) -> None:
    """R15, R16: by table it does not come back; by cookie neither, as that was rewritten."""
    pool = pool_of(rules(nodes(), stickiness))
    browser = Browser()
    assert browser.get(pool) == "a"
    pool.set_status(pool.members["a"], Status.DOWN, "", AT)
    assert "".join(browser.get(pool) for _ in range(3)) == "bbb"
    pool.set_status(pool.members["a"], Status.UP, "", AT)
    assert "".join(browser.get(pool) for _ in range(3)) == "bbb"


def test_entries_of_a_node_that_was_down_are_gone_also_for_clients_that_were_away() -> None:
    """R15."""
    pool = pool_of(rules(nodes(), Stickiness.TABLE))
    browser = Browser()
    assert browser.get(pool) == "a"
    pool.set_status(pool.members["a"], Status.DOWN, "", AT)
    pool.set_status(pool.members["a"], Status.UP, "", AT)
    assert browser.get(pool) == "b"


@pytest.mark.parametrize("between", [nodes("r"), nodes()[1:]])
def test_entries_of_a_node_that_was_rejected_or_removed_are_gone(between: list[Node]) -> None:
    """R26: stickiness is not respected, nor is it afterwards."""
    always = rules(nodes(), Stickiness.TABLE)
    pool = pool_of(always)
    browser = Browser()
    assert browser.get(pool) == "a"
    wanted = rules(between, Stickiness.TABLE)
    pool.update(wanted.nodes, wanted)
    pool.update(always.nodes, always)
    assert browser.get(pool) == "b"


@BOTH
def test_a_node_that_drains_keeps_its_clients_and_gets_no_others(stickiness: Stickiness) -> None:
    """R27."""
    pool = pool_of(rules(nodes(), stickiness))
    old = Browser()
    assert old.get(pool) == "a"
    wanted = rules(nodes("d"), stickiness)
    pool.update(wanted.nodes, wanted)
    assert [old.get(pool) for _ in range(3)] == ["a", "a", "a"]
    assert {Browser(f"198.51.101.{number}").get(pool) for number in range(9)} == {"b", "c"}
    for name in "bc":
        pool.set_status(pool.members[name], Status.DOWN, "", AT)
    assert old.get(pool) == "a"
    assert Browser("198.51.102.1").get(pool) == "-"
    pool.set_status(pool.members["a"], Status.DOWN, "", AT)
    assert old.get(pool) == "-"


def test_source_is_no_stickiness_for_a_node_that_drains() -> None:
    """R27: an algorithm that always says the same is not what holds clients."""
    wanted = rules(nodes(), Stickiness.NONE, algorithm=Algorithm.SOURCE)
    pool = pool_of(wanted)
    browsers = [Browser(f"198.51.100.{number}") for number in range(20)]
    assert "a" in {browser.get(pool) for browser in browsers}
    wanted = rules(nodes("d"), Stickiness.NONE, algorithm=Algorithm.SOURCE)
    pool.update(wanted.nodes, wanted)
    assert {browser.get(pool) for browser in browsers} == {"b", "c"}


@BOTH
def test_a_backup_holds_nobody_once_another_node_is_back(stickiness: Stickiness) -> None:
    """R28."""
    pool = pool_of(rules(nodes("ab", names="ab"), stickiness))
    browser = Browser()
    assert browser.get(pool) == "a"
    pool.set_status(pool.members["a"], Status.DOWN, "", AT)
    assert [browser.get(pool) for _ in range(2)] == ["b", "b"]
    pool.set_status(pool.members["a"], Status.UP, "", AT)
    assert [browser.get(pool) for _ in range(2)] == ["a", "a"]


@BOTH
def test_a_client_whose_node_cannot_be_reached_gets_another_and_keeps_that(stickiness: Stickiness) -> None:
    """It has a session there now, and the next connection need not find out again."""
    pool = pool_of(rules(nodes(), stickiness))
    browser = Browser()
    assert browser.get(pool) == "a"
    a = pool.members["a"]
    assert browser.get(pool, (a,)) == "b"
    assert browser.get(pool) == "b"
    assert browser.get(pool, tuple(pool.members.values())) == "-"
    assert browser.get(pool) == "b"


@pytest.mark.parametrize("cookie", [b"srv140717", b"0000000000000000", b"\xff\x00", b"a" * 8000])
def test_a_cookie_that_names_nobody_is_replaced(cookie: bytes) -> None:
    """R16: unknown, foreign or tampered with, it is never an error."""
    pool = pool_of(rules(nodes(), Stickiness.HTTP_COOKIE))
    browser = Browser()
    browser.cookie = cookie
    assert browser.get(pool) == "a"
    assert browser.cookie == pool.members["a"].cookie != cookie
    assert browser.get(pool) == "a"


def test_a_cookie_is_set_only_when_the_client_has_not_got_it() -> None:
    pool = pool_of(rules(nodes(), Stickiness.HTTP_COOKIE))
    member = pool.pick(CLIENT, NOW)
    assert member is not None
    assert pool.cookie_to_set(member, b"") == pool.cookie_to_set(member, b"foreign") == member.cookie != b""
    assert pool.cookie_to_set(member, member.cookie) == b""


@pytest.mark.parametrize("stickiness", [Stickiness.NONE, Stickiness.TABLE])
def test_no_cookie_is_set_where_it_means_nothing(stickiness: Stickiness) -> None:
    pool = pool_of(rules(nodes(), stickiness))
    member = pool.pick(CLIENT, NOW)
    assert member is not None
    assert pool.cookie_to_set(member, b"") == pool.cookie_to_set(member, b"foreign") == b""


def test_one_jar_is_good_for_all_ports_and_after_a_restart() -> None:
    """R16: nodes are named, not numbered; another NodeBalancer's or installation's cookie is foreign."""
    wanted = rules(nodes(), Stickiness.HTTP_COOKIE)
    browser = Browser()
    plain = pool_of(wanted)
    plain.pick(CLIENT, NOW)
    assert browser.get(plain) == "b"
    secure = pool_of(rules(nodes(names="cab"), Stickiness.HTTP_COOKIE, port=443))
    cookie = browser.cookie
    assert browser.get(secure) == browser.get(pool_of(wanted)) == "b"
    assert browser.cookie == cookie
    assert browser.get(pool_of(wanted, b"another key")) == "a"
    assert browser.cookie != cookie
