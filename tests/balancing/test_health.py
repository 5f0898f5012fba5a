"""Who is up: the rules about probes and about live connections, one test each."""

from __future__ import annotations

from typing import Any

import pytest

from nodebalancer.balancing.health import VERDICTS, StatusChange
from nodebalancer.balancing.member import Status
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.fields import Address
from nodebalancer.model import Check, Mode, Node
from nodebalancer.testing.builders import node
from nodebalancer.testing.wards import WALL, Ward

REFUSED = "connection refused"
PROBED: dict[str, Any] = {"check": Check.CONNECTION}
PAIR = node("a"), node("b")


# Probes


@pytest.mark.parametrize(("result", "status"), [("+", "UP"), ("-", "DOWN")])
def test_the_first_probe_ever_decides_at_once(result: str, status: str) -> None:
    ward = Ward(**PROBED)
    assert ward.statuses() == "Unknown"
    ward.probe(result)
    assert ward.statuses() == status


def test_so_many_failed_probes_in_a_row_take_a_node_out() -> None:
    """R19."""
    ward = Ward(**PROBED, check_attempts=3)
    ward.probe("+--+--")
    assert ward.statuses() == "UP"
    ward.probe("-")
    assert ward.statuses() == "DOWN"


def test_so_many_good_probes_in_a_row_bring_it_back() -> None:
    """R22."""
    ward = Ward(**PROBED, check_rise=2)
    ward.probe("-+-+")
    assert ward.statuses() == "DOWN"
    ward.probe("+")
    assert ward.statuses() == "UP"


def test_what_is_told_of_a_change() -> None:
    ward = Ward(**PROBED, check_attempts=2)
    ward.probe("+")
    ward.probe("--", reason="name not resolved")
    ward.probe("++")
    up, down, up_again = ward.told
    assert up == StatusChange("www/web", "a", Status.UNKNOWN, Status.UP, "a probe passed", WALL + 1000.5, 1)
    assert (down.old, down.new, down.number) == (Status.UP, Status.DOWN, 2)
    assert (down.reason, down.at) == ("2 probes in a row failed: name not resolved", WALL + 1001.5)
    assert up_again.reason == "2 probes in a row passed"
    assert (ward["a"].reason, ward["a"].since) == (up_again.reason, up_again.at)


def test_nothing_is_told_where_nothing_changes() -> None:
    ward = Ward(**PROBED)
    ward.probe("++++--+--")
    assert len(ward.told) == 1


def test_a_node_that_flaps_shows_it() -> None:
    ward = Ward(**PROBED, check_attempts=1, check_rise=1)
    ward.probe("+-" * 50)
    assert ward.told[-1].number == ward["a"].flaps == 100


def test_probes_that_end_after_probing_was_switched_off_say_nothing() -> None:
    ward = Ward(**PROBED)
    ward.update(node("a"), check=Check.NONE)
    ward.probe("-")
    assert ward.statuses() == "Unknown"


def test_a_node_that_has_left_is_not_judged() -> None:
    ward = Ward(*PAIR, **PROBED)
    gone = ward["b"]
    ward.update(node("a"), **PROBED)
    ward.health.probed(gone, ward.now, True, "", ward.now, ward.at)
    ward.health.failed(gone, Outcome.CONNECT_FAILED, REFUSED, ward.now, ward.now, ward.at)
    ward.health.served(gone, ward.now, ward.now, ward.at)
    assert (gone.status, ward.told) == (Status.UNKNOWN, [])


def test_nothing_is_told_of_a_node_that_the_pool_lost_before_health_heard_of_it() -> None:
    ward = Ward(*PAIR, **PROBED)
    gone = ward["b"]
    ward.pool.update({"a": ward["a"].node}, ward.config)
    ward.health.probed(gone, ward.now, True, "", ward.now, ward.at)
    assert (gone.status, ward.told) == (Status.UNKNOWN, [])


# Live connections


@pytest.mark.parametrize("outcome", Outcome)
def test_which_outcomes_are_verdicts(outcome: Outcome) -> None:
    """R18; faults of this machine and of clients take nobody out."""
    ward = Ward(*PAIR, **PROBED)
    ward.probe("+")
    ward.fail(outcome)
    verdict = outcome in (Outcome.CONNECT_FAILED, Outcome.TIMED_OUT, Outcome.SERVER_ERROR)
    assert ward["a"].status is (Status.DOWN if verdict else Status.UP)
    assert (outcome in VERDICTS) is verdict


def test_passive_checks_can_be_switched_off() -> None:
    """R18."""
    ward = Ward(*PAIR, **PROBED, check_passive=False)
    ward.fail(Outcome.CONNECT_FAILED)
    assert (ward.told, ward.health.on_trial) == ([], set())


