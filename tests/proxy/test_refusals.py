"""Refused requests are explained in the log, and cannot fill it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from nodebalancer.proxy.refusals import LINES_A_SECOND
from nodebalancer.testing.balancers import MemoryBalancer
from nodebalancer.testing.exchanges import GET, http, post

BARE_LF = b"GET / HTTP/1.1\nHost: a\r\n\r\n"
CHUNKED = b"POST /in HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def lines_of(lb: MemoryBalancer, happen: Callable[[], object]) -> list[str]:
    """What is logged about the config while something happens."""
    lines: list[LogEvent] = []
    observer = cast(ILogObserver, lines.append)
    globalLogPublisher.addObserver(observer)
    try:
        happen()
    finally:
        globalLogPublisher.removeObserver(observer)
    return [formatEvent(line) for line in lines if line.get("config") == lb.live.path]


def test_a_refusal_names_the_rule_and_the_client() -> None:
    lb = http()
    (line,) = lines_of(lb, lambda: lb.client(BARE_LF))
    assert line == (
        "[config www/main] refused a request from 198.51.100.1 with 400: request head: bare LF, RFC 9112 2.2; "
        'it began "GET / HTTP/1.1\\x0aHost: a\\x0d\\x0a\\x0d\\x0a"'
    )
    assert lb.live.counters.refused_by_rule == {"request head: bare LF, RFC 9112 2.2": 1}


def test_foreign_bytes_can_write_nothing_else_into_the_log() -> None:
    lb = http()
    sent = b'GET /\x1b[2J"\\\xff{path}\n HTTP/1.1\r\n\r\n' + b"x" * 200
    (line,) = lines_of(lb, lambda: lb.client(sent))
    assert '"GET /\\x1b[2J\\x22\\x5c\\xff{path}\\x0a HTTP/1.1' in line
    assert line.endswith('"…')
    assert line.isprintable()


@pytest.mark.parametrize("answered", [False, True])
def test_a_body_that_breaks_off_is_named_by_its_request(answered: bool) -> None:
    """Also when the response is under way already, and no answer can say it."""
    lb = http()
    client = lb.client(CHUNKED)
    if answered:
        lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
        lb.pump()
    client.send(b"what?\r\n")
    (line,) = lines_of(lb, lb.pump)
    assert "chunk" in line
    assert line.endswith('it began "POST /in"')
    client.close()
    lb.pump()
    assert lb.outcomes == {"client_error": 1}


def test_a_flood_writes_ten_lines_a_second_for_each_rule_and_then_a_count() -> None:
    lb = http()

    def flood() -> None:
        for _ in range(50):
            lb.client(BARE_LF)
            lb.client(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n")

    lines = lines_of(lb, flood)
    assert len([line for line in lines if "bare LF" in line]) == LINES_A_SECOND
    assert len([line for line in lines if "TRACE" in line]) == LINES_A_SECOND
    counts = lines_of(lb, lambda: lb.advance(2))
    assert sorted(counts) == [
        "[config www/main] refused 40 more for the same reason: request head: CONNECT and TRACE are not served, RFC 9110 9.3",
        "[config www/main] refused 40 more for the same reason: request head: bare LF, RFC 9112 2.2",
    ]
    assert sum(lb.live.counters.refused_by_rule.values()) == 100
    assert len(lines_of(lb, lambda: lb.client(BARE_LF))) == 1


def test_a_second_that_is_over_begins_anew() -> None:
    lb = http()

    def trickle() -> None:
        for _ in range(3 * LINES_A_SECOND):
            lb.client(BARE_LF)
            lb.advance(0.2)

    assert len(lines_of(lb, trickle)) == 3 * LINES_A_SECOND


def test_a_good_request_is_not_told_of() -> None:
    lb = http()
    assert lines_of(lb, lambda: lb.client(GET)) == []
    assert lines_of(lb, lambda: lb.client(post(b"abc"))) == []
