"""Round robin is smooth, weighted and fair at any time. The other algorithms, and what a pick costs, have files of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.balancing.algorithms import Algorithm, RoundRobin
from nodebalancer.balancing.member import Member
from nodebalancer.testing.builders import node

CLIENT = "198.51.100.7"
WEIGHTS = st.integers(1, 255)
A, B, C, D = MEMBERS = [Member(node(name)) for name in "abcd"]


def round_robin(*weights: int) -> RoundRobin:
    """Over a, b, … with these weights."""
    algorithm = RoundRobin()
    algorithm.assign(dict(zip(MEMBERS, weights, strict=False)))
    return algorithm


def names(algorithm: Algorithm, picks: int) -> str:
    """The names of the next ones; ``-`` for nobody."""
    chosen = [algorithm.choose(CLIENT, ()) for _ in range(picks)]
    return "".join(member.node.name if member else "-" for member in chosen)


def spread(chosen: Iterable[Member | None], weights: dict[Member, int]) -> tuple[Fraction, Fraction]:
    """How far the picks of any member were off its due: at most at any time, and at most in any row of picks."""
    shares = {member: Fraction(weight, sum(weights.values())) for member, weight in weights.items()}
    off = dict.fromkeys(weights, Fraction(0))
    least, most = dict(off), dict(off)
    for member in chosen:
        assert member is not None
        off[member] += 1
        for each, share in shares.items():
            off[each] -= share
            least[each] = min(least[each], off[each])
            most[each] = max(most[each], off[each])
    return (
        max(max(most[each], -least[each]) for each in weights),
        max(most[each] - least[each] for each in weights),
    )


@pytest.mark.parametrize(
    ("weights", "order"),
    [
        ((1,), "aaaa"),
        ((7, 7, 7), "abcabcabc"),
        ((5, 1, 1), "aabaacaaabaaca"),
        ((2, 1), "abaaba"),
        ((100, 50), "abaaba"),
        ((1, 3), "babbbabb"),
        ((), "--"),
    ],
)
def test_turns_are_evenly_spread(weights: Sequence[int], order: str) -> None:
    """A node of much weight does not get its connections in one go (R13, R23)."""
    assert names(round_robin(*weights), len(order)) == order


@given(st.lists(WEIGHTS, min_size=2, max_size=10))
@settings(max_examples=40, deadline=None)
def test_no_node_is_ever_a_whole_pick_off_its_due(weights: list[int]) -> None:
    """At any time each node has had its share to within 1 - 1 / (2n - 2) picks, so in any row of picks to within 2."""
    members = {Member(node(str(number))): weight for number, weight in enumerate(weights)}
    algorithm = RoundRobin()
    algorithm.assign(members)
    chosen = [algorithm.choose(CLIENT, ()) for _ in range(min(2 * sum(weights), 400))]
    at_any_time, in_any_row = spread(chosen, members)
    assert at_any_time <= 1 - Fraction(1, 2 * len(weights) - 2)
    assert in_any_row < 2


def test_one_heavy_node_among_many_light_ones_waits_for_none_of_them() -> None:
    """The case in which choosing by deadlines alone goes wrong by several picks."""
    members = {Member(node(str(weight))): weight for weight in (255, *range(1, 21))}
    algorithm = RoundRobin()
    algorithm.assign(members)
    at_any_time, in_any_row = spread((algorithm.choose(CLIENT, ()) for _ in range(2 * 465)), members)
    assert at_any_time < 1
    assert in_any_row < 2


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_after_a_full_round_each_has_had_exactly_its_weight(weights: list[int]) -> None:
    members = {Member(node(str(number))): weight for number, weight in enumerate(weights)}
    algorithm = RoundRobin()
    algorithm.assign(members)
    for _ in range(2):
        assert Counter(algorithm.choose(CLIENT, ()) for _ in range(sum(weights))) == members


def test_who_was_tried_is_passed_over_and_keeps_its_turn() -> None:
    algorithm = round_robin(1, 1, 1)
    assert algorithm.choose(CLIENT, (A,)) is B
    assert names(algorithm, 4) == "acba"


def test_somebody_of_other_weight_comes_in_place_of_who_was_tried() -> None:
    """Another node is found also when the next ones by rights were all tried, whatever their weights."""
    algorithm = round_robin(100, 100, 1)
    assert algorithm.choose(CLIENT, (A, B)) is C
    assert algorithm.choose(CLIENT, (A, C)) is B
    assert algorithm.choose(CLIENT, (B, C)) is A


@given(st.lists(WEIGHTS, min_size=1, max_size=4), st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_when_all_were_tried_nobody_is_chosen_and_nobody_loses_a_turn(weights: list[int], picks: int) -> None:
    asked, unasked = round_robin(*weights), round_robin(*weights)
    assert names(asked, picks) == names(unasked, picks)
    assert asked.choose(CLIENT, MEMBERS) is None
    assert names(asked, 50) == names(unasked, 50)


@given(st.lists(WEIGHTS, min_size=3, max_size=4), st.lists(st.sets(st.sampled_from(MEMBERS), max_size=3), max_size=60))
@settings(max_examples=40, deadline=None)
def test_who_was_tried_is_never_chosen(weights: list[int], tries: list[set[Member]]) -> None:
    algorithm = round_robin(*weights)
    for tried in tries:
        member = algorithm.choose(CLIENT, tried)
        assert member not in tried
        assert (member is None) == (tried >= set(MEMBERS[: len(weights)]))


@given(st.lists(WEIGHTS, min_size=1, max_size=4), st.integers(0, 300))
@settings(max_examples=30, deadline=None)
def test_a_change_to_the_same_changes_nothing(weights: list[int], picks: int) -> None:
    """Reloads, however many, do not make the first node the next one again."""
    reloaded, left_alone = round_robin(*weights), round_robin(*weights)
    assert names(reloaded, picks) == names(left_alone, picks)
    for _ in range(3):
        reloaded.assign(dict(zip(MEMBERS, weights, strict=False)))
    assert names(reloaded, 50) == names(left_alone, 50)


def test_those_that_stay_keep_their_order_when_others_come_and_go() -> None:
    algorithm = round_robin(1, 1, 1)
    assert names(algorithm, 1) == "a"
    algorithm.assign({A: 1, C: 1, D: 1})
    assert names(algorithm, 6) == "cdacda"


def test_a_newcomer_gets_no_more_than_its_share() -> None:
    """A node that is added is not flooded with what the others have had before."""
    algorithm = round_robin(1, 1)
    names(algorithm, 1001)
    algorithm.assign({A: 1, B: 1, C: 1})
    assert Counter(names(algorithm, 9)) == {"a": 3, "b": 3, "c": 3}


def test_who_has_waited_goes_on_waiting_from_there_when_weights_change() -> None:
    """A node of little weight gets its turn in time however often the weights of others change meanwhile."""
    algorithm = round_robin(99, 1)
    chosen = ""
    for step in range(100):
        algorithm.assign({A: 99 + step % 2, B: 1})
        chosen += names(algorithm, 10)
    assert chosen.count("b") == 10


@given(
    st.lists(
        st.tuples(st.dictionaries(st.sampled_from(MEMBERS), WEIGHTS, min_size=1), st.integers(0, 60)),
        min_size=1,
        max_size=4,
    ),
    st.dictionaries(st.sampled_from(MEMBERS), WEIGHTS, min_size=1),
)
@settings(max_examples=60, deadline=None)
def test_shares_are_right_after_any_changes(
    before: list[tuple[dict[Member, int], int]], now: dict[Member, int]
) -> None:
    """Whatever the set of nodes has gone through, nobody is 3 picks off from then on, in any row of picks."""
    algorithm = RoundRobin()
    for weights, picks in before:
        algorithm.assign(weights)
        names(algorithm, picks)
    algorithm.assign(now)
    _, in_any_row = spread([algorithm.choose(CLIENT, ()) for _ in range(300)], now)
    assert in_any_row < 3


def test_nodes_that_come_and_go_in_step_with_their_picks_push_nobody_out_of_time() -> None:
    """Each light node is replaced right after its pick, so those that stay have all waited; still no crowding later."""
    heavy = Member(node("heavy"))
    weights = {heavy: 255, **{Member(node(str(weight))): weight for weight in range(1, 21)}}
    algorithm = RoundRobin()
    algorithm.assign(weights)
    for _ in range(40):
        chosen = algorithm.choose(CLIENT, ())
        if chosen is not heavy:
            weights = {Member(node("new")) if each is chosen else each: weight for each, weight in weights.items()}
            algorithm.assign(weights)
    _, in_any_row = spread((algorithm.choose(CLIENT, ()) for _ in range(465)), weights)
    assert in_any_row < 3
