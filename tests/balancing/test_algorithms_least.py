"""Least connections: the fewest for their weight, exactly, whatever has happened before; equals take turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.balancing.algorithms import LeastConnections
from nodebalancer.balancing.member import Member
from nodebalancer.testing.builders import node

CLIENT = "198.51.100.7"
WEIGHTS = st.integers(1, 255)
NAMES = "abcde"


def members(names: str = NAMES) -> list[Member]:
    return [Member(node(name)) for name in names]


def least(weights: Mapping[Member, int]) -> LeastConnections:
    algorithm = LeastConnections()
    algorithm.assign(weights)
    return algorithm


def opened(algorithm: LeastConnections, tried: Collection[Member] = ()) -> Member:
    """As the pool does: chosen, then counted."""
    member = algorithm.choose(CLIENT, tried)
    assert member is not None
    member.open += 1
    return member


def closed(algorithm: LeastConnections, member: Member) -> None:
    member.open -= 1
    algorithm.released(member)


def one_at_a_time(algorithm: LeastConnections, picks: int) -> str:
    """The names of the next, when each connection ends before the next begins."""
    names = ""
    for _ in range(picks):
        member = opened(algorithm)
        names += member.node.name
        closed(algorithm, member)
    return names


class Oracle:
    """What the algorithm is, written down without a thought of speed."""

    def __init__(self, weights: Mapping[Member, int]) -> None:
        self.weights = weights
        self.turns = dict.fromkeys(weights, Fraction(0))
        self.now = Fraction(0)

    def choose(self, tried: Collection[Member]) -> Member | None:
        left = [member for member in self.weights if member not in tried]
        if not left:
            return None
        member = min(left, key=lambda each: (Fraction(each.open, self.weights[each]), self.turns[each]))
        self.now = max(self.now, self.turns[member])
        self.turns[member] = self.now + Fraction(1, self.weights[member])
        return member


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pick"), st.sets(st.integers(0, 4), max_size=4)),
        st.tuples(st.just("pick"), st.just(set[int]())),
        st.tuples(st.just("stick"), st.integers(0, 4)),
        st.tuples(st.just("release"), st.integers(0, 4)),
    ),
    max_size=120,
)


@given(st.one_of(st.lists(WEIGHTS, min_size=5, max_size=5), st.just([1] * 5), st.just([2, 1, 2, 1, 1])), STEPS)
@settings(max_examples=150, deadline=None)
def test_it_chooses_as_a_look_at_all_nodes_would(weights: list[int], steps: list[tuple[str, object]]) -> None:
    """R13, R23. Picks that pass it by (by stickiness) count as well."""
    these = members()
    algorithm = least(dict(zip(these, weights, strict=True)))
    oracle = Oracle(dict(zip(these, weights, strict=True)))
    for what, argument in steps:
        if isinstance(argument, set):
            tried = [these[number] for number in sorted(argument)]
            member = algorithm.choose(CLIENT, tried)
            assert member is oracle.choose(tried)
            if member is not None:
                member.open += 1
        else:
            assert isinstance(argument, int)
            member = these[argument]
            if what == "stick":
                member.open += 1
            elif member.open:
                closed(algorithm, member)


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 4), WEIGHTS),
            st.lists(st.one_of(st.just(None), st.integers(0, 4)), max_size=30),
        ),
        max_size=8,
    )
)
@settings(max_examples=100, deadline=None)
def test_the_fewest_are_the_fewest_also_after_the_set_has_changed(
    rounds: list[tuple[dict[int, int], list[int | None]]],
) -> None:
    """Nodes come, go and change their weight with their connections open."""
    these = members()
    algorithm = LeastConnections()
    for numbers, steps in rounds:
        weights = {these[number]: weight for number, weight in numbers.items()}
        algorithm.assign(weights)
        for step in steps:
            if step is None:
                member = algorithm.choose(CLIENT, ())
                assert (member is None) == (not weights)
                if member is not None:
                    fewest = min(Fraction(each.open, weight) for each, weight in weights.items())
                    assert Fraction(member.open, weights[member]) == fewest
                    member.open += 1
            elif these[step].open:
                closed(algorithm, these[step])


def test_connections_are_in_proportion_to_weights() -> None:
    these = members("abc")
    algorithm = least(dict(zip(these, (5, 2, 1), strict=True)))
    for _ in range(80):
        opened(algorithm)
    assert [member.open for member in these] == [50, 20, 10]


def test_idle_equals_take_turns() -> None:
    """Else all of a quiet service's connections would go to the first node."""
    these = members("abc")
    assert one_at_a_time(least(dict.fromkeys(these, 7)), 9) == "abcabcabc"


def test_idle_nodes_take_turns_by_weight() -> None:
    """R23: more weight, more connections, also where each ends before the next begins."""
    these = members("ab")
    assert Counter(one_at_a_time(least(dict(zip(these, (3, 1), strict=True))), 40)) == {"a": 30, "b": 10}


def test_who_gets_idle_again_stands_where_its_turn_says() -> None:
    """The connection that ended is not counted any more, whatever came between."""
    a, b, c = members("abc")
    algorithm = least({a: 1, b: 1, c: 1})
    assert [opened(algorithm), opened(algorithm)] == [a, b]
    closed(algorithm, a)
    assert opened(algorithm) is c
    closed(algorithm, c)
    assert one_at_a_time(algorithm, 2) == "ac"


def test_who_was_full_for_long_has_not_saved_up_turns() -> None:
    """A node whose long connections end gets its share then, and not all that it has missed."""
    a, b = members("ab")
    algorithm = least({a: 1, b: 1})
    a.open = 50
    one_at_a_time(algorithm, 100)
    while a.open:
        closed(algorithm, a)
    assert 5 <= one_at_a_time(algorithm, 10).count("a") <= 6


def test_turns_go_on_when_the_set_changes() -> None:
    """Reloads, however many, do not make the first node the next one again."""
    these = members("abc")
    algorithm = LeastConnections()
    names = ""
    for weight in range(1, 10):
        algorithm.assign(dict.fromkeys(these, weight))
        names += one_at_a_time(algorithm, 1)
    assert names == "abcabcabc"


def test_a_release_of_a_node_that_has_left_is_no_matter() -> None:
    a, b = members("ab")
    algorithm = least({a: 1, b: 1})
    assert opened(algorithm) is a
    algorithm.assign({b: 1})
    closed(algorithm, a)
    assert one_at_a_time(algorithm, 3) == "bbb"


def test_memory_is_bounded_by_the_number_of_nodes() -> None:
    """However many releases there are; dead entries would be a leak."""
    these = members("abc")
    algorithm = least(dict.fromkeys(these, 1))
    for _ in range(2000):
        now_open = [opened(algorithm) for _ in range(5)]
        for member in now_open:
            closed(algorithm, member)
    assert len(algorithm._heap) <= 2 * 3 + 8
