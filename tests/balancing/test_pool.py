"""The pool's rules, one test each, and all of them together over any history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import PICKED, Member, Pool
from nodebalancer.fields import Address
from nodebalancer.model import Mode, Node
from nodebalancer.testing.builders import node

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


@pytest.mark.parametrize("mode", Mode)
def test_which_modes_are_picked(mode: Mode) -> None:
    """The table and nothing else decides; a node that is not picked is still known (R25)."""
    pool = Pool(by_name(node(mode=mode)))
    assert list(pool.members) == ["a"]
    assert (pool.pick(CLIENT, NOW) is not None) == (mode is Mode.ACCEPT) == PICKED.get(mode, False)


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


@settings(max_examples=40, stateful_step_count=40, deadline=None)
class Histories(RuleBasedStateMachine):
    """Picks, releases and reloads in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: Mapping[str, Node] = {}
        self.pool = Pool(self.wanted)
        self.seen: set[Member] = set()
        self.open: list[Member] = []
        self.picks: Counter[Member] = Counter()
        self.releases: Counter[tuple[Member, Outcome]] = Counter()

    @rule(
        nodes=st.fixed_dictionaries(
            {},
            optional={
                name: st.builds(
                    node,
                    st.just(name),
                    st.builds(Address, st.just("192.0.2.1"), st.integers(1, 2)),
                    weight=st.sampled_from((1, 2, 100, 255)),
                    mode=st.sampled_from((Mode.ACCEPT, Mode.ACCEPT, Mode.REJECT)),
                )
                for name in "abc"
            },
        )
    )
    def reload(self, nodes: Mapping[str, Node]) -> None:
        before = dict(self.pool.members)
        self.pool.update(nodes)
        for name, member in self.pool.members.items():
            stays = name in self.wanted and self.wanted[name].address == nodes[name].address
            assert (before.get(name) is member) == stays
        self.wanted = nodes
        self.seen |= set(self.pool.members.values())

    @rule(tried=st.sets(st.sampled_from("abc")))
    def pick(self, tried: set[str]) -> None:
        passed_over = [member for name, member in self.pool.members.items() if name in tried]
        member = self.pool.pick(CLIENT, NOW, passed_over)
        eligible = {name for name, each in self.wanted.items() if each.mode is Mode.ACCEPT} - tried
        if member is None:
            assert not eligible
        else:
            assert member.node.name in eligible
            assert self.pool.members[member.node.name] is member
            self.picks[member] += 1
            self.open.append(member)

    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def release(self, data: st.DataObject, outcome: Outcome) -> None:
        if self.open:
            member = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            self.pool.release(member, outcome)
            self.releases[member, outcome] += 1

    @invariant()
    def counts_are_true(self) -> None:
        for member in self.seen:
            assert member.open == self.open.count(member)
            assert member.picks == self.picks[member]
            assert member.outcomes == [self.releases[member, outcome] for outcome in Outcome]
            assert member.releases == sum(member.outcomes)

    def teardown(self) -> None:
        """At rest nothing is open anywhere, on nodes that were removed neither."""
        for member in self.open:
            self.pool.release(member, Outcome.STOPPED)
        assert [member for member in self.seen if member.open] == []


test_counts_are_true_over_any_history = Histories.TestCase
