"""The pool's rules, one test each; those about status and stickiness, and any history of them all, have their own files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Member, Pool, Status
from nodebalancer.fields import Address
from nodebalancer.model import Algorithm, Mode, Node, Stickiness
from nodebalancer.testing.builders import config, node

CLIENT = "198.51.100.7"
NOW = 1000.0


def by_name(*nodes: Node) -> Mapping[str, Node]:
    return {one.name: one for one in nodes}


def pick(pool: Pool, tried: tuple[Member, ...] = ()) -> Member:
    member = pool.pick(CLIENT, NOW, tried)
    assert member is not None
    return member


def names(pool: Pool, picks: int) -> str:
    return "".join(pick(pool).node.name for _ in range(picks))


def test_a_pick_is_open_until_it_is_released_with_its_outcome() -> None:
    pool = Pool(by_name(node()))
    member = pick(pool)
    assert (member.open, member.picks, member.releases) == (1, 1, 0)
    pool.release(member, Outcome.CUT_SHORT)
    assert (member.open, member.picks, member.releases) == (0, 1, 1)
    assert member.outcomes[Outcome.CUT_SHORT] == sum(member.outcomes) == 1


def test_releasing_what_was_not_picked_is_a_fault_of_ours() -> None:
    pool = Pool(by_name(node()))
    member = pick(pool)
    pool.release(member, Outcome.SERVED)
    with pytest.raises(AssertionError, match="more often"):
        pool.release(member, Outcome.SERVED)
    assert (member.open, sum(member.outcomes)) == (0, 1)


def test_nodes_get_connections_in_proportion_to_their_weights() -> None:
    """R13, R23."""
    pool = Pool(by_name(node("a", weight=5), node("b", weight=1), node("c", weight=1)))
    assert names(pool, 14) == "aabaacaaabaaca"


def test_a_node_that_was_tried_is_not_picked_again() -> None:
    """When all were tried there is none, and nothing is counted."""
    pool = Pool(by_name(node("a"), node("b")))
    first = pick(pool)
    second = pick(pool, (first,))
    assert {first, second} == set(pool.members.values())
    assert pool.pick(CLIENT, NOW, (first, second)) is None
    assert (first.picks, second.picks) == (1, 1)


def test_a_pool_without_nodes_has_nobody() -> None:
    assert Pool({}).pick(CLIENT, NOW) is None


def test_takers_are_those_that_any_client_may_get() -> None:
    """As things are now, also when nobody was picked since."""
    pool = Pool(by_name(node("a"), node("b", mode=Mode.DRAIN), node("c", mode=Mode.BACKUP)))
    a, _, c = pool.members.values()
    assert pool.takers() == {a}
    pool.set_status(a, Status.DOWN, "", NOW)
    assert pool.takers() == {c}
    pool.set_status(c, Status.DOWN, "", NOW)
    assert pool.takers() == set()


def test_a_change_of_mode_applies_to_the_next_pick() -> None:
    """R29; what is open stays open."""
    pool = Pool(by_name(node("a"), node("b")))
    member = pick(pool)
    pool.update(by_name(node("a", mode=Mode.REJECT), node("b")))
    assert names(pool, 3) == "bbb"
    assert member.open == 1
    pool.update(by_name(node("a"), node("b")))
    assert Counter(names(pool, 4)) == {"a": 2, "b": 2}


def test_a_node_that_stays_keeps_all_that_is_known_of_it() -> None:
    """A reload that changes weights and labels forgets no count (R30)."""
    pool = Pool(by_name(node("a"), node("b")))
    member = pick(pool)
    changed = node("a", weight=7, label="seven")
    pool.update(by_name(node("c"), changed))
    assert pool.members["a"] is member
    assert member.node is changed
    assert (member.open, member.picks) == (1, 1)


def test_a_node_at_another_address_is_another_node() -> None:
    pool = Pool(by_name(node("a")))
    before = pick(pool)
    pool.update(by_name(node("a", Address("192.0.2.2", 8080))))
    after = pick(pool)
    assert after is not before
    assert (before.picks, after.picks) == (1, 1)
    assert before.node != after.node


def test_a_removed_node_still_takes_its_releases() -> None:
    """A connection that outlives its node in the file ends like any other."""
    pool = Pool(by_name(node("a"), node("b")))
    gone = pick(pool)
    pool.update(by_name(node("b")))
    assert names(pool, 3) == "bbb"
    pool.release(gone, Outcome.SERVED)
    assert (gone.open, gone.outcomes[Outcome.SERVED]) == (0, 1)


def test_reloads_do_not_begin_again_at_the_first_node() -> None:
    """A file that is reloaded after each connection balances all the same."""
    nodes = by_name(node("a"), node("b"), node("c"))
    pool = Pool(nodes)
    seen = ""
    for number in range(9):
        seen += names(pool, 1)
        pool.update({**nodes, "c": node("c", label=f"reload {number}")})
    assert seen == "abcabcabc"


def test_reloads_that_change_the_set_do_not_begin_again_either() -> None:
    both, all_three = by_name(node("a"), node("b")), by_name(node("a"), node("b"), node("c"))
    pool = Pool(both)
    seen = ""
    for number in range(40):
        seen += names(pool, 1)
        pool.update((all_three, both)[number % 2])
    assert abs(seen.count("a") - seen.count("b")) <= 2


def test_another_algorithm_takes_over_what_is_open() -> None:
    """R13; a reload from round robin to least connections knows the connections that there are, and back."""
    nodes = by_name(node("a"), node("b"))
    pool = Pool(nodes)
    first, second, third = pick(pool), pick(pool), pick(pool)
    pool.release(second, Outcome.SERVED)
    assert (first.open, second.open) == (2, 0)
    pool.update(nodes, config("web", algorithm=Algorithm.LEASTCONN))
    assert names(pool, 2) == "bb"
    pool.release(third, Outcome.SERVED)
    assert names(pool, 1) == "a"
    pool.update(nodes, config("web", algorithm=Algorithm.SOURCE))
    assert len(set(names(pool, 5))) == 1
    pool.update(nodes, config("web"))
    assert names(pool, 4) in ("abab", "baba")


def test_a_reload_with_the_same_algorithm_keeps_its_turns() -> None:
    nodes = by_name(node("a"), node("b"), node("c"))
    rules = config("web", algorithm=Algorithm.LEASTCONN)
    pool = Pool(nodes)
    seen = ""
    for _ in range(6):
        pool.update(nodes, rules)
        member = pick(pool)
        seen += member.node.name
        pool.release(member, Outcome.SERVED)
    assert seen == "abcabc"


def test_least_connections_hear_of_every_release() -> None:
    """R13; also of those of connections that round robin has made."""
    nodes = by_name(node("a"), node("b"))
    pool = Pool(nodes)
    b = pool.members["b"]
    busy = [pick(pool, (b,)) for _ in range(5)]
    pool.update(nodes, config("web", algorithm=Algorithm.LEASTCONN))
    assert names(pool, 1) == "b"
    for member in busy:
        pool.release(member, Outcome.SERVED)
    assert names(pool, 1) == "a"


@pytest.mark.parametrize("algorithm", Algorithm)
def test_what_is_foreseen_is_what_is_picked_and_to_ask_changes_nothing(algorithm: Algorithm) -> None:
    nodes = [node(name, Address(f"192.0.2.{n}", 80), weight=n) for n, name in enumerate("abc", 1)]
    asked, unasked = (Pool(by_name(*nodes)) for _ in range(2))
    for pool in (asked, unasked):
        pool.update(by_name(*nodes), config("web", algorithm=algorithm))
    for number in range(30):
        client = f"198.51.100.{number}"
        named, member = asked.foresee(client, NOW)
        assert named is None
        assert asked.foresee(client, NOW) == (named, member)
        assert asked.pick(client, NOW) is member
        other = unasked.pick(client, NOW)
        assert (member and member.node.name) == (other and other.node.name)


def test_stickiness_is_foreseen_too() -> None:
    pool = Pool({})
    pool.update(by_name(node("a"), node("b")), config("web", stickiness=Stickiness.TABLE))
    assert pool.foresee(CLIENT, NOW)[0] is None
    member = pick(pool)
    assert pool.foresee(CLIENT, NOW) == (member, member)
    pool.set_status(member, Status.DOWN, "", 0)
    named, next_ = pool.foresee(CLIENT, NOW)
    assert (named, next_) == (None, pool.members["b" if member.node.name == "a" else "a"])
    assert Pool({}).foresee(CLIENT, NOW) == (None, None)


def test_changes_of_nodes_are_counted() -> None:
    pool = Pool(by_name(node()))
    before = pool.changes
    assert pool.set_status(pool.members["a"], Status.UP, "", 0)
    assert not pool.set_status(pool.members["a"], Status.UP, "", 0)
    assert pool.changes == before + 1
    pool.update(by_name(node(mode=Mode.DRAIN)))
    assert pool.changes == before + 2
