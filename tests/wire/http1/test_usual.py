"""That the short ways to read a head lead to the same as the long one, and leave out nothing that means something."""

from __future__ import annotations

import ipaddress
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import MessageError
from nodebalancer.model import Underscores
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.http1.fields import CLAIM_PREFIX, READ_IN_REQUESTS, READ_IN_RESPONSES
from nodebalancer.wire.http1.head import CHUNKED, FIELDS_MAX, RequestHead, parse_request, parse_response
from nodebalancer.wire.http1.lines import FIELDS_BYTES_MAX, REQUEST_LINE_BYTES_MAX
from nodebalancer.wire.http1.request import READERS as REQUEST_READERS
from nodebalancer.wire.http1.response import READERS as RESPONSE_READERS
from nodebalancer.wire.http1.usual import REQUEST, RESPONSE, RUN_LINES_MAX

BEGIN = b"GET / HTTP/1.1\r\nHost: a.example\r\n"
STATUS = b"HTTP/1.1 200 OK\r\n"
TRUSTING = Forwarding(
    proto=b"http",
    underscores=Underscores.KEEP,
    upgrades=frozenset({b"websocket"}),
    trusted=(ipaddress.ip_network("192.0.2.0/24"),),
)


def head(begin: bytes, *fields: bytes) -> bytes:
    return begin + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


def request(*fields: bytes) -> RequestHead:
    parsed = parse_request(head(BEGIN, *fields))
    assert parsed is not None
    return parsed


def is_usual(data: bytes) -> bool:
    """Whether one pattern reads all of ``data``."""
    pattern = RESPONSE if data.startswith(b"HTTP") else REQUEST
    match = pattern.match(data)
    return match is not None and match.lastindex == pattern.groups


USUAL = {
    "nothing": BEGIN + b"\r\n",
    "wrk": head(BEGIN, b"Connection: close"),
    "lower case": head(
        b"GET / HTTP/1.1\r\nhost: a\r\n", b"connection: keep-alive", b"accept: */*", b"content-length: 5"
    ),
    "browser": head(
        BEGIN, b"Connection: keep-alive", b"Upgrade-Insecure-Requests: 1", b"User-Agent: x", b"Cookie: a=b; c=d"
    ),
    "post": head(
        BEGIN, b"Content-Type: a/b", b"Content-Length: 5", b"X-A: b", b"Connection: Keep-Alive", b"Accept: */*"
    ),
    "chunked post": head(BEGIN, b"Transfer-Encoding: chunked"),
    "response": head(
        STATUS, b"Server: x", b"Content-Type: a/b", b"Content-Length: 5", b"Connection: close", b"ETag: x_y"
    ),
    "chunked response": head(STATUS, b"Connection: close", b"Date: x", b"transfer-encoding: chunked", b"X_Odd!: y"),
    "response without fields": STATUS + b"\r\n",
}


@pytest.mark.parametrize("data", USUAL.values(), ids=USUAL)
def test_what_nearly_all_send_takes_the_short_way(data: bytes) -> None:
    assert is_usual(data)


SPELLINGS = [bytes.lower, bytes.upper, bytes.title, lambda name: name.title().swapcase()]


@pytest.mark.parametrize("spelt", SPELLINGS, ids=["lower", "upper", "title", "swapped"])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "between", "last"])
def test_no_field_that_is_read_is_passed_over(spelt: type[bytes], place: int) -> None:
    """In whatever spelling and place it comes."""
    prefixed = {b"x-forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwardedx"}
    for begin, names in ((BEGIN, READ_IN_REQUESTS | prefixed), (STATUS, READ_IN_RESPONSES)):
        for name in names:
            fields = [b"A: b", b"C: d"]
            fields.insert(place, spelt(name) + b": 1 x")
            assert not is_usual(head(begin, *fields))


def test_every_field_with_a_reader_is_known_here() -> None:
    """A reader whose field is not in these tables would be called for few of the heads that have it."""
    for readers, names in ((REQUEST_READERS, READ_IN_REQUESTS), (RESPONSE_READERS, READ_IN_RESPONSES)):
        read = {name.lower() for name, reader in readers.items() if reader is not None}
        assert {name for name in read if not name.startswith(CLAIM_PREFIX)} <= names


