"""Which node is probed when, over the memory network under one clock."""

from __future__ import annotations

import errno
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from nodebalancer.fields import Address
from nodebalancer.health.checks import Path
from nodebalancer.health.monitor import IN_FLIGHT_MAX, TICK_SECONDS, Monitor
from nodebalancer.health.names import Names
from nodebalancer.model import Check, Mode, Node, Settings
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork

A = Address("10.0.0.1", 80)
EPOCH = 1_700_000_000


@attrs.frozen
class Told:
    """One call of ``probed``."""

    name: str
    began_at: float
    ok: bool
    reason: str
    now: float
    at: float


class World:
    """A monitor, the network of its nodes, and the judge."""

    def __init__(self, make_engine: Callable[[MemoryNetwork], MemoryEngine] = MemoryEngine) -> None:
        self.network = MemoryNetwork()
        self.peers = self.network.node(A)
        engine = make_engine(self.network)
        clock = self.network.clock
        self.told: list[Told] = []
        self.seconds: list[tuple[float, float]] = []
        self.names = Names(engine, clock, self, lambda host: False)
        chance = random.Random(5).random
        self.monitor = Monitor(engine, clock, self.names, self, chance=chance, wall=lambda: EPOCH + self.network.now)

    def probed(self, path: Path, began_at: float, ok: bool, reason: str, now: float, at: float) -> None:
        assert path[:2] == ("www", "web")
        self.told.append(Told(path[2], began_at, ok, reason, now, at))

    def due(self, now: float, at: float) -> None:
        self.seconds.append((now, at))

    def resolved(self, path: Path, address: Address | None, reason: str) -> None:
        """The monitor asks by itself."""

    def follow(self, wanted: Settings) -> None:
        for follower in (self.names, self.monitor):
            assert follower.examine(wanted).result == ()
            assert follower.prepare(wanted, ()).result == ()
            follower.commit()

    def follow_nodes(self, *nodes: Node, **fields: Any) -> None:
        fields.setdefault("check", Check.CONNECTION)
        self.follow(settings(nodebalancer("www", config("web", *nodes, **fields))))

    def advance(self, seconds: float) -> list[Told]:
        """What was told meanwhile."""
        self.told = []
        self.network.advance(seconds)
        return self.told

    def freeze(self, seconds: float) -> list[Told]:
        """Let time pass in which we do not run: a machine that is paused, a process that is stopped."""
        self.told = []
        self.network.clock.advance(seconds)
        self.network.pump()
        return self.told


@pytest.fixture
def world() -> World:
    return World()


def times(told: list[Told], name: str = "a") -> list[float]:
    return [one.began_at for one in told if one.name == name]


@pytest.mark.parametrize("interval", [2, 10, 300])
def test_a_node_is_probed_soon_and_then_at_its_interval(world: World, interval: int) -> None:
    world.follow_nodes(node("a", A), check_interval=interval, check_timeout=1)
    first, second, *more = times(world.advance(12 * interval))
    assert 0 <= first <= min(interval, 2)
    assert 0 <= second - first <= interval + TICK_SECONDS
    gaps = [after - before for before, after in zip([second, *more], more, strict=False)]
    assert len(more) >= 9
    assert all(0.95 * interval <= gap <= 1.05 * interval + TICK_SECONDS for gap in gaps)
    assert len(set(gaps)) > 1


def test_results_are_told_with_their_times(world: World) -> None:
    world.network.slow(A, 1.5)
    world.follow_nodes(node("a", A))
    [told] = world.advance(4)[:1]
    assert told == Told("a", told.began_at, True, "connected", told.began_at + 1.5, EPOCH + told.began_at + 1.5)


def test_a_node_that_fails_is_told_with_the_reason_each_time(world: World) -> None:
    world.follow_nodes(node("a", A))
    world.network.fail(A, errno.ECONNREFUSED)
    assert {(told.ok, told.reason) for told in world.advance(60)} == {(False, "connection refused")}
    world.network.heal(A)
    assert {(told.ok, told.reason) for told in world.advance(60)} == {(True, "connected")}
    assert world.monitor.probes.keys() == {True, False}
    assert all(count >= 5 for count in world.monitor.probes.values())


@pytest.mark.parametrize("check", [Check.CONNECTION, Check.HTTP])
def test_a_silent_node_is_timed_out_when_the_whole_time_is_over(world: World, check: Check) -> None:
    if check is Check.CONNECTION:
        world.network.blackhole(A)
    world.follow_nodes(node("a", A), check=check, check_path="/", check_timeout=3)
    [told, *_] = world.advance(6)
    assert (told.ok, told.reason) == (False, "timed out after 3 s")
    assert 3 <= told.now - told.began_at <= 3 + 2 * TICK_SECONDS
    assert world.monitor.in_flight == 0


