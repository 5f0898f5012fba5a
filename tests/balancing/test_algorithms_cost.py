"""A pick among a thousand nodes costs at most five times what one among two does, whatever the algorithm.

Cost is counted in Python's own instructions, so that the verdict does not depend on the machine or on what else it does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from statistics import fmean
from types import FrameType
from typing import Any

import pytest

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Member, Pool, Status
from nodebalancer.model import Algorithm, Stickiness
from nodebalancer.testing.builders import config, node

CLIENTS = [f"198.51.100.{number}" for number in range(100)]
WEIGHTS = {
    "equal": lambda number: 100,
    "different": lambda number: 1 + number % 255,
}


def instructions(action: Callable[[], object]) -> int:
    """How many of Python's instructions it takes."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
    return count


def pool_of(count: int, algorithm: Algorithm, stickiness: Stickiness, weights: str) -> Pool:
    nodes = [node(f"app-{number}", weight=WEIGHTS[weights](number)) for number in range(count)]
    rules = config("web", *nodes, algorithm=algorithm, stickiness=stickiness)
    pool = Pool({})
    pool.update(rules.nodes, rules)
    return pool


def costs(pool: Pool) -> list[int]:
    """Of picks and releases, in a service at work: each client has been here, half of the connections go on."""
    open_now: list[Member] = []

    def one(client: str) -> None:
        member = pool.pick(client, 0.0)
        assert member is not None
        open_now.append(member)
        if len(open_now) > 50:
            pool.release(open_now.pop(0), Outcome.SERVED)

    for client in CLIENTS * 3:
        one(client)
    return [instructions(lambda client=client: one(client)) for client in CLIENTS]  # type: ignore[misc]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("stickiness", Stickiness)
@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_pick_among_many_costs_little_more_than_one_among_few(
    algorithm: Algorithm, stickiness: Stickiness, weights: str
) -> None:
    few = costs(pool_of(2, algorithm, stickiness, weights))
    many = costs(pool_of(1000, algorithm, stickiness, weights))
    assert min(few) > 0
    assert fmean(many) <= 5 * fmean(few)
    assert max(many) <= 10 * max(few)


def test_nodes_of_one_weight_are_the_cheapest() -> None:
    """The usual case goes a shorter way."""
    plain = costs(pool_of(1000, Algorithm.ROUNDROBIN, Stickiness.NONE, "equal"))
    weighted = costs(pool_of(1000, Algorithm.ROUNDROBIN, Stickiness.NONE, "different"))
    assert fmean(plain) < fmean(weighted) * 0.8


def test_least_connections_do_not_cost_more_the_longer_they_run() -> None:
    """Two idle nodes among busy ones have all that comes and goes, in bursts."""
    pool = pool_of(1000, Algorithm.LEASTCONN, Stickiness.NONE, "equal")
    for member in list(pool.members.values())[2:]:
        member.open = 50
    counts = []
    for _ in range(400):
        burst: list[Member | None] = []
        counts += [instructions(lambda: burst.append(pool.pick(CLIENTS[0], 0.0))) for _ in range(4)]  # noqa: B023
        for picked in burst:
            assert picked is not None
            pool.release(picked, Outcome.SERVED)
    assert max(counts[4:]) <= 5 * min(counts)


def test_a_thousand_changes_between_two_picks_are_applied_at_once() -> None:
    """All nodes of a rack fail in one turn of the loop: one more pick costs what it costs after one failure."""
    pool = pool_of(1000, Algorithm.ROUNDROBIN, Stickiness.NONE, "equal")
    pool.pick(CLIENTS[0], 0.0)
    members = list(pool.members.values())
    pool.set_status(members[0], Status.DOWN, "refused", 0.0)
    after_one = instructions(lambda: pool.pick(CLIENTS[0], 0.0))
    for member in members[:500]:
        pool.set_status(member, Status.DOWN, "refused", 0.0)
    after_many = instructions(lambda: pool.pick(CLIENTS[0], 0.0))
    assert after_many <= after_one
    assert instructions(lambda: pool.pick(CLIENTS[0], 0.0)) < after_one / 100


def test_what_is_found_out_and_changes_nothing_costs_nothing() -> None:
    """The first good probes of a thousand nodes that were picked before: nobody's turn is computed anew."""
    pool = pool_of(1000, Algorithm.ROUNDROBIN, Stickiness.NONE, "equal")
    pool.pick(CLIENTS[0], 0.0)
    calm = instructions(lambda: pool.pick(CLIENTS[0], 0.0))
    for member in pool.members.values():
        assert pool.set_status(member, Status.UP, "", 0.0)
    assert instructions(lambda: pool.pick(CLIENTS[0], 0.0)) == calm
