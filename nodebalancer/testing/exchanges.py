"""Requests, responses and a balancer for tests of HTTP exchanges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nodebalancer.model import Protocol
from nodebalancer.testing.balancers import MemoryBalancer

GET = b"GET /a?b HTTP/1.1\r\nHost: shop.example\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def http(nodes: int = 1, **fields: Any) -> MemoryBalancer:
    """A balancer that speaks HTTP; for the rest see ``MemoryBalancer``."""
    return MemoryBalancer(Protocol.HTTP, nodes, **fields)


def post(body: bytes = b"", length: int | None = None, more: bytes = b"") -> bytes:
    """A POST with ``body``, whose Content-Length is ``length`` if given, and with ``more`` field lines."""
    length = len(body) if length is None else length
    return b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: %d\r\n\r\n%b" % (more, length, body)


def body_of(received: bytes | bytearray) -> bytes:
    """What follows the first head."""
    return bytes(received).partition(b"\r\n\r\n")[2]


def status_of(received: bytes | bytearray) -> int:
    """The status of the response that ``received`` begins with."""
    return int(bytes(received).split(b" ", 2)[1])


def every_way(data: bytes) -> Iterator[list[bytes]]:
    """``data`` whole, byte by byte, and cut in two at every point."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for cut in range(1, len(data)):
        yield [data[:cut], data[cut:]]