LOOK_ALIKES = [b"X_Forwarded_For: 1", b"Content_Length: 5", b"X.Real.IP: 1", b"Transfer~Encoding: chunked", b"A_b: c"]


@pytest.mark.parametrize("field", LOOK_ALIKES)
def test_a_name_that_may_imitate_another_is_looked_at_closely(field: bytes) -> None:
    assert not is_usual(head(BEGIN, field))
    assert b"\r\n" + field not in request(field).lines


HARMLESS = [
    b"Hosts: a", b"Ghost: a", b"Host-X: a", b"X-Host: a", b"Connections: close", b"X-Connection: a", b"Content-Lengths: 5",
    b"Content-Length-X: 5", b"Content: a", b"Con: a", b"T: a", b"Tex: a", b"Trailers: a", b"Transfer-Encodings: chunked",
    b"Upgrade-Insecure-Requests: 1", b"Keep: a", b"Proxy: a", b"X-Forward: a", b"Xx-Forwarded-For: a", b"Expected: a",
    b"A: Connection: close", b"A: Content-Length: 5", b"A: X_Forwarded_For", b"A: chunked", b"Te-: a",
]  # fmt: skip


@pytest.mark.parametrize("field", HARMLESS)
def test_what_only_looks_like_a_field_that_is_read_is_passed_on(field: bytes) -> None:
    """A name that goes on, or has something before it, or stands in a value."""
    assert is_usual(head(BEGIN, field))
    assert request(field, b"B: c").lines == BEGIN + field + b"\r\nB: c\r\n"
    response = parse_response(head(STATUS, field, b"B: c"), b"GET")
    assert response is not None
    assert response.lines == STATUS + field + b"\r\nB: c\r\n"


def test_a_date_counts_only_as_a_field() -> None:
    for field in (b"Update: x", b"Dates: x", b"A: Date: x"):
        response = parse_response(head(STATUS, field), b"GET")
        assert response is not None
        assert not response.dated
    dateless = parse_response(head(STATUS, b"A: b") + b"\r\nDate: in the body\r\n", b"GET")
    assert dateless is not None
    assert not dateless.dated


def test_a_run_ends_somewhere_but_the_head_goes_on() -> None:
    """So many lines that one pattern does not read them all, with a field that is read as the last of all."""
    for count in (RUN_LINES_MAX, RUN_LINES_MAX + 1, FIELDS_MAX - 2):
        parsed = request(*[b"A: b"] * count, b"Content-Length: 5")
        assert parsed.length == 5
        assert parsed.lines == BEGIN + b"A: b\r\n" * count + b"Content-Length: 5\r\n"


def test_three_full_runs_are_no_more_fields_than_the_limit() -> None:
    run = [b"A: b"] * RUN_LINES_MAX
    full = (*run, b"Connection: close", *run, b"Content-Length: 5", *run)
    assert is_usual(head(BEGIN, *full))
    room = FIELDS_MAX - len(full) - 1
    assert room >= 0
    for fields in ((*full, *[b"A: b"] * (room + 1)), (*full, *[b"X-Forwarded-For: x"] * (room + 1))):
        assert request(*fields[:-1]).length == 5
        with pytest.raises(MessageError, match="over 100 fields"):
            request(*fields)


def test_connection_may_name_what_was_passed_over() -> None:
    assert request(b"X-A: 1", b"B: 2", b"Connection: close, x-a").lines == BEGIN + b"B: 2\r\n"
    assert request(b"Close: 1", b"Connection: upgrade, close", b"Upgrade: x").lines == BEGIN


def test_what_the_last_lines_say_is_heard() -> None:
    parsed = request(b"A: b", b"Content-Length: 5", b"Expect: 100-continue", b"C: d", b"X-Forwarded-For: 1", b"X_Y: z")
    assert parsed.expects_continue
    assert (parsed.length, parsed.forwarded_for, parsed.underscored) == (5, (b"1",), (b"X_Y: z",))
    assert parsed.lines == BEGIN + b"A: b\r\nExpect: 100-continue\r\nC: d\r\nContent-Length: 5\r\n"
    untidy = request(b"A: b", b"Transfer-Encoding: chunked", b"TE: trailers", b"C:d")
    assert untidy.lines == BEGIN + b"A: b\r\nC: d\r\nTransfer-Encoding: chunked\r\n"


