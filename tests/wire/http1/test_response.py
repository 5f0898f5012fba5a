"""Responses: one test a rule, each case seen with every beginning of it, as it comes byte by byte or in two pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.head import CHUNKED, UNTIL_CLOSE, ResponseHead, parse_response

LINE = b"HTTP/1.1 200 OK\r\n"


def verdict(data: bytes, method: bytes = b"GET") -> ResponseHead | MessageError | None:
    try:
        return parse_response(data, method)
    except MessageError as error:
        return error


def accepted(data: bytes, method: bytes = b"GET") -> ResponseHead:
    """The head of ``data``: none of its beginnings is one, and what follows makes no difference."""
    assert [verdict(data[:length], method) for length in range(len(data))] == [None] * len(data)
    head, followed = parse_response(data, method), parse_response(data + b"body\r\n\r\n", method)
    assert head is not None
    assert followed is not None
    assert (head.lines, head.size, head.length) == (followed.lines, followed.size, followed.length)
    assert head.size == len(data)
    return head


def field_lines(head: ResponseHead) -> list[bytes]:
    """What of the fields is forwarded, after the status line."""
    return head.lines.split(b"\r\n")[1:-1]


def with_fields(*fields: bytes, line: bytes = LINE) -> bytes:
    return line + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


REFUSED = {
    "Content-Length and Transfer-Encoding": with_fields(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    "Transfer-Encoding and Content-Length": with_fields(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
    "different Content-Length": with_fields(b"Content-Length: 5", b"Content-Length: 6"),
    "Content-Length list": with_fields(b"Content-Length: 5, 5"),
    "Content-Length -1": with_fields(b"Content-Length: -1"),
    "Content-Length of 19 digits": with_fields(b"Content-Length: 1000000000000000000"),
    "Content-Length bad with 304": with_fields(b"Content-Length: x", line=b"HTTP/1.1 304 Not Modified\r\n"),
    "Transfer-Encoding in HTTP/1.0": with_fields(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK\r\n"),
    "Transfer-Encoding unknown": with_fields(b"Transfer-Encoding: gzip"),
    "Transfer-Encoding list": with_fields(b"Transfer-Encoding: gzip, chunked"),
    "Transfer-Encoding twice": with_fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "status of two digits": with_fields(line=b"HTTP/1.1 20 OK\r\n"),
    "status of four digits": with_fields(line=b"HTTP/1.1 2000 OK\r\n"),
    "status below 100": with_fields(line=b"HTTP/1.1 099 OK\r\n"),
    "status no number": with_fields(line=b"HTTP/1.1 2x0 OK\r\n"),
    "status line double blank": with_fields(line=b"HTTP/1.1  200 OK\r\n"),
    "HTTP/2.0": with_fields(line=b"HTTP/2.0 200 OK\r\n"),
    "HTTP/1.2": with_fields(line=b"HTTP/1.2 200 OK\r\n"),
    "http/1.1": with_fields(line=b"http/1.1 200 OK\r\n"),
    "no status line": b"Hello\r\n\r\n",
    "empty line first": b"\r\n" + with_fields(),
    "control byte in the reason": with_fields(line=b"HTTP/1.1 200 \x07\r\n"),
    "bare LF": b"HTTP/1.1 200 OK\nA: b\r\n\r\n",
    "bare LF only": b"HTTP/1.1 200 OK\nA: b\n\n",
    "bare CR in a value": with_fields(b"A: b\rSet-Cookie: c"),
    "NUL in a value": with_fields(b"A: b\x00"),
    "blank before the first field": with_fields(b" A: b"),
    "tab before the first field": with_fields(b"\tA: b"),
    "line without colon": with_fields(b"Abc"),
    "empty name": with_fields(b" ".lstrip() + b": b"),
    "name not a token": with_fields(b"A b: c"),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_breaks_a_rule_is_a_bad_gateway(data: bytes) -> None:
    results = [verdict(data[:length]) for length in range(len(data) + 1)]
    errors = [result for result in results if result is not None]
    assert results[-1] is not None
    assert None not in results[results.index(errors[0]) :]
    for error in errors:
        assert isinstance(error, MessageError)
        assert error.status == 502
        assert "RFC" in error.rule


@pytest.mark.parametrize(
    ("line", "status", "written"),
    [
        (b"HTTP/1.1 200 OK", 200, b"HTTP/1.1 200 OK"),
        (b"HTTP/1.0 404 Not Found", 404, b"HTTP/1.1 404 Not Found"),
        (b"HTTP/1.1 200 ", 200, b"HTTP/1.1 200 "),
        (b"HTTP/1.1 200", 200, b"HTTP/1.1 200 "),
        (b"HTTP/1.1 999 \xe4\tb", 999, b"HTTP/1.1 999 \xe4\tb"),
    ],
)
def test_status_lines(line: bytes, status: int, written: bytes) -> None:
    """The version is the sender's own, and towards the client that is us."""
    head = accepted(with_fields(line=line + b"\r\n"))
    assert (head.status, head.lines) == (status, written + b"\r\n")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ([b"Server: x", b"set-cookie: a", b"Set-Cookie: b"], [b"Server: x", b"set-cookie: a", b"Set-Cookie: b"]),
        ([b"X-Custom: \xff", b"x_y: z"], [b"X-Custom: \xff", b"x_y: z"]),
        ([b"A: b", b"  c", b"\td", b"E: f"], [b"A: b c d", b"E: f"]),
        ([b"A:", b" b", b" "], [b"A: b"]),
        ([b"A : b", b"C\t: d"], [b"A: b", b"C: d"]),
        ([b"A:b ", b"C:\t d"], [b"A: b", b"C: d"]),
    ],
    ids=["usual", "unusual", "folded", "folded at its ends", "blank before the colon", "blanks around values"],
)
def test_fields_are_kept_and_mended(sent: list[bytes], kept: list[bytes]) -> None:
    assert field_lines(accepted(with_fields(*sent))) == kept


