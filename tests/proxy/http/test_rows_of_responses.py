"""What the table of docs/http-answers.rst says of responses and of what a node decides, row by row.

Every case comes whole, byte by byte, and cut in two at every point. ``test_rows`` has the other rows.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from nodebalancer.model import Upgrade
from nodebalancer.testing.balancers import MemoryBalancer
from nodebalancer.testing.exchanges import GET, OK, SWITCHING, UPGRADE, body_of, every_way, http, post, status_of
from nodebalancer.wire.http1.body import ChunkedReader, chunk

END = b"0\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
CL, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
BAD = 502


@attrs.frozen
class Case:
    """What a node sends to which request, and what the client receives: bytes, or a status of ours."""

    sent: bytes
    expected: bytes | int
    request: bytes = GET
    closes: bool = False
    ways: list[list[bytes]] | None = None


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    return b"".join(part + b"\r\n" for part in (line, b"Date: now", *fields)) + b"\r\n" + body


def passed(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    return response(*fields, b"Connection: close", line=line, body=body)


def bad(*fields: bytes, **others: Any) -> Case:
    return Case(response(*fields, **others), BAD)


def with_status(status: bytes) -> bytes:
    return b"HTTP/1.1 " + status


LARGE = response(b"A: " + b"b" * 65536)
NO_CONTENT = [
    (GET, b"204 No Content", ()),
    (GET, b"304 Not Modified", (CL,)),
    (HEAD, b"200 OK", (CL,)),
    (HEAD, b"500 Oh", (CL,)),
]

ROWS: dict[str, list[Case]] = {
    "HEAD, 204, 304": [
        *(
            Case(response(CL, line=with_status(status), body=b"hello"), passed(*kept, line=with_status(status)), request)
            for request, status, kept in NO_CONTENT
        ),
        *(
            Case(response(TE, line=with_status(status), body=chunk(b"hello") + END), passed(line=with_status(status)), request)
            for request, status, _ in NO_CONTENT
        ),
    ],
    "response": [
        Case(response(CL, CL, body=b"hello"), passed(CL, body=b"hello")),
        Case(response(b"content-length: 05", CL, body=b"hello there"), passed(CL, body=b"hello")),
        Case(response(TE, body=b"5;x\r\nhello\r\n0\r\nA: b\r\n\r\nmore"), passed(TE, body=chunk(b"hello") + END)),
        Case(response(TE, body=b"5\r\nhello\r\n" + END), passed(body=b"hello"), OLD),
        Case(response(line=b"HTTP/1.0 200 OK", body=b"hello"), passed(body=b"hello"), closes=True),
        Case(response(b"A: b", b" c", b"\td", b"E : f", CL, body=b"hello"), passed(b"A: b c d", b"E: f", CL, body=b"hello")),
        Case(response(b"Keep-Alive: 5", b"Connection: A", b"A: b", b"Upgrade: h2c", b"C: \xff", CL, body=b"hello"),
             passed(b"C: \xff", CL, body=b"hello")),
        *(bad(*fields) for fields in (
            (CL, TE), (TE, CL), (CL, b"Content-Length: 6"), (b"Content-Length: 5, 5",), (b"Content-Length: +5",), (b"Content-Length:",),
            (b"Content-Length: " + b"1" * 19,), (b"Transfer-Encoding: gzip",), (b"Transfer-Encoding: gzip, chunked",), (TE, TE),
            (b"Transfer-Encoding: \x0bchunked",), (b"A",), (b": b",), (b"A b: c",), (b"A(: b",), (b"A: b\x00",), (b"A: b\rSet-Cookie: c",),
            (b"A: b\nSet-Cookie: c",), (b"A: \x7f",), (b"Content-Length: 1", b" 0"),
        )),
        *(bad(CL, line=line) for line in (
            b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1 099 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1200 OK",
            b"HTTP/2.0 200 OK", b"HTTP/1.2 200 OK", b"http/1.1 200 OK", b"ICY 200 OK", b" HTTP/1.1 200 OK", b"HTTP/1.1 200 \x07", b"HTTP/1.1",
            b"HTTP/1.1 +20 OK", b"",
        )),
        bad(TE, line=b"HTTP/1.0 200 OK"), Case(b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n", BAD), Case(b"HTTP/1.1 200 OK\nA: b\n\n", BAD),
        Case(LARGE, BAD, ways=[[LARGE], [LARGE[:9], LARGE[9:]], [LARGE[at : at + 99] for at in range(0, len(LARGE), 99)]]),
    ],
}  # fmt: skip
SEVERAL = [pytest.param(case, id=f"{row}-{number}") for row, cases in ROWS.items() for number, case in enumerate(cases)]


def exchange(lb: MemoryBalancer, case: Case, pieces: list[bytes]) -> tuple[bytes, bool]:
    """What the client receives when its node sends ``pieces``, and whether it was reset."""
    client = lb.client(case.request)
    node = lb.node()
    for piece in pieces:
        node.send(piece)
        lb.pump()
    if case.closes:
        node.close()
    lb.pump()
    assert case.closes or node.was_reset
    client.close()
    lb.pump()
    return bytes(client.received), client.was_reset


def in_one_chunk(received: bytes) -> bytes:
    """A response whose chunks, which depend on the pieces it came in, are made one."""
    start, end, body = received.partition(b"\r\n\r\n")
    if TE not in start or not body:
        return received
    reader = ChunkedReader()
    payload = reader.feed(body)
    return start + end + (chunk(payload) if payload else b"") + (END + reader.rest if reader.done else b"")


@pytest.mark.parametrize("case", SEVERAL)
def test_a_row_of_responses(case: Case) -> None:
    """The client sees exactly one response, written anew, or a 502."""
    lb = http()
    for pieces in case.ways or every_way(case.sent):
        received, was_reset = exchange(lb, case, pieces)
        assert not was_reset
        if isinstance(case.expected, bytes):
            assert in_one_chunk(received) == case.expected
        else:
            assert status_of(received) == BAD
            assert received.count(b"HTTP/") == 1
    lb.check_at_rest()
    refusals = sum(lb.live.counters.refused_by_rule.values())
    assert refusals == (lb.live.counters.total if case.expected == BAD else 0)
    assert lb.outcomes == {
        "server_error" if case.expected == BAD or b" 500 " in case.sent else "served": lb.live.counters.total
    }


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize(
    "sent",
    [response(CL, body=b"hello"), response(TE, body=b"5\r\nhello\r\n" + END), response(body=b"hello")],
    ids=["length", "chunked", "until close"],
)
def test_a_response_that_ends_early(sent: bytes, ending: str) -> None:
    """Before its head is whole: 502. After: the client is reset, so that half a body never looks whole."""
    lb = http()
    size = sent.index(b"\r\n\r\n") + 4
    for cut in range(len(sent)):
        client = lb.client(GET)
        lb.node().send(sent[:cut])
        lb.pump()
        getattr(lb.node(), ending)()
        lb.pump()
        if cut < size:
            assert status_of(client.received) == BAD
        elif CL not in sent and TE not in sent and ending == "close":
            assert client.received.endswith(sent[size:cut])
            assert not client.was_reset
        else:
            assert client.was_reset
        client.close()
        lb.pump()
    lb.check_at_rest()


def test_a_response_without_date() -> None:
    lb = http()
    for pieces in every_way(OK):
        received, _ = exchange(lb, Case(OK, 200), pieces)
        assert received.count(b"\r\nDate: ") == 1


@pytest.mark.parametrize(
    "sent", [GET, post(b"hello"), b"POST / HTTP/1.1\r\nHost: a\r\n" + TE + b"\r\n\r\n5\r\nhello\r\n" + END]
)
def test_a_client_that_half_closes(sent: bytes) -> None:
    """After its request it is still served, before its end it is not."""
    lb = http()
    for pieces in every_way(sent):
        for cut in {0, len(pieces) - 1, len(pieces)}:
            client = lb.client()
            for piece in pieces[:cut]:
                client.send(piece)
                lb.pump()
            client.half_close()
            lb.pump()
            if cut == len(pieces):
                lb.node().send(OK)
                lb.pump()
                assert body_of(client.received) == b"hello"
            else:
                assert not client.received
            client.close()
            lb.pump()
    lb.check_at_rest()


INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def test_an_interim_response() -> None:
    """Passed on without a framing of its own, but not to a client of HTTP/1.0."""
    lb = http()
    final = response(CL, body=b"hello")
    sent = (
        INTERIM.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\nConnection: close\r\n\r\n")
        + b"HTTP/1.1 100 Continue\r\n\r\n"
        + final
    )
    for pieces in every_way(sent):
        expected = passed(CL, body=b"hello")
        assert exchange(lb, Case(sent, 200), pieces)[0] == INTERIM + b"HTTP/1.1 100 Continue\r\n\r\n" + expected
        assert exchange(lb, Case(sent, 200, OLD), pieces)[0] == expected
    for pieces in every_way(INTERIM * 9 + final):
        received = exchange(lb, Case(final, BAD), pieces)[0]
        assert received.startswith(INTERIM * 8 + b"HTTP/1.1 502 ")
    for pieces in every_way(SWITCHING):
        assert status_of(exchange(lb, Case(SWITCHING, BAD), pieces)[0]) == BAD
    lb.check_at_rest()


EXPECTS = post(b"", 5, b"Expect: 100-Continue\r\n")


def test_an_expectation() -> None:
    """Of 100 it is the node's to meet or not; of anything else it is refused."""
    lb = http()
    for pieces in every_way(EXPECTS):
        for early in (False, True):
            client = lb.client()
            for piece in pieces:
                client.send(piece)
                lb.pump()
            node = lb.node()
            assert b"\r\nExpect: 100-continue\r\n" in node.received
            if not early:
                node.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                lb.pump()
                assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
                client.send(b"hello")
                lb.pump()
                assert body_of(node.received) == b"hello"
            node.send(OK)
            lb.pump()
            assert client.received.endswith(b"hello")
            assert client.ended
            client.close()
            lb.pump()
    lb.check_at_rest()
    for value in (b"200-ok", b"100-continue, 200-ok", b"", b"100-continue;q=1"):
        sent = EXPECTS.replace(b"100-Continue", value)
        for pieces in every_way(sent):
            client = lb.client()
            count = len(lb.accepted[0])
            for piece in pieces:
                client.send(piece)
                lb.pump()
            assert status_of(client.received) == 417
            assert len(lb.accepted[0]) == count
            client.close()
            lb.pump()


