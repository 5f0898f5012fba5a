"""Events as lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.python import log as old_log
from twisted.python.failure import Failure

from nodebalancer.process.servicelog.lines import FORMATS, json_text, printable, text

AT = 1_790_000_000.1234


def event_of(emit: Callable[[Logger], object]) -> LogEvent:
    """What an observer gets when ``emit`` logs, at the time ``AT``."""
    events: list[LogEvent] = []
    emit(Logger(namespace="nodebalancer.proxy.live", observer=events.append))  # type: ignore[arg-type] # an observer
    [event] = events
    event["log_time"] = AT
    return event


def old_style(*said: str, **fields: Any) -> LogEvent:
    """The same for ``twisted.python.log``."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type] # an observer
    try:
        old_log.msg(*said, **fields)
    finally:
        globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type] # the same
    return events[0]


def failed() -> LogEvent:
    """A fault of ours, whose message has bytes of a stranger in it."""
    try:
        raise ValueError("cannot read\r\n2026-01-01 [x#info] forged\x1b[2J")
    except ValueError:
        return event_of(lambda log: log.failure("it broke", Failure()))


def parsed(event: LogEvent) -> dict[str, Any]:
    [line] = json_text(event)
    loaded: dict[str, Any] = json.loads(line)
    return loaded


def test_text_has_time_origin_level_and_message() -> None:
    [line] = text(event_of(lambda log: log.warn("{node} is {how}", node="app-1", how="slow")), True)
    assert re.fullmatch(
        r"2026-09-2\dT\d\d:\d\d:20[+-]\d{4} \[nodebalancer\.proxy\.live#warn\] app-1 is slow",
        line,
    )


def test_text_tells_no_time_to_who_has_a_clock() -> None:
    assert text(event_of(lambda log: log.info("so")), False) == ["[nodebalancer.proxy.live#info] so"]


def test_json_has_the_same_and_the_events_own_fields_of_simple_kinds() -> None:
    event = event_of(
        lambda log: log.error(
            "{node} of {config}: {error}",
            node="app-1",
            config="www/web",
            error=OSError(5, "x"),
            open=3,
            rate=0.5,
            up=True,
            no=None,
        )
    )
    said = parsed(event)
    assert re.fullmatch(r"2026-09-2\dT\d\d:\d\d:20\.123[+-]\d\d:\d\d", said.pop("time"))
    assert said == {
        "level": "error",
        "namespace": "nodebalancer.proxy.live",
        "message": "app-1 of www/web: [Errno 5] x",
        "node": "app-1",
        "config": "www/web",
        "open": 3,
        "rate": 0.5,
        "up": True,
        "no": None,
    }


def test_a_field_replaces_none_of_those_that_every_line_has_and_repeats_none() -> None:
    event = event_of(
        lambda log: log.info("{sentence}", sentence="done", message="x", time=0, namespace="x", traceback="x")
    )
    event["level"] = "x"
    said = parsed(event)
    assert said.keys() == {"time", "level", "namespace", "message"}
    assert (said["level"], said["message"]) == ("info", "done")


def test_json_has_words_for_numbers_that_are_none() -> None:
    assert parsed(event_of(lambda log: log.info("x", a=float("inf"))))["a"] == "inf"


@pytest.mark.parametrize("lines", FORMATS.values())
def test_an_event_that_says_nothing_is_no_line(lines: Callable[[LogEvent, bool], list[str]]) -> None:
    assert lines({"log_level": LogLevel.info, "log_time": AT}, True) == []


def test_a_traceback_is_several_lines_of_text_that_cannot_be_taken_for_events() -> None:
    first, *more = text(failed(), True)
    assert first.endswith("[nodebalancer.proxy.live#critical] it broke")
    assert more[0] == "\tTraceback (most recent call last):"
    assert all(line.startswith("\t") for line in more)
    assert "\t2026-01-01 [x#info] forged\\x1b[2J" in more
    assert "\\x0d" in more[more.index("\t2026-01-01 [x#info] forged\\x1b[2J") - 1]


def test_a_traceback_is_one_field_of_json() -> None:
    said = parsed(failed())
    assert said["message"] == "it broke"
    assert said["traceback"].startswith("Traceback (most recent call last):\n")
    assert said["traceback"].endswith("ValueError: cannot read\\x0d\n2026-01-01 [x#info] forged\\x1b[2J\n")


def test_a_failure_that_has_no_traceback_is_told_nonetheless() -> None:
    class Broken:
        def getTraceback(self) -> str:
            raise RuntimeError("no")

    first, second = text({"log_format": "it broke", "log_time": AT, "log_failure": Broken()}, False)
    assert (first, second) == ("[-#info] it broke", "\tno traceback can be made of this failure: RuntimeError('no')")


def test_events_of_the_old_kind_have_their_system_and_no_fields() -> None:
    event = old_style("set uid/gid", "0/0", system="SSH")
    assert text(event, False) == ["[SSH#info] set uid/gid 0/0"]
    assert parsed(event).keys() == {"time", "level", "namespace", "message"}
    assert text(old_style("so"), False) == ["[log_legacy#info] so"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain, täglich … 日本", "plain, täglich … 日本"),
        ("a\nb\r\x1b[31m\x00\x7f", "a\\x0ab\\x0d\\x1b[31m\\x00\\x7f"),
        ("\x85\u2028\u202e\ud800\U000e0001", "\\x85\\u2028\\u202e\\ud800\\U000e0001"),
        (r"already \x0a", r"already \x0a"),
    ],
)
def test_what_is_not_printable_is_escaped(said: str, shown: str) -> None:
    assert printable(said) == shown


@given(st.text(), st.text())
def test_whatever_is_in_an_event_it_is_one_line_that_can_be_read_again(message: str, field: str) -> None:
    event = event_of(lambda log: log.info("{said} {more}", said=message, more=field))
    for lines in FORMATS.values():
        [line] = lines(event, True)
        assert line.isprintable()
        line.encode()
    assert parsed(event)["message"] == printable(f"{message} {field}")
