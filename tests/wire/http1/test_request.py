"""Requests: one test a rule, each case seen with every beginning of it, as it comes byte by byte or in two pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.head import CHUNKED, FIELDS_MAX, RequestHead, parse_request

LINE = b"GET / HTTP/1.1\r\n"
HOST = b"Host: a.example\r\n"
END = b"\r\n"


def verdict(data: bytes) -> RequestHead | MessageError | None:
    try:
        return parse_request(data)
    except MessageError as error:
        return error


def refused(data: bytes) -> MessageError:
    """The refusal of ``data``: none of its beginnings is taken for a head, and what is refused once stays refused."""
    early = [verdict(data[:length]) for length in range(len(data) + 1)]
    assert not any(isinstance(result, RequestHead) for result in early)
    errors = [result for result in early if isinstance(result, MessageError)]
    assert early[-1] is not None
    assert None not in early[early.index(errors[0]) :]
    assert len({error.status for error in errors}) == 1
    return errors[-1]


def accepted(data: bytes, body: bytes = b"HELLO") -> RequestHead:
    """The head of ``data``: none of its beginnings is one, and what follows makes no difference."""
    assert [verdict(data[:length]) for length in range(len(data))] == [None] * len(data)
    head, followed = parse_request(data), parse_request(data + body)
    assert head is not None
    assert followed is not None
    assert (head.lines, head.size, head.host) == (followed.lines, followed.size, followed.host)
    start, host, _ = (head.lines + b"\r\n").split(b"\r\n", 2)
    assert start == b"%b %b HTTP/1.%d" % (head.method, head.target, not head.http10)
    assert not head.host or host.lower() == b"host: " + head.host.lower()
    assert head.size == len(data)
    return head


def field_lines(head: RequestHead) -> list[bytes]:
    """What of the fields is forwarded whoever asks, after the request line and Host."""
    return head.lines.split(b"\r\n")[2 if head.host else 1 : -1]


def with_fields(*fields: bytes, line: bytes = LINE) -> bytes:
    return line + HOST + b"".join(field + b"\r\n" for field in fields) + END


REFUSED = {
    # framing
    "Content-Length and Transfer-Encoding": (400, with_fields(b"Content-Length: 5", b"Transfer-Encoding: chunked")),
    "Transfer-Encoding and Content-Length": (400, with_fields(b"Transfer-Encoding: chunked", b"Content-Length: 5")),
    "different Content-Length": (400, with_fields(b"Content-Length: 5", b"Content-Length: 6")),
    "identical Content-Length": (400, with_fields(b"Content-Length: 5", b"content-length: 5")),
    "Content-Length list": (400, with_fields(b"Content-Length: 5, 5")),
    "Content-Length empty": (400, with_fields(b"Content-Length:")),
    "Content-Length +5": (400, with_fields(b"Content-Length: +5")),
    "Content-Length -0": (400, with_fields(b"Content-Length: -0")),
    "Content-Length 0x5": (400, with_fields(b"Content-Length: 0x5")),
    "Content-Length 5 5": (400, with_fields(b"Content-Length: 5 5")),
    "Content-Length 1_0": (400, with_fields(b"Content-Length: 1_0")),
    "Content-Length superscript": (400, with_fields(b"Content-Length: \xb2")),
    "Content-Length of 19 digits": (400, with_fields(b"Content-Length: 0000000000000000005")),
    "Transfer-Encoding in HTTP/1.0": (400, with_fields(b"Transfer-Encoding: chunked", line=b"GET / HTTP/1.0\r\n")),
    "Transfer-Encoding twice": (400, with_fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")),
    "Transfer-Encoding list": (400, with_fields(b"Transfer-Encoding: gzip, chunked")),
    "Transfer-Encoding chunked, identity": (400, with_fields(b"Transfer-Encoding: chunked, identity")),
    "Transfer-Encoding parameter": (400, with_fields(b"Transfer-Encoding: chunked;q=1")),
    "Transfer-Encoding quoted": (400, with_fields(b'Transfer-Encoding: "chunked"')),
    "Transfer-Encoding empty": (400, with_fields(b"Transfer-Encoding:")),
    "Transfer-Encoding vertical tab": (400, with_fields(b"Transfer-Encoding: \x0bchunked")),
    "Transfer-Encoding unknown": (501, with_fields(b"Transfer-Encoding: gzip")),
    "Transfer-Encoding identity": (501, with_fields(b"Transfer-Encoding: identity")),
    "Transfer-Encoding folded": (400, with_fields(b"Transfer-Encoding:\r\n chunked")),
    # bytes
    "bare LF after the request line": (400, b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
    "bare LF after a field": (400, LINE + HOST + b"A: b\nC: d\r\n\r\n"),
    "bare LF only": (400, b"GET / HTTP/1.1\nHost: a\n\n"),
    "bare LF as the end": (400, LINE + HOST + b"\n"),
    "bare CR as line end": (400, LINE + HOST + b"A: b\rC: d\r\n\r\n"),
    "bare CR before CRLF": (400, LINE + HOST + b"A: b\r\r\n\r\n"),
    "NUL in a value": (400, with_fields(b"A: b\x00c")),
    "control byte in a value": (400, with_fields(b"A: b\x1bc")),
    "DEL in a value": (400, with_fields(b"A: b\x7fc")),
    "NUL in a name": (400, with_fields(b"A\x00: b")),
    "fold": (400, with_fields(b"A: b", b" c")),
    "fold by tab": (400, with_fields(b"A: b", b"\tc: d")),
    "empty fold": (400, with_fields(b"A: b", b" ")),
    "blank before the colon": (400, with_fields(b"A : b")),
    "tab before the colon": (400, with_fields(b"Content-Length\t: 5")),
    "empty name": (400, with_fields(b": b")),
    "name not a token": (400, with_fields(b"A(b): c")),
    "name with 8 bits": (400, with_fields(b"\xc3\xa4: c")),
    "name with a blank": (400, with_fields(b"A b: c")),
    "line without colon": (400, with_fields(b"Abc")),
    "blank before the first field": (400, LINE + b" " + HOST + END),
    # request line
    "tab in the request line": (400, b"GET\t/ HTTP/1.1\r\n" + HOST + END),
    "tab for the second blank": (400, b"GET /\tHTTP/1.1\r\n" + HOST + END),
    "double blank": (400, b"GET  / HTTP/1.1\r\n" + HOST + END),
    "trailing blank": (400, b"GET / HTTP/1.1 \r\n" + HOST + END),
    "leading blank": (400, b" GET / HTTP/1.1\r\n" + HOST + END),
    "control byte in the request line": (400, b"GET /\x01 HTTP/1.1\r\n" + HOST + END),
    "no version": (400, b"GET /\r\n" + HOST + END),
    "method not a token": (400, b"G(T / HTTP/1.1\r\n" + HOST + END),
    "long method not a token": (400, b"A" * 40 + b"@ / HTTP/1.1\r\n" + HOST + END),
    "no method": (400, b"/ HTTP/1.1\r\n" + HOST + END),
    "HTTP/1.10": (400, b"GET / HTTP/1.10\r\n" + HOST + END),
    "http/1.1": (400, b"GET / http/1.1\r\n" + HOST + END),
    "HTTP/0.9": (505, b"GET / HTTP/0.9\r\n" + HOST + END),
    "HTTP/1.2": (505, b"GET / HTTP/1.2\r\n" + HOST + END),
    "HTTP/2.0": (505, b"PRI * HTTP/2.0\r\n\r\n"),
    "two empty lines first": (400, b"\r\n\r\n" + LINE + HOST + END),
    "LF first": (400, b"\n" + LINE + HOST + END),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    # target
    "target with 8 bits": (400, b"GET /\xe4 HTTP/1.1\r\n" + HOST + END),
    "target with #": (400, b"GET /a#b HTTP/1.1\r\n" + HOST + END),
    "target with DEL": (400, b"GET /\x7f HTTP/1.1\r\n" + HOST + END),
    "target without slash": (400, b"GET a HTTP/1.1\r\n" + HOST + END),
    "target is an authority": (400, b"GET a.example:80 HTTP/1.1\r\n" + HOST + END),
    "* with GET": (400, b"GET * HTTP/1.1\r\n" + HOST + END),
    "absolute-form of another scheme": (400, b"GET ftp://a.example/ HTTP/1.1\r\n" + HOST + END),
    "absolute-form with userinfo": (400, b"GET http://u@a.example/ HTTP/1.1\r\n" + HOST + END),
    "absolute-form without authority": (400, b"GET http:/// HTTP/1.1\r\n" + HOST + END),
    "absolute-form that disagrees": (400, b"GET http://b.example/ HTTP/1.1\r\n" + HOST + END),
    "absolute-form that disagrees by port": (400, b"GET http://a.example:8080/ HTTP/1.1\r\n" + HOST + END),
    "absolute-form that disagrees in HTTP/1.0": (400, b"GET http://b.example/ HTTP/1.0\r\n" + HOST + END),
    "absolute-form without Host": (400, b"GET http://a.example/ HTTP/1.1\r\n\r\n"),
    "CONNECT": (405, b"CONNECT a.example:443 HTTP/1.1\r\n" + HOST + END),
    "TRACE": (405, b"TRACE / HTTP/1.1\r\n" + HOST + END),
    # Host
    "no Host": (400, LINE + END),
    "no Host but fields": (400, LINE + b"A: b\r\n" + END),
    "Host empty": (400, LINE + b"Host:\r\n" + END),
    "Host empty in HTTP/1.0": (400, b"GET / HTTP/1.0\r\nHost: \r\n" + END),
    "two Host": (400, with_fields(b"Host: b.example")),
    "two equal Host": (400, with_fields(b"host: a.example")),
    "Host with a path": (400, LINE + b"Host: a.example/b\r\n" + END),
    "Host with userinfo": (400, LINE + b"Host: u@a.example\r\n" + END),
    "Host with a blank": (400, LINE + b"Host: a.example b.example\r\n" + END),
    "Host with a comma": (400, LINE + b"Host: a.example,b.example\r\n" + END),
    "Host with two ports": (400, LINE + b"Host: a.example:80:80\r\n" + END),
    "Host with a word for a port": (400, LINE + b"Host: a.example:http\r\n" + END),
    "Host with an open bracket": (400, LINE + b"Host: [::1\r\n" + END),
    "Host with 8 bits": (400, LINE + b"Host: \xe4.example\r\n" + END),
    # Expect, Max-Forwards
    "Expect of something else": (417, with_fields(b"Expect: 200-ok")),
    "Expect of two": (417, with_fields(b"Expect: 100-continue, 200-ok")),
    "Expect of something else as well": (417, with_fields(b"Expect: 100-continue", b"Expect: 200-ok")),
    "Max-Forwards no number": (400, with_fields(b"Max-Forwards: -1", line=b"OPTIONS * HTTP/1.1\r\n")),
    "Max-Forwards of 19 digits": (400, with_fields(b"Max-Forwards: " + b"1" * 19, line=b"OPTIONS * HTTP/1.1\r\n")),
    "two Max-Forwards": (400, with_fields(b"Max-Forwards: 0", b"Max-Forwards: 1", line=b"OPTIONS / HTTP/1.1\r\n")),
}


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED)
def test_what_breaks_a_rule_is_refused(status: int, data: bytes) -> None:
    error = refused(data)
    assert error.status == status
    assert "RFC" in error.rule


@pytest.mark.parametrize(
    ("data", "at"),
    [(b"\x16\x03\x01", 1), (b"hello\r\n", 6), (b"GET / HTTP/1.1\n", 15), (b"\r\n\r\nGET", 3), (b"\rGET", 2)],
    ids=["TLS", "a word", "bare LF", "empty lines", "CR"],
)
def test_what_cannot_become_a_request_is_refused_at_once(data: bytes, at: int) -> None:
    """A client of another protocol does not have to wait for its time-out."""
    assert [verdict(data[:length]) for length in range(at)] == [None] * at
    assert isinstance(verdict(data[:at]), MessageError)


KEPT = {
    "usual": [b"Accept: */*", b"user-agent: x"],
    "custom": [b"X-Custom: 1", b"Sec-Odd: ?0"],
    "odd spelling": [b"ACCEPT: */*", b"cOOKIE: a=b"],
    "token of all sorts": [b"a!#$%&'*+-.^`|~9: b"],
    "obs-text": [b"X: \x80\xff"],
    "tab inside": [b"X: a\tb"],
    "blanks inside": [b"X: a  b"],
    "colons inside": [b"X: a: b:  c"],
    "repeated": [b"Accept: a", b"Accept: b"],
    "empty value": [b"X: "],
    "Max-Forwards but not of OPTIONS": [b"Max-Forwards: many"],
    "Via": [b"Via: 1.1 x"],
}


@pytest.mark.parametrize("fields", KEPT.values(), ids=KEPT)
def test_fields_are_kept_in_their_order(fields: list[bytes]) -> None:
    assert field_lines(accepted(with_fields(*fields))) == fields


@pytest.mark.parametrize("field", [b"X:a", b"X:  a", b"X: a ", b"X:\ta \t", b"X: a\t"])
def test_blanks_around_a_value_are_removed(field: bytes) -> None:
    assert field_lines(accepted(with_fields(field))) == [b"X: a"]


DROPPED = (
    b"Keep-Alive: 5",
    b"Proxy-Connection: close",
    b"TE: trailers",
    b"Trailer: X",
    b"Proxy-Authenticate: Basic",
    b"Proxy-Authorization: Basic eDp5",
    b"HTTP2-Settings: AAMAAABk",
    b"Upgrade: h2c",
    b"Connection: keep-alive",
    b"connection: close",
    b"CONNECTION: Keep-Alive, TE",
    b"kEEP-aLIVE: 5",
    b"X-Forwarded-Proto: https",
    b"Content.Length: 5",
    b"X.Forwarded.For: 192.0.2.1",
)


@pytest.mark.parametrize("field", DROPPED)
def test_what_concerns_one_connection_is_removed(field: bytes) -> None:
    head = accepted(with_fields(field, b"A: b"))
    assert field_lines(head) == [b"A: b"]
    assert head.claims == head.underscored == head.forwarded_for == ()


def test_what_connection_names_is_removed() -> None:
    head = accepted(with_fields(b"X-One: 1", b"Connection: close, x-one,X_three ,", b"X-Two: 2", b"X_Three: 3"))
    assert field_lines(head) == [b"X-Two: 2"]
    assert head.underscored == ()


def test_connection_may_stand_in_several_lines() -> None:
    head = accepted(with_fields(b"Connection: X-One", b"X-One: 1", b"X-Two: 2", b"Connection: X-Two"))
    assert field_lines(head) == []


@pytest.mark.parametrize(
    "field", [b"Cookie: a=b", b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Expect: 100-continue"]
)
def test_connection_cannot_name_what_decides_about_the_request(field: bytes) -> None:
    name = field.partition(b":")[0]
    head = accepted(with_fields(b"Connection: close, host, x-forwarded-for, " + name, field, b"X-Forwarded-For: x"))
    assert field_lines(head) == [field]
    assert head.host == b"a.example"
    assert head.forwarded_for == (b"x",)


def test_what_a_client_says_about_itself_is_kept_apart() -> None:
    claims = (b"Forwarded: for=x", b"x-real-ip: x", b"X-Forwarded-Host: x", b"X-Forwarded: x")
    head = accepted(with_fields(*claims, b"X-Forwarded-For: 1, 2", b"x-Forwarded-for: 3"))
    assert (head.claims, head.forwarded_for, field_lines(head)) == (claims, (b"1, 2", b"3"), [])


def test_names_with_underscores_are_kept_apart() -> None:
    head = accepted(with_fields(b"X_A: 1", b"X_Forwarded_For: 2"))
    assert (head.underscored, field_lines(head)) == ((b"X_A: 1", b"X_Forwarded_For: 2"), [])


@pytest.mark.parametrize(
    ("field", "line", "length"),
    [
        (b"Content-Length: 5", b"Content-Length: 5", 5),
        (b"content-length: 0", b"Content-Length: 0", 0),
        (b"Content-Length:007 ", b"Content-Length: 7", 7),
        (b"Content-Length: 999999999999999999", b"Content-Length: 999999999999999999", 10**18 - 1),
        (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", CHUNKED),
        (b"TRANSFER-encoding:\t CHUNKED \t", b"Transfer-Encoding: chunked", CHUNKED),
    ],
)
def test_framing_is_normalised(field: bytes, line: bytes, length: int) -> None:
    head = accepted(with_fields(field, line=b"DELETE / HTTP/1.1\r\n"))
    assert (head.length, field_lines(head)) == (length, [line])


def test_without_framing_there_is_no_body() -> None:
    assert accepted(with_fields(line=b"POST / HTTP/1.1\r\n")).length == 0


@pytest.mark.parametrize("method", [b"GET", b"PROPFIND", b"M-SEARCH", b"get", b"x!"])
def test_any_token_is_a_method(method: bytes) -> None:
    assert accepted(with_fields(line=method + b" /a?b HTTP/1.1\r\n")).method == method


@pytest.mark.parametrize("target", [b"/", b"//a", b"/%00%0d%0a", b"/a?b=c&d=/../?", b'/{}|^`"<>\\'])
def test_a_path_passes_unchanged(target: bytes) -> None:
    assert accepted(with_fields(line=b"GET " + target + b" HTTP/1.1\r\n")).target == target


@pytest.mark.parametrize(
    ("method", "absolute", "target"),
    [
        (b"GET", b"http://A.example/x?y", b"/x?y"),
        (b"GET", b"HTTPS://A.example", b"/"),
        (b"GET", b"http://A.example?y", b"/?y"),
        (b"GET", b"http://A.example//b.example/", b"//b.example/"),
        (b"OPTIONS", b"http://A.example", b"*"),
        (b"OPTIONS", b"http://A.example/", b"/"),
    ],
)
def test_an_absolute_target_becomes_a_path_and_its_host(method: bytes, absolute: bytes, target: bytes) -> None:
    head = accepted(with_fields(line=method + b" " + absolute + b" HTTP/1.1\r\n"))
    assert (head.target, head.host) == (target, b"A.example")


def test_an_absolute_target_gives_http_1_0_its_host() -> None:
    head = accepted(b"GET http://a.example:81/ HTTP/1.0\r\n\r\n")
    assert (head.target, head.host) == (b"/", b"a.example:81")


def test_options_may_mean_the_server() -> None:
    assert accepted(with_fields(line=b"OPTIONS * HTTP/1.1\r\n")).target == b"*"


@pytest.mark.parametrize("host", [b"a", b"a.example:8080", b"192.0.2.1", b"[2001:db8::1]:80", b"a_b.example:", b"%41"])
def test_host_is_untouched(host: bytes) -> None:
    assert accepted(LINE + b"host: " + host + b"\r\n\r\n").host == host


def test_http_1_0_needs_no_host_and_has_no_expectation() -> None:
    head = accepted(b"GET / HTTP/1.0\r\nExpect: 200-ok\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert head.http10
    assert (head.host, field_lines(head), head.expects_continue, head.upgrade) == (b"", [], False, None)


def test_http_1_0_without_fields_is_a_request() -> None:
    assert field_lines(accepted(b"GET / HTTP/1.0\r\n\r\n")) == []


@pytest.mark.parametrize("fields", [[b"Expect: 100-continue"], [b"expect: 100-Continue", b"Expect: 100-continue"]])
def test_the_client_may_wait_for_100(fields: list[bytes]) -> None:
    head = accepted(with_fields(*fields))
    assert head.expects_continue
    assert field_lines(head) == [b"Expect: 100-continue"]


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        ([b"Connection: Upgrade", b"Upgrade: WebSocket"], b"websocket"),
        ([b"Upgrade: websocket", b"Connection: keep-alive, upgrade"], b"websocket"),
        ([b"Upgrade: websocket"], None),
        ([b"Upgrade: websocket", b"Connection: close"], None),
        ([b"Connection: upgrade"], None),
        ([b"Connection: upgrade", b"Upgrade:"], None),
        ([b"Connection: upgrade", b"Upgrade: websocket, h2c"], None),
        ([b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: websocket"], None),
    ],
)
def test_an_upgrade_is_one_protocol_that_connection_confirms(fields: list[bytes], upgrade: bytes | None) -> None:
    head = accepted(with_fields(*fields))
    assert (head.upgrade, field_lines(head)) == (upgrade, [])


def test_max_forwards_of_options_is_read() -> None:
    head = accepted(with_fields(b"Max-Forwards: 07", line=b"OPTIONS / HTTP/1.1\r\n"))
    assert (head.max_forwards, field_lines(head)) == (7, [])


def test_one_empty_line_before_a_request_is_skipped() -> None:
    head = accepted(b"\r\n" + with_fields(b"A: b"))
    assert (head.method, field_lines(head)) == (b"GET", [b"A: b"])


def test_a_hundred_fields_are_enough() -> None:
    """The 101st field is refused with 431, as soon as it is there."""
    full = with_fields(*[b"A: b"] * (FIELDS_MAX - 1))
    assert len(field_lines(accepted(full))) == FIELDS_MAX - 1
    assert refused(full[:-2] + b"A: b\r\n\r\n").status == 431
    assert refused(full[:-2] + b"A: b\r\n").status == 431


PIECES = st.sampled_from(
    [
        b"GET", b"OPTIONS", b" ", b"/", b"*", b"http://a", b"HTTP/1.1", b"HTTP/1.0", b"\r\n", b"\r\n",
        b"\n", b"\r", b"\t", b"Host: a", b"Content-Length: ", b"Transfer-Encoding: chunked", b"5",
        b"Connection: ", b"upgrade", b"Upgrade: ", b":", b",", b"X_Y: z", b"Max-Forwards: 1",
        b"Expect: 100-continue", b"\x00", b"\xff", b"_", b"a",
    ]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=3), max_size=20).map(b"".join), st.booleans())
def test_nothing_but_a_refusal_is_raised(junk: bytes, begun: bool) -> None:
    """Whatever is sent, the answer is a head, a refusal, or waiting for more; and it never changes its mind."""
    data = (LINE + HOST + junk if begun else junk) + b"\r\n\r\n"
    results = [verdict(data[:length]) for length in range(len(data) + 1)]
    settled = [type(result) for result in results if result is not None]
    assert len(set(settled)) == 1
    assert all(result is None for result in results[: -len(settled)])