def test_a_folded_length_is_not_a_length() -> None:
    data = with_fields(b"Content-Length: 1", b" 0")
    assert isinstance(verdict(data), MessageError)


@pytest.mark.parametrize(
    "field",
    [
        b"Keep-Alive: 5",
        b"keep-alive: 5",
        b"KEEP-ALIVE: 5",
        b"Trailer: X",
        b"Proxy-Authenticate: Basic",
        b"Upgrade: h2c",
        b"Connection: Keep-Alive",
        b"CONNECTION: x-one, date",
        b"Proxy-Connection: close",
        b"TE: x",
    ],
)
def test_what_concerns_one_connection_is_removed(field: bytes) -> None:
    head = accepted(with_fields(field, b"A: b"))
    assert field_lines(head) == [b"A: b"]


def test_what_connection_names_is_removed() -> None:
    """The framing and the Date stay all the same."""
    head = accepted(
        with_fields(b"Connection: X-One, Content-Length, Date", b"X-One: 1", b"Date: x", b"Content-Length: 5")
    )
    assert field_lines(head) == [b"Date: x", b"Content-Length: 5"]
    assert head.dated


@pytest.mark.parametrize("name", [b"Date", b"date", b"DATE"])
def test_a_date_is_seen(name: bytes) -> None:
    assert accepted(with_fields(name + b": Fri, 21 Nov 2025 06:29:00 GMT")).dated
    assert not accepted(with_fields(b"Update: x")).dated


@pytest.mark.parametrize(
    ("sent", "length", "kept"),
    [
        ([], UNTIL_CLOSE, []),
        ([b"Content-Length: 5"], 5, [b"Content-Length: 5"]),
        ([b"content-length: 005"], 5, [b"Content-Length: 5"]),
        ([b"Content-Length: 5", b"content-Length: 5"], 5, [b"Content-Length: 5"]),
        ([b"Content-Length: 0"], 0, [b"Content-Length: 0"]),
        ([b"Transfer-Encoding: Chunked"], CHUNKED, []),
    ],
)
def test_framing(sent: list[bytes], length: int, kept: list[bytes]) -> None:
    head = accepted(with_fields(*sent))
    assert (head.length, field_lines(head)) == (length, kept)


@pytest.mark.parametrize(
    ("method", "line", "kept"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\n", [b"Content-Length: 5"]),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\n", [b"Content-Length: 5"]),
        (b"GET", b"HTTP/1.1 204 No Content\r\n", []),
        (b"GET", b"HTTP/1.1 103 Early Hints\r\n", []),
        (b"HEAD", b"HTTP/1.1 103 Early Hints\r\n", []),
    ],
)
def test_what_never_has_a_body_has_none(method: bytes, line: bytes, kept: list[bytes]) -> None:
    """Whatever its fields say; where a length may not be said, it is removed."""
    head = accepted(with_fields(b"Content-Length: 5", line=line), method)
    assert (head.length, field_lines(head)) == (0, kept)
    assert accepted(with_fields(b"Transfer-Encoding: chunked", line=line), method).length == 0
    assert accepted(with_fields(line=line), method).length == 0


@pytest.mark.parametrize(
    ("line", "fields", "upgrade"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n", [b"Connection: Upgrade", b"Upgrade: WebSocket"], b"websocket"),
        (b"HTTP/1.1 101 Switching Protocols\r\n", [b"Upgrade: websocket"], None),
        (b"HTTP/1.1 101 Switching Protocols\r\n", [b"Connection: Upgrade"], None),
        (b"HTTP/1.0 101 Switching Protocols\r\n", [b"Connection: Upgrade", b"Upgrade: websocket"], None),
    ],
)
def test_an_upgrade_is_one_protocol_that_connection_confirms(
    line: bytes, fields: list[bytes], upgrade: bytes | None
) -> None:
    head = accepted(with_fields(*fields, line=line))
    assert (head.upgrade, field_lines(head)) == (upgrade, [])


PIECES = st.sampled_from(
    [
        b"HTTP/1.1", b"HTTP/1.0", b" ", b"200", b"101", b"204", b"OK", b"\r\n", b"\r\n", b"\r\n ", b"\n",
        b"\r", b"\t", b":", b"Content-Length: ", b"Transfer-Encoding: chunked", b"5", b"Connection: ",
        b"upgrade", b"Upgrade: ", b"Date: x", b",", b"\x00", b"\xff", b"a",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.lists(PIECES | st.binary(max_size=3), max_size=20).map(b"".join),
    st.booleans(),
    st.sampled_from([b"GET", b"HEAD"]),
)
def test_nothing_but_a_refusal_is_raised(junk: bytes, begun: bool, method: bytes) -> None:
    """Whatever a node sends, it is a head, a refusal, or waited for; and that never changes."""
    data = (LINE + junk if begun else junk) + b"\r\n\r\n"
    results = [verdict(data[:length], method) for length in range(len(data) + 1)]
    settled = [type(result) for result in results if result is not None]
    assert len(set(settled)) == 1
    assert all(result is None for result in results[: -len(settled)])
