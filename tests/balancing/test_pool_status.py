"""Which nodes are picked, as mode is what we want and status what we see; and how a change of status comes about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import PICKED, SLOW_START_STEPS, Pool, Status
from nodebalancer.fields import Address
from nodebalancer.model import Algorithm, Check, Mode, Node, PortConfig, Stickiness
from nodebalancer.testing.builders import config, node

CLIENT = "198.51.100.7"
NOW = 1000.0
AT = 1700000000.0
UP, DOWN, UNKNOWN = Status.UP, Status.DOWN, Status.UNKNOWN


def probed(*nodes: Node, **fields: Any) -> PortConfig:
    return config("web", *nodes, check=Check.CONNECTION, **fields)


def pool_of(rules: PortConfig) -> Pool:
    pool = Pool({}, "www", b"key")
    pool.update(rules.nodes, rules, AT)
    return pool


def reload(pool: Pool, rules: PortConfig) -> None:
    pool.update(rules.nodes, rules, AT)


def see(pool: Pool, status: Status, *names: str) -> None:
    for name in names:
        pool.set_status(pool.members[name], status, "seen", AT)


def names(pool: Pool, picks: int, now: float = NOW) -> str:
    """The nodes of the next picks; ``-`` for none."""
    chosen = [pool.pick(CLIENT, now) for _ in range(picks)]
    return "".join(member.node.name if member else "-" for member in chosen)


TRUTH = """
    mode    status   an accept node is up: any, sticky   none is: any, sticky
    accept  UP                             yes  yes               yes  yes
    accept  Unknown                        yes  yes               yes  yes
    accept  DOWN                           no   no                no   no
    drain   UP                             no   yes               no   yes
    drain   Unknown                        no   yes               no   yes
    drain   DOWN                           no   no                no   no
    backup  UP                             no   no                yes  yes
    backup  Unknown                        no   no                yes  yes
    backup  DOWN                           no   no                no   no
    reject  UP                             no   no                no   no
    reject  Unknown                        no   no                no   no
    reject  DOWN                           no   no                no   no