def test_so_many_failures_in_a_row_take_a_node_out_and_a_success_begins_anew() -> None:
    ward = Ward(*PAIR, **PROBED, passive_attempts=3)
    ward.probe("+")
    assert ward.health.on_trial == set()
    ward.fail()
    ward.fail()
    assert ward.health.on_trial == {ward["a"]}
    ward.serve()
    assert ward.health.on_trial == set()
    ward.fail()
    ward.fail(Outcome.TIMED_OUT, reason="timed out")
    assert ward.status("a") == "UP"
    ward.fail(reason="HTTP 502")
    assert ward.status("a") == "DOWN"
    assert ward.reasons()[-1] == "3 requests in a row failed: HTTP 502"
    assert ward.health.on_trial == set()


def test_a_connection_failure_is_told_in_plain_words() -> None:
    ward = Ward(*PAIR, **PROBED)
    ward.fail(Outcome.CONNECT_FAILED, reason=REFUSED)
    assert ward.reasons() == ["a connection failed: connection refused"]


def five(mode: Mode = Mode.ACCEPT) -> list[Node]:
    return [node(name, Address("192.0.2.1", ord(name)), mode=mode) for name in "abcde"]


@pytest.mark.parametrize("mode", [Mode.ACCEPT, Mode.BACKUP, Mode.DRAIN])
@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.SERVER_ERROR])
@pytest.mark.parametrize(("percent", "most"), [(0, 0), (19, 0), (20, 1), (50, 2), (99, 4), (100, 5)])
def test_responses_and_time_outs_take_out_some_and_never_all(
    percent: int, most: int, outcome: Outcome, mode: Mode
) -> None:
    """R18; among the nodes of its mode, rounded down."""
    others = [node(name, Address("192.0.2.2", ord(name))) for name in "xyz"] if mode is not Mode.ACCEPT else []
    ward = Ward(*five(mode), *others, passive_max_out=percent)
    for _ in range(3):
        for name in "abcde":
            ward.fail(outcome, name)
    assert [member.status for member in ward.pool.members.values()].count(Status.DOWN) == most


def test_the_only_node_is_never_taken_out_by_responses() -> None:
    ward = Ward(node("a"), passive_max_out=99)
    for _ in range(9):
        ward.fail()
    assert ward.statuses() == "Unknown"


def test_nodes_that_are_out_for_other_reasons_count_too() -> None:
    """The last one that is left is not taken out for answering 500."""
    ward = Ward(*PAIR, **PROBED)
    ward.probe("-", "b")
    ward.fail()
    ward.fail()
    assert ward.statuses() == "Unknown DOWN"
    ward.probe("++", "b")
    ward.fail()
    assert ward.statuses() == "DOWN UP"
    assert ward.reasons()[-1] == "3 requests in a row failed: HTTP 500"


def test_connect_failures_take_out_any_number() -> None:
    ward = Ward(*five(), passive_max_out=0)
    for name in "abcde":
        ward.fail(Outcome.CONNECT_FAILED, name)
    assert ward.statuses() == "DOWN DOWN DOWN DOWN DOWN"


def test_a_probe_that_began_before_a_verdict_never_lifts_it() -> None:
    ward = Ward(*PAIR, **PROBED, check_rise=1)
    ward.probe("+")
    began_at = ward.now
    ward.now += 1
    ward.fail(Outcome.CONNECT_FAILED)
    for one in (began_at, ward.now):
        ward.health.probed(ward["a"], one, True, "", ward.now + 1, ward.at + 1)
    assert ward.status("a") == "DOWN"
    ward.now += 1
    ward.probe("+")
    assert ward.status("a") == "UP"


def test_good_probes_from_before_a_verdict_do_not_help_to_lift_it() -> None:
    ward = Ward(*PAIR, **PROBED, check_rise=2)
    ward.probe("++++")
    ward.fail(Outcome.CONNECT_FAILED)
    ward.now += 1
    ward.probe("+")
    assert ward.status("a") == "DOWN"
    ward.probe("+")
    assert ward.status("a") == "UP"


def test_a_good_connection_lifts_no_verdict_where_there_are_probes() -> None:
    ward = Ward(*PAIR, **PROBED)
    ward.fail(Outcome.CONNECT_FAILED)
    ward.serve()
    assert ward.status("a") == "DOWN"
    assert ward.health.next_due is None


def test_a_good_connection_does_not_stand_in_for_the_first_probe() -> None:
    ward = Ward(**PROBED)
    assert ward.health.on_trial == set()
    ward.serve()
    assert ward.statuses() == "Unknown"


def test_connections_from_before_an_outage_count_no_more_after_it() -> None:
    """A hundred requests that hang in a node time out long after it has come back."""
    ward = Ward(*PAIR, **PROBED, check_attempts=1, check_rise=1)
    ward.probe("+-+")
    for _ in range(100):
        ward.fail(Outcome.TIMED_OUT, took=60)
    assert ward.status("a") == "UP"
    ward.fail(Outcome.TIMED_OUT)
    assert ward.status("a") == "DOWN"
