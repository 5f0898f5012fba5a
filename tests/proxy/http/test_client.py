"""The life of an HTTP exchange as a whole, in the memory network under one clock."""

from __future__ import annotations

from typing import Any

import pytest

from nodebalancer.testing.balancers import NODES
from nodebalancer.testing.exchanges import GET, OK, body_of, http, post


@pytest.mark.parametrize("pieces", [None, 1, [3, 1, 7]])
def test_a_request_and_its_response(pieces: Any) -> None:
    """One request, one response, closed on both sides, whatever the pieces they arrive in (R7, R8, R9)."""
    lb = http(pieces=pieces)
    client = lb.client(GET)
    node = lb.node()
    lines = bytes(node.received).split(b"\r\n")
    assert lines[0] == b"GET /a?b HTTP/1.1"
    assert b"Host: shop.example" in lines
    assert b"X-Forwarded-For: 198.51.100.1" in lines
    assert b"X-Forwarded-Proto: http" in lines
    assert b"Connection: close" in lines
    node.send(OK)
    lb.pump()
    assert client.received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in client.received
    assert body_of(client.received) == b"hello"
    assert client.ended
    assert not client.was_reset
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()
    assert lb.live.counters.bytes_in == len(GET)
    assert lb.live.counters.bytes_out == len(client.received)


@pytest.mark.parametrize("when", ["reading", "dialling", "uploading", "waiting", "responding", "early"])
def test_a_client_that_resets_is_gone_at_any_time(when: str) -> None:
    lb = http()
    if when == "dialling":
        lb.network.slow(NODES[0], 1)
    sent = {"reading": b"GET", "uploading": post(b"a", 9), "early": post(b"a", 9)}.get(when, GET)
    client = lb.client(sent)
    if when in ("responding", "early"):
        lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        lb.pump()
    client.reset()
    lb.advance(2)
    assert lb.outcomes == {"client_left": 1}
    assert all(node.was_reset for node in lb.accepted[0])
    lb.check_at_rest()


def test_a_client_that_half_closes_after_its_request_is_still_served() -> None:
    """RFC 9112 9.6: end of file after the request only says that no other will come."""
    lb = http()
    client = lb.client(GET)
    client.half_close()
    lb.pump()
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    lb.pump()
    lb.node().send(b"llo")
    lb.pump()
    assert body_of(client.received) == b"hello"
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("when", ["reading", "dialling", "uploading", "waiting", "responding", "lingering", "closing"])
def test_a_stop_ends_every_state(when: str) -> None:
    lb = http()
    if when == "dialling":
        lb.network.slow(NODES[0], 1)
    sent = {"reading": b"GET", "uploading": post(b"a", 9), "lingering": b"BAD\r\n"}.get(when, GET)
    client = lb.client(sent)
    if when == "closing":
        client.reading = False
        lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 65480\r\n\r\n" + b"x" * 65_480)
        lb.pump()
    if when == "responding":
        lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        lb.pump()
    assert lb.live.connections
    lb.listeners.stop(0)
    lb.pump()
    assert client.was_reset
    assert lb.outcomes == {"stopped": 1}
    lb.check_at_rest()