def started(lb: MemoryBalancer, pieces: list[bytes]) -> Any:
    client = lb.client()
    for piece in pieces:
        client.send(piece)
        lb.pump()
    return client


def test_an_upgrade() -> None:
    """Offered to a node where the config and the request allow it, and a tunnel only after a 101 that matches."""
    lb = http()
    for pieces in every_way(UPGRADE):
        client = started(lb, pieces)
        node = lb.node()
        assert node.received.endswith(b"\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        node.send(SWITCHING)
        lb.pump()
        assert client.received == SWITCHING
        client.send(b"ping")
        node.send(b"pong")
        lb.pump()
        assert (body_of(client.received), body_of(node.received)) == (b"pong", b"ping")
        client.close()
        node.close()
        lb.pump()
    for pieces in every_way(SWITCHING):
        client = started(lb, [UPGRADE])
        for piece in pieces:
            lb.node().send(piece)
            lb.pump()
        assert client.received == SWITCHING
        client.close()
        lb.node().close()
        lb.pump()
    lb.check_at_rest()


@pytest.mark.parametrize(
    ("request_", "upgrades"),
    [
        (UPGRADE, ()),
        (UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"), (Upgrade.WEBSOCKET,)),
        (UPGRADE.replace(b"websocket", b"h2c"), (Upgrade.WEBSOCKET,)),
        (UPGRADE.replace(b"websocket", b"websocket, h2c"), (Upgrade.WEBSOCKET,)),
        (UPGRADE.replace(b"Connection: upgrade", b"Connection: close"), (Upgrade.WEBSOCKET,)),
        (UPGRADE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"), (Upgrade.WEBSOCKET,)),
        (UPGRADE.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n" + END), (Upgrade.WEBSOCKET,)),
    ],
    ids=["no upgrades", "HTTP/1.0", "another", "two", "not in Connection", "with a body", "with chunks"],
)
def test_an_upgrade_that_is_not_offered(request_: bytes, upgrades: tuple[Upgrade, ...]) -> None:
    """A node that switches all the same is broken, and gets no tunnel."""
    lb = http(upgrades=upgrades)
    for pieces in every_way(request_):
        client = started(lb, pieces)
        node = lb.node()
        assert b"pgrade" not in node.received
        node.send(SWITCHING)
        lb.pump()
        assert status_of(client.received) == BAD
        client.close()
        lb.pump()
    lb.check_at_rest()


def test_bytes_ahead_of_a_101() -> None:
    """Kept, and passed on if there is a tunnel; nothing of them reaches a node before."""
    lb = http()
    for pieces in every_way(UPGRADE + b"ahead"):
        for switches in (True, False):
            client = started(lb, pieces)
            node = lb.node()
            assert body_of(node.received) == b""
            node.send(SWITCHING if switches else OK)
            lb.pump()
            assert body_of(node.received) == (b"ahead" if switches else b"")
            client.close()
            node.close()
            lb.pump()
    lb.check_at_rest()


@pytest.mark.parametrize(("length", "refused"), [(16384, False), (16385, True)])
def test_not_more_bytes_ahead_of_a_101_than_are_kept(length: int, refused: bool) -> None:
    lb = http()
    client = started(lb, [UPGRADE + b"x" * length])
    if refused:
        assert status_of(client.received) == 400
        assert lb.accepted[0] == []
    else:
        lb.node().send(SWITCHING)
        lb.pump()
        assert body_of(lb.node().received) == b"x" * length
