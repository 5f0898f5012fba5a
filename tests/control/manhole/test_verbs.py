"""The verbs, and the same as commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nodebalancer.balancing.member import Status
from nodebalancer.control.manhole.verbs import VERBS, Verbs, form, run_command
from nodebalancer.fields import Address
from nodebalancer.testing.logs import logged

LoggedErrors = Callable[[], list[Any]]

Answer = tuple[int, str, str]


def begin(lb: Any, line: str) -> tuple[Deferred[Answer], list[Any]]:
    verbs = Verbs(lb.subject, "SHA256:x (anna)", form)
    answers: list[Any] = []
    deferred = Deferred.fromCoroutine(run_command(verbs, line))
    deferred.addBoth(answers.append)
    return deferred, answers


def run(lb: Any, line: str) -> Answer:
    """The answer to a command that takes no time."""
    [answer] = begin(lb, line)[1]
    assert not isinstance(answer, Failure), answer
    status, said, complaint = answer
    return status, said, complaint


def heads(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()]


def test_status_shows_everything_in_one_table(lb: Any) -> None:
    status, said, complaint = run(lb, "status")
    assert (status, complaint) == (0, "")
    assert heads(said) == ["NAME", "www", "www/main", "www/main/n1", "www/main/n2"]
    assert "0 up / 0 down / 2 unknown" in said
    assert heads(run(lb, "status www/main")[1])[1:] == heads(said)[1:]


def test_a_name_that_is_not_there_is_refused_and_one_that_has_nothing_is_not(lb: Any) -> None:
    for of in ("nowhere", "www/none", "www/main/n1"):
        assert run(lb, f"status {of}") == (2, "", f"{of}: there is no such NodeBalancer or config")
    for of in ("nowhere", "www/none", "www/main/n9"):
        assert run(lb, f"nodes {of}") == (2, "", f"{of}: there is no such NodeBalancer, config or node")
    lb.load(lb.ini.read_text().partition("[nodes")[0])
    assert run(lb, "nodes www/main") == (0, "no nodes", "")
    assert run(lb, "nodes") == (0, "no nodes", "")


def test_nodes_connections_and_events_can_be_narrowed_down(lb: Any) -> None:
    assert heads(run(lb, "nodes")[1]) == ["NODE", "www/main/n1", "www/main/n2"]
    assert heads(run(lb, "nodes www/main/n2")[1]) == ["NODE", "www/main/n2"]
    assert run(lb, "connections")[1] == "no connections"
    assert run(lb, "events")[1] == "no changes so far"
    lb.client()
    lb.client()
    assert heads(run(lb, "connections www --limit 1")[1]) == ["CONFIG", "www/main", "…"]
    live = lb.listeners.configs["www", "main"]
    lb.network.kill(Address("10.0.0.1", 8080))
    lb.client()
    live.health.due(lb.network.now + 9, 1.7e9)
    assert [line.split()[2:5] for line in run(lb, "events www/main/n1")[1].splitlines()[1:]] == [
        ["www/main/n1", "UP", "Unknown"],
        ["www/main/n1", "DOWN", "UP"],
        ["www/main/n1", "Unknown", "DOWN"],
    ]
    assert "… and 2 before these" in run(lb, "events www/main/n1 --limit=1")[1]


def test_a_mode_is_live_at_once_and_written_into_the_file(lb: Any) -> None:
    assert run(lb, "drain www/main/n1") == (0, "www/main/n1: mode drain (was accept), 0 open connections", "")
    assert "# the first\nn1 = 10.0.0.1:8080 weight=50 mode=drain\n" in lb.ini.read_text()
    lb.client()
    assert [len(accepted) for accepted in lb.nodes] == [0, 1]
    assert run(lb, "drain www/main/n1")[1] == "www/main/n1: mode drain already, 0 open connections"
    nobody = "; no node of www/main takes new clients now"
    assert run(lb, "drain www/main/n2")[1] == f"www/main/n2: mode drain (was backup), 1 open connection{nobody}"
    assert run(lb, "backup www/main/n2")[1] == "www/main/n2: mode backup (was drain), 1 open connection"
    assert run(lb, "accept www/main/n1")[1] == "www/main/n1: mode accept (was drain), 0 open connections"
    assert run(lb, "reject www/main/n2")[1] == "www/main/n2: mode reject (was backup), 1 open connection"
    assert run(lb, "backup www/main/n2")[1] == "www/main/n2: mode backup (was reject), 1 open connection"


def test_a_weight_is_live_at_once_and_written_into_the_file(lb: Any) -> None:
    assert run(lb, "weight www/main/n1 7") == (0, "www/main/n1: weight 7 (was 50)", "")
    assert "n1 = 10.0.0.1:8080 weight=7\n" in lb.ini.read_text()
    assert run(lb, "weight www/main/n1 7")[1] == "www/main/n1: weight 7 already"
    assert lb.listeners.configs["www", "main"].pool.members["n1"].node.weight == 7


def test_waiting_ends_with_the_last_connection(lb: Any, clock: Clock) -> None:
    client = lb.client()
    _, answers = begin(lb, "drain www/main/n1 --wait 300")
    clock.pump([0.2] * 100)
    assert answers == []
    client.close()
    lb.nodes[0][0].close()
    lb.network.pump()
    clock.advance(0.2)
    assert answers == [(0, "www/main/n1: mode drain (was accept), 0 open connections", "")]


def test_when_the_time_is_over_that_is_status_1(lb: Any, clock: Clock) -> None:
    lb.client()
    _, answers = begin(lb, "reject www/main/n1 --wait 3")
    clock.pump([0.2] * 14)
    assert answers == []
    clock.pump([0.2] * 2)
    assert answers == [(1, "", "www/main/n1: 1 open connection still, after 3 seconds")]


def test_a_node_that_leaves_while_it_is_waited_for_is_waited_for_all_the_same(lb: Any, clock: Clock) -> None:
    client = lb.client()
    _, answers = begin(lb, "drain www/main/n1 --wait 300")
    lb.load("[nodebalancer www]\n")
    clock.advance(1)
    assert answers == []
    client.reset()
    lb.network.pump()
    clock.advance(1)
    assert answers[0][0] == 0


def test_whoever_leaves_waits_no_longer(lb: Any, clock: Clock) -> None:
    lb.client()
    clock.advance(0)
    deferred, answers = begin(lb, "drain www/main/n1 --wait 3")
    deferred.cancel()
    assert answers[0].check(CancelledError)
    assert clock.getDelayedCalls() == []


def test_reload_says_what_it_has_changed_or_every_problem(lb: Any, logged_errors: LoggedErrors) -> None:
    lb.ini.write_text(lb.ini.read_text().replace("weight=50", "weight=51"))
    with logged("manhole") as lines:
        assert run(lb, "reload") == (0, "reloaded: 1 node changed", "")
    assert lines == [f"manhole, SHA256:x (anna): reloaded {lb.ini}: 1 node changed"]
    lb.ini.write_text("[nodebalancer www]\nx = 1\n[confg]\n")
    status, said, complaint = run(lb, "reload")
    assert (status, said, len(complaint.splitlines())) == (2, "", 2)
    assert f"{lb.ini}:2: [nodebalancer www] x = 1: unknown key" in complaint
    assert len(logged_errors()) == 3


def test_why_tells_the_prospect_and_the_past(lb: Any) -> None:
    said = run(lb, "why 198.51.100.1")[1]
    assert "gets n1" in said
    assert said.endswith("\n\n198.51.100.1 was served each time we remember")
    for number in (1, 2):
        lb.network.kill(Address(f"10.0.0.{number}", 8080))
    lb.client()
    assert "connect_failed  -     n1, n2  n1 DOWN, n2 DOWN (backup)" in run(lb, "why 198.51.100.1")[1]
    assert run(lb, "why here") == (2, "", "'here' is no IP address such as 203.0.113.7 or 2001:db8::1")


def test_help_lists_every_verb_as_it_is_written_here(lb: Any) -> None:
    said = run(lb, "help")[1]
    assert heads(said)[1:] == list(VERBS)
    assert "drain NODE [--wait WAIT]  " in said


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("", "unknown command ''; help lists those that are known"),
        ("stats", "unknown command 'stats'; the nearest known one is status"),
        ("__init__", "unknown command '__init__'; help lists those that are known"),
        ("drain", "missing a required argument: 'node'; expected drain NODE [--wait WAIT]"),
        ("drain a b", "too many positional arguments; expected drain NODE [--wait WAIT]"),
        ("drain a --now", "got an unexpected keyword argument 'now'; expected drain NODE [--wait WAIT]"),
        ("drain --node a", "there is no option --node; expected drain NODE [--wait WAIT]"),
        ("drain 'a", "No closing quotation in: drain 'a"),
        ("drain www/main/n1 --wait soon", "wait soon: not a whole number; expected a whole number from 0 to 86400"),
        ("drain www/main/n1 --wait", "wait : not a whole number; expected a whole number from 0 to 86400"),
        ("weight www/main/n1 256", "weight 256: not between 1 and 255"),
        ("drain www/main/n9", "www/main/n9: there is no such node; expected NODEBALANCER/CONFIG/NODE"),
        ("drain www", "www: there is no such node; expected NODEBALANCER/CONFIG/NODE"),
        ("connections --limit 0", "limit 0: not between 1 and 10000"),
    ],
)
def test_what_cannot_be_done_is_status_2_and_a_sentence(lb: Any, line: str, complaint: str) -> None:
    before = lb.ini.read_text()
    assert run(lb, line) == (2, "", complaint)
    assert lb.ini.read_text() == before


@pytest.mark.parametrize("line", ["drain www/main/n1", "weight www/main/n1 3", "reload"])
def test_without_a_file_nothing_can_be_changed(lb: Any, line: str) -> None:
    lb.subject.editor = lb.subject.reloader = None
    assert run(lb, line) == (2, "", "there is no settings file, so nothing can be changed")


def test_a_fault_of_ours_is_told_as_such_and_disturbs_nothing(lb: Any, logged_errors: LoggedErrors) -> None:
    lb.subject.events = None
    assert run(lb, "events") == (2, "", "this is a fault of the program, not yours; its log has more")
    assert len(logged_errors()) == 1
    assert run(lb, "nodes")[0] == 0


def test_a_node_that_is_rejected_is_shown_as_down(lb: Any) -> None:
    run(lb, "reject www/main/n1")
    live = lb.listeners.configs["www", "main"]
    assert live.pool.members["n1"].status is Status.UNKNOWN
    assert run(lb, "status")[1].splitlines()[1].split()[1:5] == ["0", "up", "/", "1"]