def test_connecting_and_answering_share_one_time(world: World) -> None:
    world.network.slow(A, 2)
    world.follow_nodes(node("a", A), check=Check.HTTP, check_path="/", check_timeout=3)
    [told, *_] = world.advance(6)
    assert 3 <= told.now - told.began_at <= 3 + 2 * TICK_SECONDS


def test_rejected_nodes_and_configs_without_checks_are_not_probed(world: World) -> None:
    world.follow_nodes(node("a", A, mode=Mode.REJECT))
    assert world.advance(60) == []
    world.follow_nodes(node("a", A), check=Check.NONE)
    assert world.advance(60) == []
    assert world.peers == []


def test_the_judge_is_given_time_every_second(world: World) -> None:
    world.follow_nodes(check=Check.NONE)
    world.advance(60)
    assert 55 <= len(world.seconds) <= 61
    assert all(at == EPOCH + now for now, at in world.seconds)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL])
def test_faults_of_this_machine_are_no_verdict(world: World, number: int) -> None:
    world.follow_nodes(node("a", A))
    world.advance(30)
    world.network.fail(A, number)
    assert world.advance(600) == []
    assert 55 <= world.monitor.own_faults <= 65
    world.network.heal(A)
    assert all(told.ok for told in world.advance(30))


def test_faults_of_this_machine_are_logged_once_a_minute(world: World) -> None:
    lines: list[LogEvent] = []
    globalLogPublisher.addObserver(lines.append)  # type: ignore[arg-type] # any callable is an observer
    try:
        world.network.fail(A, errno.EMFILE)
        world.follow_nodes(*(node(f"n{i}", A) for i in range(20)))
        world.advance(119)
    finally:
        globalLogPublisher.removeObserver(lines.append)  # type: ignore[arg-type]
    told = [line for line in lines if "fault of this machine" in line["log_format"]]
    assert len(told) == 2
    assert (told[0]["config"], told[0]["reason"]) == ("www/web", "no descriptors left")


def thousand() -> list[Node]:
    return [node(f"n{i}", Address(f"10.1.{i // 250}.{i % 250 + 1}", 80)) for i in range(1000)]


def test_a_thousand_nodes_are_spread_over_two_seconds_and_then_over_the_interval(world: World) -> None:
    nodes = thousand()
    for one in nodes:
        world.network.node(one.address)
    world.follow_nodes(*nodes, check_interval=10)
    first = world.advance(2)
    assert {told.name for told in first} == {one.name for one in nodes}
    # 1,000 over 19 ticks are 53 each; what comes a second time already is on top.
    assert max(Counter(told.began_at for told in first).values()) <= 80
    world.advance(30)
    later = world.advance(10)
    assert 950 <= len(later) <= 1050
    assert max(Counter(round(told.began_at, 1) for told in later).values()) <= 30


def test_never_more_than_so_many_are_under_way_and_all_have_their_turn(world: World) -> None:
    nodes = thousand()
    for one in nodes:
        world.network.blackhole(one.address)
    world.follow_nodes(*nodes, check_interval=10, check_timeout=5)
    seen: set[str] = set()
    for _ in range(250):
        seen |= {told.name for told in world.advance(0.1)}
        assert world.monitor.in_flight <= IN_FLIGHT_MAX
    assert len(seen) == 1000


def test_a_machine_that_was_paused_counts_nothing_against_its_nodes(world: World) -> None:
    """Forty seconds in which we did not run: probes that were under way are asked again, nobody is timed out."""
    world.follow_nodes(node("a", A), node("b", Address("10.0.0.2", 80)), check_interval=10, check_timeout=5)
    slow, quick = A, Address("10.0.0.2", 80)
    world.network.node(quick)
    world.advance(20)
    world.network.slow(slow, 3)
    while not world.monitor.in_flight:
        world.advance(0.1)
    assert world.freeze(40) == []
    told = world.advance(9)
    assert [one.ok for one in told if one.name == "a"][:1] == [True]
    assert all(one.ok for one in told)
    assert world.monitor.repeated == 1


def test_a_result_that_comes_before_the_late_tick_does_not_count_either(world: World) -> None:
    world.network.slow(A, TICK_SECONDS / 2)
    world.follow_nodes(node("a", A))
    while not world.monitor.in_flight:
        world.advance(TICK_SECONDS)
    world.network.fail(A, errno.ECONNREFUSED)
    assert world.freeze(40) == []
    assert world.monitor.repeated == 1
    world.network.heal(A)
    assert [told.ok for told in world.advance(1)] == [True]


def test_after_a_pause_whoever_is_not_due_yet_keeps_its_time(world: World) -> None:
    world.follow_nodes(node("a", A), check_interval=200)
    [first, second] = world.advance(205)[:2]
    world.freeze(40)
    [third] = world.advance(185)
    assert third.began_at - max(first.began_at, second.began_at) <= 1.05 * 200 + TICK_SECONDS