"""
"""Who gets a connection, of any client and of one whose stickiness names the node, with another accept node and without."""

CASES = [
    (Mode(mode), Status(status), accepting, sticky, answers[2 * (not accepting) + sticky] == "yes")
    for mode, status, *answers in (line.split() for line in TRUTH.strip().splitlines()[1:])
    for accepting in (True, False)
    for sticky in (False, True)
]


@pytest.mark.parametrize(("mode", "status", "accepting", "sticky", "picked"), CASES)
def test_mode_and_status_decide_who_is_picked(
    mode: Mode, status: Status, accepting: bool, sticky: bool, picked: bool
) -> None:
    """R22, R25 to R28."""
    nodes = [node("it", mode=mode)]
    if accepting:
        nodes.append(node("other"))
    pool = pool_of(config("web", *nodes, stickiness=Stickiness.HTTP_COOKIE))
    it = pool.members["it"]
    see(pool, status, "it")
    cookie = it.cookie if sticky else b""
    chosen = {pool.pick(CLIENT, NOW, (), cookie) for _ in range(3)}
    assert (it in chosen) == picked
    if sticky and picked:
        assert chosen == {it}
    if not accepting:
        assert chosen == ({it} if picked else {None})


def test_the_table_has_all_there_is() -> None:
    assert set(PICKED) == {(mode, status) for mode in Mode for status in Status}
    assert len(CASES) == 4 * 3 * 2 * 2


def test_a_change_of_status_is_remembered_with_time_and_reason() -> None:
    """R24."""
    pool = pool_of(probed(node("a")))
    member = pool.members["a"]
    assert (member.since, member.reason) == (AT, "")
    assert pool.set_status(member, DOWN, "connection refused", AT + 5)
    assert (member.status, member.since, member.reason, member.flaps) == (DOWN, AT + 5, "connection refused", 1)
    assert not pool.set_status(member, DOWN, "timed out", AT + 9)
    assert (member.status, member.since, member.reason, member.flaps) == (DOWN, AT + 5, "connection refused", 1)
    assert pool.set_status(member, UP, "2 probes passed", AT + 10)
    assert (member.status, member.since, member.flaps) == (UP, AT + 10, 2)


def test_a_status_found_out_too_late_is_ignored() -> None:
    """A probe of a node that a reload has taken away, or put elsewhere, changes nothing."""
    pool = pool_of(probed(node("a"), node("b")))
    gone, moved = pool.members["a"], pool.members["b"]
    reload(pool, probed(node("b", Address("192.0.2.2", 80))))
    assert not pool.set_status(gone, DOWN, "", AT)
    assert not pool.set_status(moved, DOWN, "", AT)
    assert (gone.status, gone.flaps, moved.status) == (UNKNOWN, 0, UNKNOWN)
    assert names(pool, 2) == "bb"


def test_a_status_applies_to_the_next_pick_and_leaves_open_connections_alone() -> None:
    pool = pool_of(probed(node("a"), node("b")))
    assert names(pool, 2) == "ab"
    see(pool, DOWN, "a")
    assert names(pool, 3) == "bbb"
    assert pool.members["a"].open == 1
    pool.release(pool.members["a"], Outcome.SERVED)
    see(pool, UP, "a")
    assert Counter(names(pool, 4)) == {"a": 2, "b": 2}


def test_statuses_are_counted_as_they_are_shown() -> None:
    """R24: "2 up, 1 down, 0 unknown"; a rejected node is down (R26)."""
    pool = pool_of(probed(node("a"), node("b"), node("c"), node("d", mode=Mode.REJECT)))
    assert pool.statuses() == {UNKNOWN: 3, DOWN: 1}
    see(pool, UP, "a", "b", "d")
    see(pool, DOWN, "c")
    assert pool.statuses() == {UP: 2, DOWN: 2}


def test_at_the_start_nodes_of_which_nothing_is_known_are_picked() -> None:
    """Nobody waits for the first probes."""
    pool = pool_of(probed(node("a"), node("b")))
    assert names(pool, 4) == "abab"
    see(pool, UP, "a")
    assert Counter(names(pool, 4)) == {"a": 2, "b": 2}


def test_a_node_that_a_reload_adds_waits_for_its_first_good_probe() -> None:
    """One that does not run yet would fail clients that others could have served."""
    pool = pool_of(probed(node("a")))
    reload(pool, probed(node("a"), node("b")))
    assert names(pool, 3) == "aaa"
    see(pool, UP, "b")
    assert Counter(names(pool, 4)) == {"a": 2, "b": 2}


def test_a_node_at_a_new_address_waits_too() -> None:
    """And a cookie that names it does not make it come sooner."""
    pool = pool_of(probed(node("a"), node("b"), stickiness=Stickiness.HTTP_COOKIE))
    reload(pool, probed(node("a"), node("b", Address("192.0.2.2", 80)), stickiness=Stickiness.HTTP_COOKIE))
    cookie = pool.members["b"].cookie
    first = pool.pick(CLIENT, NOW, (), cookie)
    see(pool, UP, "b")
    second = pool.pick(CLIENT, NOW, (), cookie)
    assert (first, second) == (pool.members["a"], pool.members["b"])


def test_a_node_that_waits_is_better_than_none() -> None:
    pool = pool_of(probed(node("a")))
    reload(pool, probed(node("a"), node("b")))
    see(pool, DOWN, "a")
    assert names(pool, 2) == "bb"
    see(pool, DOWN, "b")
    assert names(pool, 2) == "--"


def test_a_backup_that_is_known_comes_before_a_node_that_waits() -> None:
    pool = pool_of(probed(node("a"), node("c", mode=Mode.BACKUP)))
    reload(pool, probed(node("a"), node("b"), node("c", mode=Mode.BACKUP)))
    see(pool, DOWN, "a")
    assert names(pool, 2) == "cc"
    see(pool, UP, "b")
    assert names(pool, 2) == "bb"


@pytest.mark.parametrize("when", ["added", "later"])
def test_nobody_waits_where_nobody_is_probed(when: str) -> None:
    """With ``check = none``, from the beginning or by a reload."""
    pool = pool_of(probed(node("a")))
    if when == "later":
        reload(pool, probed(node("a"), node("b")))
        assert names(pool, 2) == "aa"
    reload(pool, config("web", node("a"), node("b"), check=Check.NONE))
    assert Counter(names(pool, 4)) == {"a": 2, "b": 2}


def test_status_survives_a_reload() -> None:
    """Also one that changes weight and mode, and back."""
    pool = pool_of(probed(node("a"), node("b")))
    see(pool, DOWN, "a")
    see(pool, UP, "b")
    for mode in (Mode.REJECT, Mode.ACCEPT):
        reload(pool, probed(node("a", weight=7, mode=mode), node("b")))
        assert names(pool, 3) == "bbb"
    assert (pool.members["a"].status, pool.members["b"].status) == (DOWN, UP)


def shares(pool: Pool, now: float, picks: int = 4200) -> Mapping[str, float]:
    """Of the next picks, each released at once."""
    counts: Counter[str] = Counter()
    for _ in range(picks):
        member = pool.pick(CLIENT, now)
        assert member is not None
        counts[member.node.name] += 1
        pool.release(member, Outcome.SERVED)
    return {name: count / picks for name, count in counts.items()}


@pytest.mark.parametrize("algorithm", [Algorithm.ROUNDROBIN, Algorithm.LEASTCONN])
@pytest.mark.parametrize("weight", [1, 100])
def test_a_node_that_came_up_gets_to_its_full_weight_by_and_by(algorithm: Algorithm, weight: int) -> None:
    """Its caches are cold; the time begins with the first pick after it came up."""
    pool = pool_of(probed(node("a", weight=weight), node("b", weight=weight), slow_start=100, algorithm=algorithm))
    see(pool, UP, "a", "b")
    assert shares(pool, NOW)["b"] == 0.5
    see(pool, DOWN, "b")
    assert "b" not in shares(pool, NOW)
    see(pool, UP, "b")
    begins = NOW + 5000
    for after, full in ((0, 0.05), (7, 0.05), (12, 0.1), (50, 0.5), (97, 0.95), (102, 1), (500, 1)):
        assert shares(pool, begins + after)["b"] == pytest.approx(full / (1 + full), abs=0.002)


def test_one_that_goes_down_again_begins_again() -> None:
    pool = pool_of(probed(node("a"), node("b"), slow_start=100))
    see(pool, DOWN, "b")
    see(pool, UP, "b")
    shares(pool, NOW)
    assert shares(pool, NOW + 50)["b"] > 0.3
    see(pool, DOWN, "b")
    see(pool, UP, "b")
    assert shares(pool, NOW + 60)["b"] < 0.06


def test_a_trial_begins_slowly_too() -> None:
    """Without probes a node that was down becomes Unknown first, and is picked then."""
    pool = pool_of(config("web", node("a"), node("b"), check=Check.NONE, slow_start=100))
    see(pool, DOWN, "b")
    see(pool, UNKNOWN, "b")
    assert shares(pool, NOW)["b"] < 0.06
    see(pool, UP, "b")
    assert shares(pool, NOW)["b"] < 0.06
    assert shares(pool, NOW + 100)["b"] == 0.5


def test_a_node_that_was_waited_for_begins_slowly() -> None:
    pool = pool_of(probed(node("a"), slow_start=100))
    reload(pool, probed(node("a"), node("b"), slow_start=100))
    see(pool, UP, "a", "b")
    assert shares(pool, NOW)["b"] < 0.06


def test_a_backup_begins_when_it_is_needed() -> None:
    """Its time does not pass while it gets nothing anyway."""
    nodes = [node("a"), node("b", mode=Mode.BACKUP), node("c", mode=Mode.BACKUP)]
    pool = pool_of(probed(*nodes, slow_start=100))
    see(pool, DOWN, "b")
    see(pool, UP, "b")
    assert shares(pool, NOW) == {"a": 1}
    see(pool, DOWN, "a")
    assert shares(pool, NOW + 1000)["b"] < 0.06
    assert shares(pool, NOW + 1100)["b"] == 0.5


@pytest.mark.parametrize(
    "rules",
    [
        probed(node("a"), node("b")),
        probed(node("a"), node("b"), slow_start=100, algorithm=Algorithm.SOURCE),
    ],
)
def test_a_reload_may_end_all_slow_starts(rules: PortConfig) -> None:
    """No slow start any more, or an algorithm that has none."""
    pool = pool_of(probed(node("a"), node("b"), slow_start=100))
    see(pool, DOWN, "b")
    see(pool, UP, "b")
    assert shares(pool, NOW)["b"] < 0.06
    reload(pool, rules)
    clients = [f"198.51.100.{number}" for number in range(200)]
    counts = Counter(member.node.name for client in clients if (member := pool.pick(client, NOW)))
    assert counts["b"] == pytest.approx(100, abs=25)


def test_a_reload_keeps_slow_starts_and_forgets_those_of_nodes_that_leave() -> None:
    pool = pool_of(probed(node("a"), node("b"), node("c"), slow_start=100))
    see(pool, DOWN, "b", "c")
    see(pool, UP, "b", "c")
    shares(pool, NOW)
    reload(pool, probed(node("a"), node("b"), slow_start=100))
    assert shares(pool, NOW + 50)["b"] == pytest.approx(1 / 3, abs=0.01)
    assert set(pool._rising) == {pool.members["b"]}


def test_with_source_a_node_that_came_up_has_its_clients_at_once() -> None:
    """Whoever it was moved away from comes back; to move them in steps would move some several times."""
    pool = pool_of(probed(node("a"), node("b"), slow_start=100, algorithm=Algorithm.SOURCE))
    clients = [f"198.51.100.{number}" for number in range(50)]
    before = [pool.pick(client, NOW) for client in clients]
    see(pool, DOWN, "b")
    assert {pool.pick(client, NOW) for client in clients} == {pool.members["a"]}
    see(pool, UP, "b")
    assert [pool.pick(client, NOW) for client in clients] == before


def test_a_hundred_slow_starts_are_twenty_steps() -> None:
    """However many nodes came up, and at however many times, their steps are taken together."""
    names = [f"app-{number}" for number in range(100)]
    pool = pool_of(probed(*map(node, names), slow_start=100))
    see(pool, DOWN, *names)
    now = NOW
    for name in names:
        see(pool, UP, name)
        now += 0.125
        pool.pick(CLIENT, now)
    steps = set()
    for _ in range(1000):
        now += 0.125
        pool.pick(CLIENT, now)
        steps.add(pool._settle_at)
    assert 10 < len(steps) <= 125 / 100 * SLOW_START_STEPS
    assert pool._rising == {}
