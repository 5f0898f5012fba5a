"""That nobody can make reading a message cost more than its length says."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable

import pytest

from nodebalancer.errors import MessageError
from nodebalancer.model import Underscores
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.http1.body import LAST_CHUNK, ChunkedReader
from nodebalancer.wire.http1.head import RequestHead, parse_request, parse_response

KIB = 1024
RATIO_MAX = 3.0
"""Of the costs of twice the length; linear is 2, quadratic 4."""
ENOUGH = 50e-6
"""Seconds that are too few to be measured well, or to be worth an attack."""
TIMES = 5
FORWARDING = Forwarding(proto=b"http", underscores=Underscores.KEEP, upgrades=frozenset())
LINE, STATUS = b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n"
HOST = b"Host: a\r\n"
REQUEST = RequestHead(b"GET", b"/", b"a", LINE + HOST, 0, 0)


def filled(begin: bytes, unit: bytes, end: bytes, size: int) -> bytes:
    return begin + unit * ((size - len(begin) - len(end)) // len(unit)) + end


REQUESTS: dict[str, tuple[bytes, bytes, bytes]] = {
    "one field": (LINE + HOST + b"A: ", b"b", b"\r\n\r\n"),
    "blanks in a value": (LINE + HOST + b"A: ", b" ", b"b\r\n\r\n"),
    "blanks after a value": (LINE + HOST + b"A: b", b" ", b"\r\n\r\n"),
    "blanks and letters": (LINE + HOST + b"A:", b" b", b"\x01\r\n\r\n"),
    "a name": (LINE + HOST, b"A", b" : b\r\n\r\n"),
    "a name with underscores": (LINE + HOST, b"A_", b": b\r\n\r\n"),
    "commas in Connection": (LINE + HOST + b"Connection: ", b"a,", b"b\r\n\r\n"),
    "blanks in Connection": (LINE + HOST + b"Connection: ", b" ,", b"\r\n\r\n"),
    "digits": (LINE + HOST + b"Content-Length: ", b"0", b"\r\n\r\n"),
    "a Host": (LINE + b"Host: ", b"a", b":\r\n\r\n"),
    "a Host of ports": (LINE + b"Host: ", b"a:", b"\r\n\r\n"),
    "a target": (b"GET /", b"a", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "an absolute target": (b"GET http://", b"a", b"/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a method": (b"", b"A", b" / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "blanks in the request line": (b"GET", b" ", b"/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "short fields": (LINE + HOST, b"A:b\r\n", b"\r\n"),
    "folds": (LINE + HOST + b"A: b\r\n", b" c\r\n", b"\r\n"),
    "bare LF": (LINE + HOST + b"A: b", b"\n", b"\r\n\r\n"),
    "bare CR": (LINE + HOST + b"A: b", b"\r", b"\n\r\n"),
    "no end": (LINE + HOST + b"A: ", b"b", b""),
    "X-Forwarded-For": (LINE + HOST + b"X-Forwarded-For: ", b"1,", b"\r\n\r\n"),
}
RESPONSES: dict[str, tuple[bytes, bytes, bytes]] = {
    "one field": (STATUS + b"A: ", b"b", b"\r\n\r\n"),
    "short fields": (STATUS, b"A: b\r\n", b"\r\n"),
    "untidy fields": (STATUS, b"A : b \r\n", b"\r\n"),
    "folds": (STATUS + b"A: b\r\n", b" c\r\n", b"\r\n"),
    "empty folds": (STATUS + b"A: b\r\n", b" \r\n", b"\r\n"),
    "blanks": (STATUS + b"A:", b" ", b"b\r\n\r\n"),
    "blanks before a colon": (STATUS + b"A", b" ", b": b\r\n\r\n"),
    "a reason": (b"HTTP/1.1 200 ", b"O ", b"\r\n\r\n"),
    "Connection": (STATUS + b"Connection: ", b"a,", b"b\r\n\r\n"),
    "fields that Connection names": (STATUS + b"Connection: a\r\n", b"a: b\r\n", b"\r\n"),
    "lengths": (STATUS, b"Content-Length: 5\r\n", b"\r\n"),
    "dates": (STATUS, b"Date : x\r\n", b"\r\n"),
    "no end": (STATUS, b"A: b\r\n", b""),
}
BODIES: dict[str, tuple[bytes, bytes, bytes]] = {
    "small chunks": (b"", b"1\r\nx\r\n", LAST_CHUNK),
    "one chunk": (b"ffff\r\n", b"x", b""),
    "a size": (b"", b"0", b""),
    "an extension": (b"1;a=", b"b", b"\r\nx\r\n"),
    "a quoted extension": (b'1;a="', b"\\\\", b'"\r\nx\r\n'),
    "an open quote": (b'1;a="', b'\\"', b"\r\nx\r\n"),
    "extensions": (b"1", b";a", b"\r\nx\r\n"),
    "blanks in an extension": (b"1", b" ", b"x\r\n"),
    "small extensions": (b"", b"1;a\r\nx\r\n", LAST_CHUNK),
    "trailers": (b"0\r\n", b"A: b\r\n", b"\r\n"),
    "a trailer": (b"0\r\nA: ", b"b", b"\r\n\r\n"),
}


def read_request(data: bytes) -> None:
    head = parse_request(data)
    if head is not None:
        FORWARDING.request(head, "192.0.2.7")


def read_request_the_long_way(data: bytes) -> None:
    """An empty line before it keeps ``usual`` from reading it, which reads none of more than 8 KiB."""
    read_request(b"\r\n" + data)


def read_response(data: bytes) -> None:
    head = parse_response(data, b"GET")
    if head is not None:
        FORWARDING.response(head, REQUEST, lambda: b"now")


def read_body(data: bytes) -> None:
    ChunkedReader().feed(data)


def cost(read: Callable[[bytes], None], data: bytes) -> float:
    """Seconds of work for one reading of ``data``: the least of several, in which no other program was in the way."""
    least = 1.0
    for _ in range(7):
        begin = time.thread_time()
        for _ in range(TIMES):
            with contextlib.suppress(MessageError):
                read(data)
        least = min(least, (time.thread_time() - begin) / TIMES)
    return least


CASES = {
    f"{what}, {name}": (read, parts, kib)
    for what, read, table, kib in (
        ("request", read_request, REQUESTS, 2),
        ("request the long way", read_request_the_long_way, REQUESTS, 4),
        ("response", read_response, RESPONSES, 4),
        ("body", read_body, BODIES, 4),
    )
    for name, parts in table.items()
}


@pytest.mark.parametrize(("read", "parts", "kib"), CASES.values(), ids=CASES)
def test_the_cost_of_a_message_grows_as_its_length(
    read: Callable[[bytes], None], parts: tuple[bytes, bytes, bytes], kib: int
) -> None:
    """At most threefold for twice the length; or it is so little (a twentieth of a millisecond) that it cannot matter."""
    for _ in range(5):  # a busy machine is no fault
        costs = [cost(read, filled(*parts, factor * kib * KIB)) for factor in (1, 2, 4)]
        if all(larger <= max(RATIO_MAX * smaller, ENOUGH) for smaller, larger in itertools.pairwise(costs)):
            return
    pytest.fail(
        "microseconds, each for twice the length of the one before: " + ", ".join(f"{one * 1e6:.0f}" for one in costs)
    )


def in_pieces(read: Callable[[bytes, int], object], data: bytes) -> float:
    """Seconds to look at ``data`` at each of its bytes, as they come one by one."""
    begin = time.thread_time()
    for length in range(1, len(data) + 1):
        read(data[:length], length - 1)
    return time.thread_time() - begin


@pytest.mark.parametrize(
    ("read", "data"),
    [
        (parse_request, filled(LINE + HOST + b"A: ", b"b", b"\r\n", 16 * KIB)),
        (parse_request, filled(LINE + HOST, b"A: " + b"b" * 155 + b"\r\n", b"", 15 * KIB)),
        (lambda data, seen: parse_response(data, b"GET", seen), filled(STATUS + b"A: ", b"b", b"\r\n", 16 * KIB)),
        (lambda data, seen: parse_response(data, b"GET", seen), filled(STATUS, b"A: b\r\n", b"", 16 * KIB)),
    ],
    ids=["request of one field", "request of many", "response of one field", "response of many"],
)
def test_a_head_that_comes_byte_by_byte_costs_a_little_a_byte(
    read: Callable[[bytes, int], object], data: bytes
) -> None:
    """Not all of it again at each byte: about 2 microseconds where that would be 20."""
    assert min(in_pieces(read, data) for _ in range(3)) / len(data) < 10e-6
