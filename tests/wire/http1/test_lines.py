"""The limits of heads, to the byte, and that a head costs what its length says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.head import parse_request, parse_response
from nodebalancer.wire.http1.lines import (
    FIELDS_BYTES_MAX,
    REQUEST_LINE_BYTES_MAX,
    RESPONSE_HEAD_BYTES_MAX,
    escaped,
    request_lines,
    response_lines,
)

HOST = b"Host: a\r\n"


def padded(begin: bytes, end: bytes, size: int) -> bytes:
    return begin + b"x" * (size - len(begin) - len(end)) + end


def refusal(data: bytes) -> int:
    """The status of the refusal of ``data``, which ends a byte past a limit: all before that is waited for."""
    assert request_lines(data[:-1]) is None
    with pytest.raises(MessageError) as caught:
        request_lines(data)
    return caught.value.status


def test_a_request_line_of_8_kib_is_served() -> None:
    line = padded(b"GET /", b" HTTP/1.1", REQUEST_LINE_BYTES_MAX)
    assert request_lines(line) is None
    assert request_lines(line + b"\r") is None
    assert request_lines(line + b"\r\n") is None
    assert request_lines(line + b"\r\n" + HOST + b"\r\n") is not None
    assert request_lines(b"\r\n" + line + b"\r\n" + HOST + b"\r\n") is not None


def test_a_longer_request_line_is_414_whether_or_not_it_has_an_end() -> None:
    line = padded(b"GET /", b" HTTP/1.1", REQUEST_LINE_BYTES_MAX + 1)
    assert refusal(line) == 414
    for ending in (b"\r\n", b"\r\n" + HOST + b"\r\n", b"\r\n" + b"A: b\r\n" * 20000 + b"\r\n"):
        with pytest.raises(MessageError) as caught:
            request_lines(line + ending)
        assert caught.value.status == 414


def test_fields_of_16_kib_are_served() -> None:
    head = b"GET / HTTP/1.1\r\n" + padded(b"A: ", b"\r\n", FIELDS_BYTES_MAX)
    for ending in (b"", b"\r"):
        assert request_lines(head + ending) is None
    assert request_lines(head + b"\r\n") is not None


def test_longer_fields_are_431_whether_or_not_they_have_an_end() -> None:
    head = b"GET / HTTP/1.1\r\n" + padded(b"A: ", b"", FIELDS_BYTES_MAX + 1)
    assert refusal(head) == 431
    with pytest.raises(MessageError) as caught:
        request_lines(head + b"\r\n\r\n")
    assert caught.value.status == 431


def test_both_limits_may_be_reached_at_once() -> None:
    line = padded(b"GET /", b" HTTP/1.1", REQUEST_LINE_BYTES_MAX)
    assert request_lines(line + b"\r\n" + padded(b"A: ", b"\r\n", FIELDS_BYTES_MAX) + b"\r\n") is not None


@pytest.mark.parametrize("untidy", [b"", b"B:c\r\n"])
def test_a_response_head_of_64_kib_is_passed_on_and_a_longer_one_is_not(untidy: bytes) -> None:
    head = padded(b"HTTP/1.1 200 OK\r\nA: ", b"\r\n" + untidy + b"\r\n", RESPONSE_HEAD_BYTES_MAX)
    assert response_lines(head[:-1]) is None
    assert response_lines(head) is not None
    longer = padded(b"HTTP/1.1 200 OK\r\nA: ", b"\r\n" + untidy + b"\r\n", RESPONSE_HEAD_BYTES_MAX + 1)
    for data in (longer, longer[:-2] + b"xx"):
        with pytest.raises(MessageError, match="over 65536 bytes"):
            response_lines(data)


def test_a_tidy_and_an_untidy_head_are_cut_into_the_same_lines() -> None:
    tidy = request_lines(b"GET /a HTTP/1.1\r\nHost: a\r\nA: b c\r\n\r\n")
    untidy = request_lines(b"GET /a HTTP/1.1\r\nHost:a \r\nA:\t b c\r\n\r\n")
    assert tidy is not None
    assert untidy is not None
    assert tidy[:4] == untidy[:4] == (b"GET", b"/a", False, [b"Host: a", b"A: b c"])


Look = Callable[[bytes, int], object]


def requests(data: bytes, seen: int) -> object:
    return parse_request(data, seen)


def responses(data: bytes, seen: int) -> object:
    return parse_response(data, b"GET", seen)


def said(look: Look, data: bytes, seen: int) -> object:
    """What becomes of ``data``: nothing yet, a head, or a rule."""
    try:
        head = look(data, seen)
    except MessageError as e:
        return e.status, e.rule
    return head and type(head)


PIECES = st.sampled_from(
    [b"GET / HTTP/1.1", b"HTTP/1.1 200 OK", b"\r\n", b"\r", b"\n", b"A: b", b"Host: a", b"A: b\r\n" * 60, b"x" * 5000, b"\r\n\r\n"]
)  # fmt: skip


@settings(max_examples=200)
@given(st.lists(PIECES | st.binary(max_size=2), min_size=1, max_size=12), st.sampled_from([requests, responses]))
@example([b"GET /" + b"x" * 8187, b"x", b"\r\n"], requests)
@example([b"GET / HTTP/1.1\r\nA: " + b"x" * 16381, b"\r", b"\n\r\n"], requests)
@example([b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100, b"A: b", b"\r", b"\n"], requests)
@example([b"HTTP/1.1 200 OK\r\nA: " + b"x" * 65510, b"xxxxxx", b"\r\n"], responses)
@example([b"HTTP/1.1 200 OK\r", b"\nA: b\r\n", b"\n"], responses)
def test_what_was_seen_before_changes_nothing_but_the_time(pieces: list[bytes], look: Look) -> None:
    data, seen = b"", 0
    for piece in pieces:
        data += piece
        outcome = said(look, data, 0)
        assert said(look, data, seen) == outcome
        if outcome is not None:
            return
        seen = len(data)


def test_foreign_bytes_are_harmless_in_a_log() -> None:
    """Escaped are those outside 0x20 to 0x7e, and ``"`` and the backslash, so that what is meant stays certain."""
    assert escaped(b'GET /a b~ \x00\x1b\r\n\x7f\xff"\\') == r"GET /a b~ \x00\x1b\x0d\x0a\x7f\xff\x22\x5c"
    assert all(escaped(bytes([n])) in (chr(n), f"\\x{n:02x}") for n in range(256))