@pytest.mark.parametrize("size", [REQUEST_LINE_BYTES_MAX, FIELDS_BYTES_MAX])
@pytest.mark.parametrize("last", [b"B: c", b"X-Forwarded-For: 1"])
def test_a_long_head_is_read_all_the_same(size: int, last: bytes) -> None:
    filler = b"A: " + b"x" * (size - 100)
    assert request(b"C: d", b"X-Forwarded-For: 1", filler, last).lines.startswith(BEGIN + b"C: d\r\n" + filler)
    with pytest.raises(MessageError, match="over 16384 bytes"):
        request(filler, b"A: " + b"x" * FIELDS_BYTES_MAX, last)


NAMES = [
    b"Accept", b"User-Agent", b"X-A", b"Close", b"Date", b"Cookie", b"Connection", b"Content-Length", b"Transfer-Encoding",
    b"TE", b"Upgrade", b"Keep-Alive", b"Expect", b"Max-Forwards", b"X-Forwarded-For", b"Forwarded", b"X_A", b"Host",
]  # fmt: skip
VALUES = [
    b"close", b"keep-alive", b"x-a", b"upgrade, close", b"5", b"005", b"chunked", b"websocket", b"100-continue", b"x",
]  # fmt: skip
FIELDS = st.lists(
    st.tuples(
        st.sampled_from([*NAMES, *NAMES[:9]]), st.sampled_from([bytes.lower, bytes.title, bytes.swapcase]),
        st.sampled_from(VALUES),
    ).map(lambda field: field[1](field[0]) + b": " + field[2])
    | st.sampled_from([b"Connection: close", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X-A: b"]),
    max_size=8,
)  # fmt: skip


def sorted_lines(written: bytes) -> list[bytes]:
    return sorted(line.lower() if line[:5].lower() == b"host:" else line for line in written.split(b"\r\n"))


def meaning_of_request(data: bytes) -> object:
    """All that matters of what becomes of ``data``, whichever way it takes."""
    try:
        parsed = parse_request(data)
        assert parsed is not None
        forwarded = TRUSTING.request(parsed, "192.0.2.7")
    except MessageError as error:
        return error.status, error.rule
    return parsed.method, parsed.target, parsed.length, parsed.expects_continue, parsed.upgrade, sorted_lines(forwarded)


@settings(max_examples=300, deadline=None)
@given(FIELDS, st.sampled_from([b"GET", b"TRACE", b"OPTIONS"]), st.integers(0, 9))
def test_all_ways_of_reading_a_request_lead_to_the_same(fields: list[bytes], method: bytes, seed: int) -> None:
    """An empty line before a request has it read the long way."""
    host_first = random.Random(seed).random() < 0.8
    lines = [b"Host: a", *fields] if host_first else [*fields, b"Host: a"]
    data = head(method + b" /a HTTP/1.1\r\n", *lines)
    assert meaning_of_request(data) == meaning_of_request(b"\r\n" + data)


def meaning_of_response(data: bytes, method: bytes) -> object:
    try:
        parsed = parse_response(data, method)
    except MessageError as error:
        return error.status, error.rule
    assert parsed is not None
    written = (
        TRUSTING.response(parsed, request(), lambda: b"now"),
        TRUSTING.interim(parsed),
        TRUSTING.switching(parsed),
    )
    return parsed.status, parsed.length, parsed.upgrade, [sorted_lines(lines) for lines in written]


@settings(max_examples=300, deadline=None)
@given(FIELDS, st.sampled_from([b"200", b"204", b"304", b"101", b"103"]), st.sampled_from([b"GET", b"HEAD"]))
def test_all_ways_of_reading_a_response_lead_to_the_same(fields: list[bytes], status: bytes, method: bytes) -> None:
    """Two blanks after a colon have it read the long way."""
    line = b"HTTP/1.1 " + status + b" OK\r\n"
    data, untidy = head(line, *fields, b"A: b"), head(line, *fields, b"A:  b")
    assert not is_usual(untidy)
    assert meaning_of_response(data, method) == meaning_of_response(untidy, method)


def test_a_chunked_response_keeps_its_framing_out_of_its_lines() -> None:
    response = parse_response(head(STATUS, b"Transfer-Encoding: chunked", b"A: b"), b"GET")
    assert response is not None
    assert (response.length, response.lines) == (CHUNKED, STATUS + b"A: b\r\n")