def test_after_a_pause_nodes_are_not_all_probed_at_once(world: World) -> None:
    nodes = thousand()
    for one in nodes:
        world.network.node(one.address)
    world.follow_nodes(*nodes, check_interval=10)
    world.advance(30)
    world.freeze(40)
    assert max(Counter(round(told.began_at, 1) for told in world.advance(10)).values()) <= 30


def test_a_node_that_is_added_is_probed_within_two_seconds_and_the_others_in_their_own_time(world: World) -> None:
    other = Address("10.0.0.2", 80)
    world.network.node(other)
    world.follow_nodes(node("a", A), check_interval=100, check_timeout=5)
    world.advance(250)
    world.follow_nodes(node("a", A, weight=7), node("b", other), check_interval=100, check_timeout=5)
    assert times(world.advance(2), "b") != []
    assert len(times(world.advance(210), "a")) == 2


def test_a_node_whose_check_changes_is_probed_anew(world: World) -> None:
    world.network.blackhole(A)
    world.follow_nodes(node("a", A), check_interval=3600, check_timeout=30)
    world.advance(10)
    assert world.monitor.in_flight == 1
    world.network.heal(A)
    world.follow_nodes(node("a", A), check_interval=3600, check_timeout=29)
    assert world.monitor.in_flight == 0
    [told] = world.advance(2)
    assert told.ok


def test_a_node_that_is_removed_is_heard_of_no_more(world: World) -> None:
    world.network.blackhole(A)
    world.follow_nodes(node("a", A))
    world.advance(3)
    assert world.monitor.in_flight == 1
    world.follow_nodes()
    assert world.advance(60) == []


def test_a_node_that_is_removed_while_it_waits_for_its_probe_gets_none(world: World) -> None:
    world.follow_nodes(node("a", A))
    world.advance(20)
    before = len(world.peers)
    world.follow_nodes()
    assert world.advance(60) == []
    assert len(world.peers) == before


def test_a_change_that_is_abandoned_changes_nothing(world: World) -> None:
    world.follow_nodes(node("a", A))
    world.monitor.prepare(settings(), ())
    world.monitor.abandon()
    assert len(world.advance(60)) >= 5


def test_a_pattern_that_is_none_is_a_problem(world: World) -> None:
    wanted = settings(nodebalancer("www", config("web", node("a", A), check=Check.HTTP_BODY, check_body="(")))
    problems: Any = world.monitor.examine(wanted).result
    [problem] = problems
    assert problem.where == "[config www/web] check_body = ("


def test_stopped_it_probes_no_more(world: World) -> None:
    world.network.blackhole(A)
    world.follow_nodes(node("a", A))
    world.advance(3)
    world.monitor.stop()
    assert world.advance(60) == []
    assert world.network.clock.getDelayedCalls() == []


NAMED = node("a", Address("origin.internal", 80))


def test_a_name_that_cannot_be_resolved_is_a_node_that_is_down(world: World) -> None:
    world.follow_nodes(NAMED)
    assert {(told.ok, told.reason) for told in world.advance(20)} == {(False, "name not resolved")}
    world.network.names["origin.internal"] = [A.host]
    world.advance(30)
    assert {(told.ok, told.reason) for told in world.advance(30)} == {(True, "connected")}


def test_a_node_is_probed_where_its_name_leads_on_the_port_that_answers_probes(world: World) -> None:
    world.network.names["origin.internal"] = ["10.0.0.9"]
    peers = world.network.node(Address("10.0.0.9", 9000))
    world.follow_nodes(NAMED, check_port=9000)
    assert {told.reason for told in world.advance(5)} == {"connected"}
    assert peers != []


class SlowEngine(MemoryEngine):
    """Its name server takes ten seconds."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(network)
        self.answer: Deferred[list[str]] = Deferred()
        network.clock.callLater(10, self.answer.callback, [A.host])

    def resolve(self, name: str) -> Deferred[list[str]]:
        return self.answer


def test_while_a_name_is_being_resolved_nothing_is_told() -> None:
    world = World(SlowEngine)
    world.follow_nodes(NAMED)
    assert world.advance(9.9) == []
    assert [told.ok for told in world.advance(2)][:1] == [True]


def test_hours_of_flapping_are_told_result_by_result(world: World) -> None:
    """Up for half a minute, down for half a minute; every probe says what was true when it was made."""
    world.follow_nodes(node("a", A))
    world.advance(20)
    told = []
    for minute in range(60):
        for number in (errno.ECONNREFUSED, None):
            if number is None:
                world.network.heal(A)
            else:
                world.network.fail(A, number)
            half = world.advance(30)
            assert {one.ok for one in half} == {number is None}, minute
            told += half
    assert 340 <= len(told) <= 380
