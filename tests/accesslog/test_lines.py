"""A line of the access log: whole, in one piece, and nobody outside can forge another."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodebalancer.accesslog.entry import Entry
from nodebalancer.accesslog.lines import FIELD_BYTES_MAX, combined, json_line
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.fields import Address
from nodebalancer.model import Node, Protocol

AT = 1795269336.25

LINES = b'GET /a?b HTTP/1.1\r\nHost: shop.example\r\nReferer: http://r/\r\nUser-Agent: curl/8 "x"\r\n'


def made(**fields: Any) -> Entry:
    """A request that was served, and what is different about this one."""
    served: dict[str, Any] = {
        "at": AT,
        "config": "www/web",
        "protocol": Protocol.HTTP,
        "client": "192.0.2.1",
        "bytes_in": 100,
        "bytes_out": 1234,
        "node": Node("app-1", Address("10.0.0.1", 80)),
        "outcome": Outcome.SERVED,
        "failed_dials": 0,
        "waiting": 0.001,
        "connecting": 0.0021,
        "total": 1.0,
        "answering": 0.5,
        "status": 200,
        "method": b"GET",
        "target": b"/a?b",
        "lines": LINES,
        "request_id": b"abc",
    }
    return Entry(**(served | fields))


REFUSED: dict[str, Any] = {
    "node": None,
    "outcome": Outcome.CLIENT_ERROR,
    "waiting": None,
    "connecting": None,
    "answering": None,
    "status": 400,
    "method": b"",
    "target": b"",
    "lines": b"",
    "request_id": b"",
    "rule": "request head: bare LF, RFC 9112 2.2",
    "begun": b"GET / HTTP/1.1\nX: y\r\nmore",
}

TCP: dict[str, Any] = {
    "protocol": Protocol.TCP,
    "answering": None,
    "status": 0,
    "method": b"",
    "target": b"",
    "lines": b"",
    "request_id": b"",
}


@pytest.fixture
def in_berlin() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
def test_a_request_in_apaches_format_and_what_we_add() -> None:
    # Another second than in other tests: how a second is spelt is kept for a while.
    assert combined(made(at=AT - 86400)) == (
        b'192.0.2.1 - - [20/Nov/2026:14:55:36 +0100] "GET /a?b HTTP/1.1" 200 1234 "http://r/" "curl/8 \\x22x\\x22" '
        b'www/web app-1 served 0.001 0.002 0.500 1.000 "abc"\n'
    )


def test_a_refused_request_is_told_by_its_first_line() -> None:
    line = combined(made(**REFUSED))
    assert b'"GET / HTTP/1.1\\x0aX: y" 400 1234 "-" "-" www/web - client_error - - - 1.000 "-"\n' in line


@pytest.mark.parametrize(
    ("outcome", "status"), [(Outcome.SERVED, b"200"), (Outcome.CLIENT_LEFT, b"499"), (Outcome.IDLE, b"444")]
)
def test_a_client_that_was_sent_no_status_has_one_that_log_readers_know(outcome: Outcome, status: bytes) -> None:
    assert b'"-" %b 1234 "-" "-" www/web app-1 %b ' % (status, outcome.word.encode()) in combined(
        made(**TCP, outcome=outcome)
    )


def test_http_1_0_and_no_bytes() -> None:
    assert b'"GET /a?b HTTP/1.0" 200 - "' in combined(made(http10=True, bytes_out=0))


def test_json_has_everything_by_name() -> None:
    line = json_line(made(forwarded_for=b"203.0.113.9, 10.0.0.2"))
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "time": "2026-11-21T13:55:36.250Z",
        "config": "www/web",
        "protocol": "http",
        "client": "192.0.2.1",
        "outcome": "served",
        "node": "app-1",
        "node_address": "10.0.0.1:80",
        "failed_dials": 0,
        "bytes_in": 100,
        "bytes_out": 1234,
        "waiting": 0.001,
        "connecting": 0.0021,
        "answering": 0.5,
        "total": 1.0,
        "status": 200,
        "method": "GET",
        "target": "/a?b",
        "version": "1.1",
        "host": "shop.example",
        "referer": "http://r/",
        "user_agent": "curl/8 \\x22x\\x22",
        "forwarded_for": "203.0.113.9, 10.0.0.2",
        "request_id": "abc",
        "rule": None,
        "begun": None,
    }


def test_json_of_a_refused_request_has_the_rule() -> None:
    line = json.loads(json_line(made(**REFUSED)))
    assert (line["rule"], line["begun"]) == (REFUSED["rule"], "GET / HTTP/1.1\\x0aX: y\\x0d\\x0amore")
    assert (line["method"], line["version"], line["host"], line["node"], line["waiting"]) == (None,) * 5


def test_json_of_a_tcp_connection_has_nothing_of_requests() -> None:
    line = json.loads(json_line(made(**TCP)))
    assert {"status", "method", "rule", "host"}.isdisjoint(line)
    assert line["connecting"] == 0.0021


def test_fields_are_found_whatever_the_case_and_only_at_the_beginning_of_a_line() -> None:
    lines = b"GET / HTTP/1.1\r\nX-Note: Referer: no\r\nreFERer:   yes\r\nUSER-AGENT:\r\n"
    assert b'"yes" "-"' in combined(made(lines=lines))


def test_what_a_client_made_too_long_is_cut() -> None:
    long = b"/" + b"\xff" * 9000
    lines = b"GET / HTTP/1.1\r\nreferer: " + long + b"\r\nUser-Agent: " + long + b"\r\n"
    one = made(target=long, lines=lines, method=b"X" * 8000)
    cut = "/" + "\\xff" * (FIELD_BYTES_MAX - 1)
    assert f'"{"X" * FIELD_BYTES_MAX} {cut} HTTP/1.1" 200 1234 "{cut}" "{cut}" www/web' in combined(one).decode()
    said = json.loads(json_line(one))
    assert said["target"] == said["referer"] == said["user_agent"] == cut


foreign = st.binary(max_size=40)


@given(foreign, foreign, foreign, foreign)
def test_nothing_that_comes_from_outside_breaks_a_line(target: bytes, referer: bytes, begun: bytes, xff: bytes) -> None:
    lines = b"GET / HTTP/1.1\r\nReferer: " + referer + b"\r\n"
    for one in (made(target=target, lines=lines, forwarded_for=xff), made(**(REFUSED | {"begun": begun}))):
        line = combined(one)
        assert re.fullmatch(
            rb'[0-9.]+ - - \[[^]]+\] "[^"\\]*(?:\\x[0-9a-f]{2}[^"\\]*)*" \d{3} \d+ "(?:[^"\\]|\\x[0-9a-f]{2})*" "-" '
            rb'www/web [a-z0-9-]+ [a-z_]+ [0-9.-]+ [0-9.-]+ [0-9.-]+ [0-9.]+ "[a-z-]+"\n',
            line,
        )
        assert all(0x20 <= byte <= 0x7E for byte in line[:-1])
        said = json_line(one)
        assert all(0x20 <= byte <= 0x7E for byte in said[:-1])
        assert isinstance(json.loads(said), dict)
