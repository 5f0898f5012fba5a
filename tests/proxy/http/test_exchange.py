"""How exchanges end: lingering and closing."""

from __future__ import annotations

import pytest

from nodebalancer.testing.exchanges import GET, OK, body_of, http, post, status_of


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


def test_a_client_in_the_middle_of_an_upload_gets_its_answer() -> None:
    """R17: a large request to a config whose nodes are all gone is read to its end, so that no reset overtakes the 503."""
    lb = http(0)
    client = lb.client(post(b"x" * 5_000_000))
    assert status_of(client.received) == 503
    assert client.unsent == 0
    client.close()
    lb.pump()
    assert not client.was_reset
    assert lb.outcomes == {"no_node": 1}
    lb.check_at_rest()


def test_a_client_that_neither_sends_nor_closes_after_its_answer_is_closed() -> None:
    """Lingering is bounded in time."""
    lb = http()
    lb.client(b"BAD\r\n")
    lb.advance(4)
    assert lb.outcomes == {"client_error": 1}
    lb.check_at_rest()


def test_a_client_that_trickles_after_its_answer_is_reset() -> None:
    """Lingering is bounded in time even for one that sends without end."""
    lb = http(timeout_client=5)
    client = lb.client(b"BAD\r\n")
    for _ in range(29):
        client.send(b"x" * 100_000)
        lb.advance(1)
    assert not client.was_reset
    for _ in range(4):
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


@pytest.mark.parametrize("reads", [True, False])
def test_a_slow_reader_whose_request_was_followed_by_more_gets_its_whole_response(reads: bool) -> None:
    """The end of lingering is no reset of what is still on its way; and is an end all the same."""
    lb = http(timeout_client=20)
    client = lb.client(GET + GET)
    client.reading = False
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 65480\r\n\r\n" + b"x" * 65_480)
    lb.advance(10)
    client.reading = reads
    lb.advance(40)
    lb.check_at_rest()
    if reads:
        assert len(body_of(client.received)) == 65_480
        assert lb.outcomes == {"served": 1}
    else:
        assert lb.outcomes == {"client_timed_out": 1}
