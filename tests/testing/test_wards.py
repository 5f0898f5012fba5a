"""What a ward says has happened has happened."""

from __future__ import annotations

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.model import Check
from nodebalancer.testing.builders import node
from nodebalancer.testing.wards import WALL, Ward


def test_probes_and_connections_are_judged_at_the_times_they_take() -> None:
    ward = Ward(node("a"), node("b"), check=Check.CONNECTION, check_rise=1)
    ward.probe("-+", "b", took=2.0)
    assert ward.now == 1004
    assert [(change.node, change.reason, change.at) for change in ward.told] == [
        ("b", "a probe failed: HTTP 503", WALL + 1002),
        ("b", "a probe passed", WALL + 1004),
    ]
    ward.fail(Outcome.CONNECT_FAILED, "b", "timed out", took=0.5)
    assert ward.statuses() == "Unknown UP"
    ward.fail(Outcome.CONNECT_FAILED, "b", "timed out")
    assert (ward.status("b"), ward["b"].reason) == ("DOWN", "a connection failed: timed out")


def test_time_passes_and_brings_what_is_due() -> None:
    ward = Ward()
    ward.serve()
    ward.fail(Outcome.CONNECT_FAILED)
    ward.wait(1)
    assert ward.reasons() == ["a connection succeeded", "a connection failed: HTTP 500", "tried again after 1 s"]
    assert (ward.now, ward.at) == (1001, WALL + 1001)
