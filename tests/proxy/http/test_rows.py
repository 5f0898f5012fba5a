"""What the table of docs/http-answers.rst says of requests, row by row: what a client sends, and what a node sees of it.

Every case comes whole, byte by byte, and cut in two at every point. ``test_rows_of_responses`` has the other rows.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from nodebalancer.model import Underscores
from nodebalancer.testing.balancers import MemoryBalancer
from nodebalancer.testing.exchanges import every_way, http, status_of
from nodebalancer.testing.memory_ends import MemoryPeer
from nodebalancer.wire.http1.body import ChunkedReader, chunk

ROOT = Path(__file__).parents[3]

TRUSTING = {"nodebalancer": {"trusted_proxies": (ipaddress.ip_network("198.51.100.0/24"),)}}
OK = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\n\r\nhello"
RECEIVED = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
END = b"0\r\n\r\n"


@attrs.frozen
class Case:
    """What is sent, and the status it is refused with, or the request that a node sees instead."""

    sent: bytes
    expected: int | bytes
    settings: dict[str, Any] = attrs.field(factory=dict)
    ways: Sequence[list[bytes]] | None = None


def head(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a") -> bytes:
    return b"".join(part + b"\r\n" for part in (line, host, *fields) if part) + b"\r\n"


def seen(
    *fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a", by: bytes = b"198.51.100.1"
) -> bytes:
    """The head that a node sees."""
    ours = (b"X-Forwarded-For: " + by, b"X-Forwarded-Proto: http", b"Connection: close")
    return head(*fields, *ours, line=line, host=host)


def refused(status: int, heads: Iterable[bytes]) -> list[Case]:
    return [Case(sent, status) for sent in heads]


def with_each(name: bytes, values: Iterable[bytes], **others: bytes) -> list[bytes]:
    return [head(name + b": " + value, **others) for value in values]


def chunked(body: bytes) -> bytes:
    return head(b"Transfer-Encoding: chunked") + body


def payload(body: bytes) -> bytes:
    """The chunked request as a node sees it."""
    return seen(b"Transfer-Encoding: chunked") + (chunk(body) if body else b"") + END


def some_ways(data: bytes) -> list[list[bytes]]:
    """For what is too long to be cut everywhere; ``tests/wire`` has its every beginning."""
    return [
        [data],
        [data[at : at + 50] for at in range(0, len(data), 50)],
        [data[:-1], data[-1:]],
        [data[:9], data[9:]],
    ]


def long(status: int, data: bytes) -> Case:
    return Case(data, status, ways=some_ways(data))


CL, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
HOSTLESS = {"host": b""}

ROWS: dict[str, list[Case]] = {
    "Content-Length + Transfer-Encoding": refused(400, [head(CL, TE), head(TE, CL) + END]),
    "several different Content-Length": refused(
        400,
        [
            head(CL, b"Content-Length: 6"),
            *with_each(
                b"Content-Length",
                [b"5, 5", b"5,6", b"", b"+5", b"-0", b"0x5", b"5 5", b"1_0", b"1" * 19, b"0" * 18 + b"5", b"\xb2", b"5;", b'"5"'],
            ),
        ],
    ),
    "identical duplicate Content-Length": refused(400, [head(CL, CL) + b"hello"]),
    "leading zeros in Content-Length": [Case(head(b"Content-Length: 0005") + b"hello", seen(CL) + b"hello")],
    "Transfer-Encoding in HTTP/1.0": refused(400, [head(TE, line=b"POST / HTTP/1.0") + END]),
    "Transfer-Encoding that is not one line": [
        *refused(501, with_each(b"Transfer-Encoding", [b"gzip", b"identity", b"xchunked", b"cow"])),
        *refused(400, [head(TE, TE), *with_each(b"Transfer-Encoding", [
            b"gzip, chunked", b"chunked, identity", b"chunked, chunked", b"chunked;q=1", b'"chunked"', b"", b"\x0bchunked",
            b"chunked\x00", b"chunked,", b"\xa0chunked", b"chun ked",
        ])]),
        Case(head(b"transfer-ENCODING:\t CHUNKED \t") + END, payload(b"")),
    ],
    "chunk size with sign": refused(400, [chunked(size + b"\r\nhello\r\n" + END) for size in (
        b"+5", b"-5", b"0x5", b"5_0", b" 5", b"5 ", b"5\t", b"0" * 15 + b"5", b"", b"g", b"5.", b"\xb5",
    )]),
    "chunk extension": [
        *refused(400, [chunked(size + b"\r\nhello\r\n" + END) for size in (
            b"5;", b"5;;a", b"5; ", b"5;a=", b"5;a\x00", b"5;a=\x7f", b'5;a="b', b'5;a="b"c', b"5;a=b\rc", b"5;a\nb",
        )]),
        long(400, chunked(b"5;" + b"a" * 4096 + b"\r\nhello\r\n" + END)),
        Case(chunked(b'5;a;b=c ; d = "e\\"f"\r\nhello\r\n0;x\r\n\r\n'), payload(b"hello")),
    ],
    "chunk data not followed by CRLF": refused(400, [chunked(body) for body in (
        b"5\r\nhello" + END, b"5\r\nhello\n" + END, b"5\nhello\r\n" + END, b"5\r\nhello\r\n0\n\n", b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r0\r\n\r\n", b"5\rhello\r\n" + END, b"5\r\nhelloo\r\n" + END,
    )]),
    "trailers": [
        Case(chunked(b"5\r\nhello\r\n0\r\nA: b\r\nX-Forwarded-For: 1.1.1.1\r\nHost: b\r\n\r\n"), payload(b"hello")),
        *refused(400, [chunked(b"0\r\n" + trailer + b"\r\n") for trailer in (
            b"A : b\r\n", b"A\r\n", b"A: b\n", b"A: \x00\r\n", b" A: b\r\n", b"A: b\r\n c\r\n", b": b\r\n",
        )]),
        long(400, chunked(b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n")),
        long(400, chunked(b"0\r\nA: " + b"b" * 16384 + b"\r\n\r\n")),
    ],
    "bare LF or bare CR as line end": refused(400, [
        head().replace(b"\r\n", b"\n"), head().replace(b"\r\n", b"\r") + b"\r\n\r\n", b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        head(b"A: b\nC: d"), head(b"A: b\rC: d"), head(b"A: b\r"), head(b"A: b\n"), head()[:-2] + b"\n",
        head()[:-1] + b"X: y\r\n\r\n", b"\n" + head(), b"\r" + head(), b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    ]),
    "NUL, CR, LF, other control bytes in a value": [
        *refused(400, with_each(b"A", [b"b%cc" % code for code in (*range(9), 11, 12, *range(14, 32), 127)])),
        Case(head(b"A: \x80\xff\tb"), seen(b"A: \x80\xff\tb")),
    ],
    "obs-fold": refused(400, [head(b"A: b", b" c"), head(b"A: b", b"\tc"), head(b"A: b", b" "), head(b"A:", b" b")]),
    "blank before the colon": refused(400, [
        head(b"A : b"), head(b"Content-Length\t: 5"), head(b": b"), head(b":"), head(b"A(b): c"), head(b"A b: c"), head(b"Abc"),
        head(b"\xe4: b"), head(b"A\x00: b"), head(b'"A": b'), head(host=b" Host: a"), head(host=b"\tHost: a"),
    ]),
    "field name with": [
        Case(head(b"X_A: b", b"C: d"), seen(b"C: d")),
        Case(head(b"X_A: b", b"C: d"), seen(b"C: d", b"X_A: b"), {"underscores": Underscores.KEEP}),
        Case(head(b"X_A: b", b"C: d"), 400, {"underscores": Underscores.REJECT}),
        *(
            Case(head(name + b": 1", TE) + END, payload(b""), {"underscores": underscores})
            for name in (b"X_Forwarded_For", b"x_forwarded-proto", b"Content_Length", b"TRANSFER_ENCODING", b"X-Request_ID")
            for underscores in (Underscores.DROP, Underscores.KEEP)
        ),
    ],
    "request line": [
        *refused(400, [head(line=line) for line in (
            b"GET\t/ HTTP/1.1", b"GET /\tHTTP/1.1", b"GET  / HTTP/1.1", b"GET /  HTTP/1.1", b"GET / HTTP/1.1 ", b" GET / HTTP/1.1",
            b"GET / HTTP/1.1\t", b"GET /\x0b HTTP/1.1", b"GET /\x00 HTTP/1.1", b"GET /", b"GET", b"GET / HTTP/1.10", b"GET / http/1.1",
            b"GET / HTTP/1", b"GET / HTTP/11", b"GET / HTTP/1,1", b"GET / ICE/1.1", b"G(T / HTTP/1.1", b"GET / HTTP/ 1.1",
            b"GET / HTTP/1.1 HTTP/1.1", b"GET / HTTP/+1.1",
        )]),
        *refused(505, [head(line=b"GET / HTTP/" + version) for version in (b"0.9", b"2.0", b"1.2", b"3.0")]),
    ],
    "target with control bytes": [
        *refused(400, [head(line=b"GET /" + byte + b" HTTP/1.1") for byte in (b"\x01", b"\x7f", b"a b", b"\xe4", b"\x80", b"a#b", b"#")]),
        Case(head(line=b"GET /%00%0d%0a?%23 HTTP/1.1"), seen(line=b"GET /%00%0d%0a?%23 HTTP/1.1")),
    ],
    "request line over 8 KiB": [
        long(414, b"GET /" + b"a" * 8188), long(414, head(line=b"GET /" + b"a" * 8179 + b" HTTP/1.1")),
        long(431, head(b"A: " + b"b" * 16384)), long(431, b"GET / HTTP/1.1\r\nA: " + b"b" * 16384),
        long(431, head(*[b"A: b"] * 100)), long(431, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 101),
    ],
    "Host": refused(400, [
        head(**HOSTLESS), head(b"A: b", **HOSTLESS), head(host=b"Host:"), head(host=b"Host: "), head(b"Host: a"), head(b"host: b"),
        *(head(host=b"Host: " + host) for host in (
            b"a/b", b"a?b", b"a#b", b"u@a", b"u:p@a", b"a b", b"a,b", b"a:b", b"a:80:80", b"[::1", b"[a%eth0]", b"a\x00", b"\xe4", b"a\\b",
            b":80", b"a:123456", b"http://a",
        )),
        head(line=b"GET / HTTP/1.0", host=b"Host:"),
    ]),
    "absolute-form target": [
        Case(head(line=b"GET http://a/b?c HTTP/1.1"), seen(line=b"GET /b?c HTTP/1.1")),
        Case(head(line=b"GET HTTP://A HTTP/1.1"), seen(host=b"Host: A")),
        Case(head(line=b"GET http://b:81?c HTTP/1.0", **HOSTLESS), seen(line=b"GET /?c HTTP/1.0", host=b"Host: b:81")),
        *refused(400, [head(line=b"GET " + target + b" HTTP/1.1") for target in (
            b"http://b/", b"http://a:80/", b"http://a@b/", b"http://a@a/", b"http://", b"http:///", b"http:/a", b"ftp://a/", b"a", b"a:80",
            b"http://a\\b/", b"http://a,b/", b"file:///etc",
        )]),
        *refused(400, [head(line=b"GET http://a/ HTTP/1.1", **HOSTLESS)]),
    ],
    "``OPTIONS *``": [
        Case(head(line=b"OPTIONS * HTTP/1.1"), seen(line=b"OPTIONS * HTTP/1.1")),
        Case(head(line=b"OPTIONS http://a HTTP/1.1"), seen(line=b"OPTIONS * HTTP/1.1")),
        *refused(400, [head(line=line) for line in (b"GET * HTTP/1.1", b"HEAD * HTTP/1.1", b"OPTIONS ** HTTP/1.1", b"OPTIONS */ HTTP/1.1")]),
    ],
    "CONNECT, TRACE": refused(405, [
        head(line=b"CONNECT a:443 HTTP/1.1"), head(line=b"CONNECT / HTTP/1.1"), head(line=b"TRACE / HTTP/1.1"),
        head(line=b"TRACE / HTTP/1.0"), head(line=b"connect a:443 HTTP/1.1"), head(line=b"Trace / HTTP/1.1"),
    ]),
    "``Connection: close, X-Forwarded-For": [
        Case(
            head(b"Connection: close, X-Forwarded-For, x-a, Cookie, Host, Content-Length, X-Forwarded-Proto, Forwarded",
                 b"X-A: 1", b"Cookie: b", CL, b"X-Forwarded-For: 1.1.1.1") + b"hello",
            seen(b"Cookie: b", CL) + b"hello",
        ),
        Case(head(b"Connection: Transfer-Encoding", TE) + END, payload(b"")),
        Case(
            head(b"Connection: X-Forwarded-For, Forwarded, X-Forwarded-Host", b"X-Forwarded-For: 1.1.1.1", b"Forwarded: for=1.1.1.1"),
            seen(b"Forwarded: for=1.1.1.1", by=b"1.1.1.1, 198.51.100.1"), TRUSTING,
        ),
        Case(
            head(b"Keep-Alive: 5", b"Proxy-Connection: x", b"TE: trailers", b"Trailer: A", b"Proxy-Authenticate: x", b"Upgrade: h2c",
                 b"Proxy-Authorization: x", b"HTTP2-Settings: x", b"Connection: Upgrade, HTTP2-Settings"),
            seen(),
        ),
        Case(head(b"connection: A", b"A: 1", b"B: 2", b"CONNECTION: b,, "), seen()),
    ],
    "X-Forwarded-For from the client": [
        Case(head(*claims), expected, settings)
        for claims in [(
            b"X-Forwarded-For: 1.1.1.1, 2.2.2.2", b"Forwarded: for=1.1.1.1", b"X-Real-IP: 1.1.1.1", b"x-forwarded-for: 3.3.3.3",
            b"X-Forwarded-Host: b", b"X-Forwarded-Proto: https",
        )]
        for expected, settings in (
            (seen(), {}),
            (seen(b"Forwarded: for=1.1.1.1", b"X-Real-IP: 1.1.1.1", b"X-Forwarded-Host: b", by=b"1.1.1.1, 2.2.2.2, 3.3.3.3, 198.51.100.1"), TRUSTING),
        )
    ],
    "X-Request-ID from the client": [
        Case(head(b"x-request-id: aZ9._-"), seen(b"X-Request-ID: aZ9._-")),
        Case(head(b"Connection: X-Request-ID", b"X-Request-ID: " + b"a" * 64), seen(b"X-Request-ID: " + b"a" * 64)),
        *(Case(sent, seen()) for sent in with_each(b"X-Request-ID", [b"a b", b"a/b", b"a" * 65, b"", b"\xe4", b'"a"'])),
        Case(head(b"X-Request-ID: a", b"X-Request-ID: a"), seen()),
    ],
    "HTTP/1.0 request": [
        Case(head(b"Expect: 100-continue", b"Connection: keep-alive", line=b"GET / HTTP/1.0", **HOSTLESS), seen(line=b"GET / HTTP/1.0", **HOSTLESS)),
        Case(head(b"Expect: x", CL, line=b"PUT / HTTP/1.0") + b"hello", seen(CL, line=b"PUT / HTTP/1.0") + b"hello"),
    ],
    "one CRLF before the request line": [
        Case(b"\r\n" + head(b"A: b"), seen(b"A: b")), *refused(400, [b"\r\n\r\n" + head(), b"\r\n \r\n" + head()]),
    ],
    "Max-Forwards on OPTIONS": [
        Case(head(b"Max-Forwards: 5", line=b"OPTIONS / HTTP/1.1"), seen(b"Max-Forwards: 4", line=b"OPTIONS / HTTP/1.1")),
        Case(head(b"Max-Forwards: 0"), seen(b"Max-Forwards: 0")),
        *refused(200, with_each(b"Max-Forwards", [b"0", b"000"], line=b"OPTIONS * HTTP/1.1")),
        *refused(400, with_each(b"Max-Forwards", [b"", b"-1", b"x", b"1" * 19], line=b"OPTIONS / HTTP/1.1")),
    ],
    "bytes after the request": [
        Case(head() + head(line=b"GET /smuggled HTTP/1.1"), seen()),
        Case(head(CL) + b"hello" + head(), seen(CL) + b"hello"),
        Case(head() + b"x" * 20_000, seen(), ways=some_ways(head() + b"x" * 20_000)),
        Case(chunked(b"5\r\nhello\r\n" + END + head()), payload(b"hello")),
        Case(head(b"Content-Length: 0") + b"x", seen(b"Content-Length: 0")),
    ],
    "body on GET, HEAD, DELETE, OPTIONS": [
        case
        for method in (b"GET", b"HEAD", b"DELETE", b"OPTIONS")
        for line in (method + b" / HTTP/1.1",)
        for case in (
            Case(head(CL, line=line) + b"hello", seen(CL, line=line) + b"hello"),
            Case(head(TE, line=line) + b"5\r\nhello\r\n" + END, seen(TE, line=line) + chunk(b"hello") + END),
        )
    ],
}  # fmt: skip

ELSEWHERE = {
    "Upgrade": "test_an_upgrade",
    "bytes after a request whose Upgrade is pending": "test_bytes_ahead_of_a_101",
    "Expect: 100-continue": "test_an_expectation",
    "1xx from a node": "test_an_interim_response",
    "HEAD, 204, 304": "test_a_row_of_responses",
    "response: equal duplicate": "test_a_row_of_responses",
    "response ends early": "test_a_response_that_ends_early",
    "response without Date": "test_a_response_without_date",
    "client half-closes": "test_a_client_that_half_closes",
}
"""The rows that need a node with a will of its own, and which test of ``test_rows_of_responses`` holds them."""

CASES = {f"{row.partition(':')[0]}-{number}": case for row, cases in ROWS.items() for number, case in enumerate(cases)}
REFUSED = {name: case for name, case in CASES.items() if case.expected in range(400, 600)}


def exchange(lb: MemoryBalancer, pieces: Iterable[bytes]) -> tuple[list[MemoryPeer], bytes]:
    """The connections that nodes accept for a new client that sends ``pieces``, and what the client receives."""
    nodes = lb.accepted[0]
    nodes.clear()
    client = lb.client()
    for piece in pieces:
        client.send(piece)
        lb.pump()
    for node in nodes:
        node.send(OK)
    lb.pump()
    client.close()
    lb.pump()
    assert not client.was_reset
    return list(nodes), bytes(client.received)


def in_one_chunk(request: bytes) -> bytes:
    """A request whose chunks, which depend on the pieces it came in, are made one."""
    start, end, body = request.partition(b"\r\n\r\n")
    if b"\r\nTransfer-Encoding: chunked\r\n" not in start:
        return request
    reader = ChunkedReader()
    data = reader.feed(body) if body else b""
    return start + end + (chunk(data) if data else b"") + (END + reader.rest if reader.done else b"")


def is_unfinished(request: bytes) -> bool:
    """Whether a node cannot take this for a request: its chunked body has no end."""
    return b"\r\nTransfer-Encoding: chunked\r\n" in request and not in_one_chunk(request).endswith(END)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_row_of_requests(case: Case) -> None:
    """Either exactly one request reaches a node, written anew, or none does and the client is told why not."""
    lb = http(**case.settings)
    for pieces in case.ways or every_way(case.sent):
        nodes, received = exchange(lb, pieces)
        if isinstance(case.expected, bytes):
            assert [in_one_chunk(bytes(node.received)) for node in nodes] == [case.expected]
            assert received == (RECEIVED[:-5] if case.sent.startswith(b"HEAD") else RECEIVED)
        else:
            assert all(node.was_reset and is_unfinished(bytes(node.received)) for node in nodes)
            assert len(nodes) == 0 or pieces != [case.sent]
            assert status_of(received) == case.expected
            assert b"\r\nConnection: close\r\n" in received
    lb.check_at_rest()


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_a_refusal_says_nothing_of_what_was_sent_and_its_rule_is_counted(case: Case) -> None:
    lb = http(**case.settings)
    _, received = exchange(lb, [case.sent])
    (rule,) = lb.live.counters.refused_by_rule
    assert "RFC" in rule or "setting" in rule
    assert len(received) < 400
    assert b"smuggled" not in received


def test_every_row_of_the_table_has_its_cases() -> None:
    """In both directions: a row that is added to the docs is added here."""
    docs = re.findall(r"^   \* - (.*)$", (ROOT / "docs" / "http-answers.rst").read_text(), re.MULTILINE)[1:]
    others = (Path(__file__).with_name("test_rows_of_responses.py")).read_text()
    assert [row for row in docs if not any(row.startswith(begin) for begin in (*ROWS, *ELSEWHERE))] == []
    assert [begin for begin in (*ROWS, *ELSEWHERE) if not any(row.startswith(begin) for row in docs)] == []
    assert [test for test in ELSEWHERE.values() if f"def {test}(" not in others] == []
