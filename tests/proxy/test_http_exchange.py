"""How exchanges end: lingering and closing."""

from __future__ import annotations

import pytest

from nodebalancer.testing.exchanges import GET, OK, body_of, http, status_of


@pytest.mark.parametrize("late", [False, True])
def test_what_follows_a_request_is_never_forwarded(late: bool) -> None:
    """A second request on the connection reaches no node, and does not cost the first one its answer."""
    lb = http()
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    client = lb.client(GET if late else GET + smuggled)
    if late:
        client.send(smuggled)
        lb.pump()
    lb.node().send(OK)
    lb.pump()
    assert b"smuggled" not in lb.node().received
    assert body_of(client.received) == b"hello"
    assert client.ended
    assert not client.was_reset
    client.close()
    lb.pump()
    assert lb.outcomes == {"served": 1}
    assert len(lb.accepted[0]) == 1
    lb.check_at_rest()


def test_what_follows_while_the_response_comes_is_not_read_on() -> None:
    lb = http()
    client = lb.client(GET)
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    lb.pump()
    client.send(b"more " * 50_000)
    lb.pump()
    assert client.unsent > 0
    lb.node().send(b"llo")
    lb.pump()
    assert body_of(client.received) == b"hello"
    lb.advance(5)
    lb.check_at_rest()


def test_a_client_that_goes_on_sending_after_its_answer_is_reset() -> None:
    """Lingering is bounded in bytes."""
    lb = http()
    client = lb.client(b"BAD\r\n")
    assert status_of(client.received) == 400
    client.send(b"x" * 200_000)
    lb.pump()
    assert client.was_reset
    lb.check_at_rest()


def test_a_client_that_neither_sends_nor_closes_after_its_answer_is_reset() -> None:
    """Lingering is bounded in time."""
    lb = http()
    client = lb.client(b"BAD\r\n")
    lb.advance(4)
    assert client.was_reset
    lb.check_at_rest()


def test_a_client_that_trickles_after_its_answer_is_reset() -> None:
    """Lingering is bounded in time even for one that sends a byte now and then."""
    lb = http(timeout_client=10)
    client = lb.client(b"BAD\r\n")
    for _ in range(9):
        client.send(b"x")
        lb.advance(1)
    assert not client.was_reset
    for _ in range(5):
        client.send(b"x")
        lb.advance(1)
    assert client.was_reset
    lb.check_at_rest()


def test_a_client_that_does_not_take_the_end_of_its_response_is_reset() -> None:
    lb = http(timeout_client=20)
    client = lb.client(GET)
    client.reading = False
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 65480\r\n\r\n" + b"x" * 65_480)
    lb.advance(60)
    assert lb.outcomes == {"client_timed_out": 1}
    lb.check_at_rest()
