"""Who is up: nodes without probes, which come back by trial, and what reloads change. Then all rules over any history."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nodebalancer.balancing.health import FIRST_PAUSE
from nodebalancer.balancing.member import Member, Status
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.fields import Address
from nodebalancer.model import Check, Mode, PortConfig
from nodebalancer.testing.builders import node
from nodebalancer.testing.wards import Ward

PROBED: dict[str, Any] = {"check": Check.CONNECTION}
PAIR = node("a"), node("b")


# Without probes


def test_a_node_without_probes_is_unknown_until_a_connection_succeeded() -> None:
    ward = Ward(check_passive=False)
    assert ward.health.on_trial == {ward["a"]}
    ward.serve()
    assert ward.statuses() == "UP"
    assert ward.reasons() == ["a connection succeeded"]
    assert ward.health.on_trial == set()


def test_a_node_without_probes_is_tried_again_after_a_second_then_two_then_four() -> None:
    ward = Ward(passive_retry=10, passive_attempts=3)
    pauses = []
    for _ in range(3):
        ward.fail(Outcome.CONNECT_FAILED)
    for _ in range(6):
        assert ward.statuses() == "DOWN"
        due = ward.health.next_due
        assert due is not None
        pauses.append(due - ward.now)
        ward.wait(pauses[-1] - 0.1)
        assert ward.statuses() == "DOWN"
        ward.wait(0.1)
        assert ward.statuses() == "Unknown"
        assert ward.health.next_due is None
        assert ward.health.on_trial == {ward["a"]}
        # One is enough now.
        ward.fail(Outcome.CONNECT_FAILED)
    assert pauses == [1, 2, 4, 8, 10, 10]
    assert ward.reasons()[:3] == [
        "3 connections in a row failed: HTTP 500",
        "tried again after 1 s",
        "a connection failed: HTTP 500",
    ]


def test_a_node_that_passed_its_trial_begins_at_a_second_again() -> None:
    ward = Ward(passive_attempts=2)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.wait(1)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.wait(2)
    ward.serve()
    assert ward.statuses() == "UP"
    ward.fail(Outcome.CONNECT_FAILED)
    assert ward.statuses() == "UP"
    ward.fail(Outcome.CONNECT_FAILED)
    assert ward.health.next_due == ward.now + FIRST_PAUSE


def test_connections_from_before_its_trial_decide_nothing() -> None:
    ward = Ward(passive_attempts=1)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.wait(1)
    ward.fail(Outcome.TIMED_OUT, took=0.5)
    ward.serve(took=0.5)
    assert ward.statuses() == "Unknown"
    ward.serve()
    assert ward.statuses() == "UP"


def test_a_trial_that_fails_leaves_the_only_node_in_when_it_may_not_be_taken_out() -> None:
    ward = Ward(passive_max_out=50)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.wait(1)
    ward.fail(Outcome.SERVER_ERROR)
    assert ward.statuses() == "Unknown"
    assert ward.health.on_trial == {ward["a"]}
    ward.serve()
    assert ward.statuses() == "UP"


def test_the_next_of_several_retries_is_due_first() -> None:
    ward = Ward(*PAIR)
    assert ward.health.next_due is None
    ward.fail(Outcome.CONNECT_FAILED)
    ward.now += 0.5
    ward.fail(Outcome.CONNECT_FAILED, "b")
    assert ward.health.next_due == ward.now + 0.5
    ward.wait(0.5)
    assert ward.statuses() == "Unknown DOWN"
    ward.wait(0.5)
    assert ward.statuses() == "Unknown Unknown"


# Reloads


def test_a_reload_keeps_what_is_known() -> None:
    ward = Ward(**PROBED, check_attempts=3)
    ward.probe("+--")
    ward.update(node("b"), node("a", weight=7), **PROBED, check_attempts=3)
    ward.probe("-")
    assert ward.statuses() == "Unknown DOWN"


def test_a_reload_does_not_touch_a_retry_but_its_longest_time() -> None:
    ward = Ward(passive_retry=30)
    for _ in range(4):
        ward.fail(Outcome.CONNECT_FAILED)
        ward.wait(8)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.update(node("a"), passive_retry=20)
    assert ward.health.next_due == ward.now + 16
    ward.update(node("a"), passive_retry=5)
    assert ward.health.next_due == ward.now + 5


def test_a_node_that_is_out_when_probing_is_switched_off_is_tried_again() -> None:
    ward = Ward(*PAIR, **PROBED)
    ward.probe("-")
    ward.probe("+", "b")
    ward.update(*PAIR)
    assert ward.health.on_trial == set()
    ward.wait(1)
    assert ward.statuses() == "Unknown UP"


def test_a_node_that_waits_for_its_retry_waits_for_probes_once_there_are_some() -> None:
    ward = Ward(*PAIR)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.update(*PAIR, **PROBED)
    assert (ward.health.next_due, ward.health.on_trial) == (None, set())
    ward.wait(99)
    assert ward.statuses() == "DOWN Unknown"
    ward.probe("++")
    assert ward.statuses() == "UP Unknown"


def test_a_trial_is_over_once_there_are_probes() -> None:
    ward = Ward(*PAIR)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.wait(1)
    ward.update(*PAIR, **PROBED, passive_attempts=2)
    ward.fail(Outcome.CONNECT_FAILED)
    assert ward.statuses() == "Unknown Unknown"
    ward.fail(Outcome.CONNECT_FAILED)
    assert ward.statuses() == "DOWN Unknown"


def test_failures_in_a_row_go_on_over_a_reload() -> None:
    ward = Ward(*PAIR, **PROBED, passive_attempts=2)
    ward.fail()
    ward.update(*PAIR, **PROBED, passive_attempts=2)
    assert ward.health.on_trial == {ward["a"]}
    ward.fail()
    assert ward.statuses() == "DOWN Unknown"


def test_a_node_that_left_takes_its_retry_along() -> None:
    ward = Ward(*PAIR)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.update(node("b"))
    assert ward.health.next_due is None


def test_a_node_at_another_address_begins_anew() -> None:
    ward = Ward(**PROBED)
    ward.probe("-")
    ward.update(node("a", Address("192.0.2.2", 80)), **PROBED)
    assert ward.statuses() == "Unknown"
    ward.probe("+")
    assert ward.statuses() == "UP"


# Nodes whose address is not known


def test_a_node_without_an_address_is_down_whatever_probes_and_time_say() -> None:
    """A probe of its old address may still be under way."""
    ward = Ward(**PROBED, check_rise=1)
    ward.probe("+")
    ward.locate(False)
    ward.probe("+++")
    ward.wait(99)
    assert (ward.statuses(), ward["a"].reason) == ("DOWN", "name not resolved")


def test_the_newest_reason_counts_and_is_no_change() -> None:
    ward = Ward(**PROBED)
    ward.probe("-")
    ward.locate(False)
    assert ward["a"].reason == "name not resolved"
    assert len(ward.told) == 1


def test_once_it_has_one_nothing_is_known_of_it_and_probes_decide() -> None:
    ward = Ward(**PROBED)
    ward.locate(False)
    ward.locate(True)
    ward.locate(True)
    assert (ward.statuses(), ward["a"].awaited) == ("Unknown", True)
    ward.probe("+")
    assert (ward.statuses(), ward["a"].awaited) == ("UP", False)
    assert ward.reasons() == ["name not resolved", "name resolved", "a probe passed"]


def test_without_probes_it_is_on_trial_then_and_not_tried_before() -> None:
    ward = Ward(passive_retry=5)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.locate(False)
    ward.update(node("a"), passive_retry=5)
    assert ward.health.next_due is None
    ward.wait(99)
    assert ward.statuses() == "DOWN"
    ward.locate(True)
    assert (ward.statuses(), ward["a"].awaited) == ("Unknown", False)
    assert ward.health.on_trial == {ward["a"]}


def test_a_node_that_left_may_be_anywhere() -> None:
    ward = Ward(*PAIR)
    gone = ward["a"]
    ward.update(node("b"))
    ward.health.located(gone, False, "name not resolved", ward.now, ward.at)
    assert ward.told == []


NAMES = st.sampled_from("abcd")


@settings(max_examples=50, stateful_step_count=40)
class Histories(RuleBasedStateMachine):
    """Probes, connections, time and reloads in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.ward = Ward(node("a"))
        self.heard: dict[Member, Status] = {}
        self.changes: dict[Member, int] = {}
        self.lost: set[Member] = set()

    @property
    def config(self) -> PortConfig:
        return self.ward.config

    @rule(
        modes=st.fixed_dictionaries({}, optional=dict.fromkeys("abcd", st.sampled_from(Mode))),
        check=st.sampled_from((Check.NONE, Check.CONNECTION)),
        passive=st.booleans(),
        attempts=st.integers(1, 3),
        percent=st.sampled_from((0, 34, 50, 100)),
    )
    def reload(self, modes: dict[str, Mode], check: Check, passive: bool, attempts: int, percent: int) -> None:
        self.ward.update(
            *(node(name, mode=mode) for name, mode in modes.items()),
            check=check,
            check_passive=passive,
            check_attempts=attempts,
            passive_attempts=attempts,
            passive_max_out=percent,
        )

    @rule(name=NAMES, good=st.booleans(), took=st.sampled_from((0.1, 5)))
    def probe(self, name: str, good: bool, took: float) -> None:
        if name in self.ward.pool.members:
            self.ward.probe("+" if good else "-", name, took=took)

    @rule(name=NAMES, outcome=st.sampled_from(Outcome), took=st.sampled_from((0.0, 5.0)))
    def fail(self, name: str, outcome: Outcome, took: float) -> None:
        if name in self.ward.pool.members:
            before = self.down(name)
            self.ward.fail(outcome, name, took=took)
            if self.down(name) > before and outcome is not Outcome.CONNECT_FAILED:
                peers = [each for each in self.config.nodes.values() if each.mode is self.config.nodes[name].mode]
                assert self.down(name) * 100 <= self.config.passive_max_out * len(peers)

    def down(self, name: str) -> int:
        """Nodes of the mode of this one that are out."""
        mode = self.config.nodes[name].mode
        members = self.ward.pool.members.values()
        return sum(member.status is Status.DOWN and member.node.mode is mode for member in members)

    @rule(name=NAMES, took=st.sampled_from((0.0, 5.0)))
    def serve(self, name: str, took: float) -> None:
        """As its callers do."""
        if name in self.ward.pool.members and self.ward[name] in self.ward.health.on_trial:
            self.ward.serve(name, took)

    @rule(name=NAMES, known=st.booleans())
    def locate(self, name: str, known: bool) -> None:
        if name in self.ward.pool.members:
            self.ward.locate(known, name)
            (self.lost.discard if known else self.lost.add)(self.ward[name])

    @rule(seconds=st.sampled_from((0.5, 1.0, 40.0)))
    def wait(self, seconds: float) -> None:
        self.ward.wait(seconds)

    @invariant()
    def every_change_was_told_once_and_nothing_else(self) -> None:
        for change in self.ward.told:
            member = self.ward[change.node]
            assert self.heard.get(member, Status.UNKNOWN) is change.old is not change.new
            self.heard[member] = change.new
            self.changes[member] = self.changes.get(member, 0) + 1
            assert change.number == self.changes[member]
            assert change.reason
        self.ward.told.clear()
        for member in self.ward.pool.members.values():
            assert member.status is self.heard.get(member, Status.UNKNOWN)

    @invariant()
    def whoever_is_out_comes_back(self) -> None:
        """Without probes each has a time to be tried again, unless nobody knows where it is."""
        out = [
            member
            for member in self.ward.pool.members.values()
            if member.status is Status.DOWN and member not in self.lost
        ]
        due = self.ward.health.next_due
        assert (due is not None) == (bool(out) and self.config.check is Check.NONE)
        assert due is None or due <= self.ward.now + self.config.passive_retry

    @invariant()
    def whoever_is_nowhere_is_down(self) -> None:
        members = self.lost & set(self.ward.pool.members.values())
        assert all(member.status is Status.DOWN for member in members)

    @invariant()
    def a_success_matters_to_those_on_trial_and_to_nobody_else(self) -> None:
        members = set(self.ward.pool.members.values())
        unknown = {member for member in members if member.status is Status.UNKNOWN}
        assert self.ward.health.on_trial <= members
        assert all(member.status is not Status.DOWN for member in self.ward.health.on_trial)
        if self.config.check is Check.NONE:
            assert unknown <= self.ward.health.on_trial


test_status_is_true_over_any_history = Histories.TestCase
