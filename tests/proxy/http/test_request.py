"""Requests on their way to a node."""

from __future__ import annotations

from typing import Any

import pytest

from nodebalancer.testing.balancers import NODES
from nodebalancer.testing.exchanges import GET, OK, body_of, http, post, status_of


@pytest.mark.parametrize("pieces", [None, 1, [1000, 1]])
def test_a_body_with_a_length_streams_up(pieces: Any) -> None:
    lb = http(pieces=pieces)
    body = bytes(range(256)) * 10
    client = lb.client(post(body[:10], len(body)))
    client.send(body[10:])
    lb.pump()
    assert body_of(lb.node().received) == body
    lb.node().send(OK)
    lb.pump()
    assert body_of(client.received) == b"hello"
    assert lb.outcomes == {"served": 1}
    assert lb.live.counters.bytes_in == len(post(body))
    lb.check_at_rest()


@pytest.mark.parametrize("pieces", [None, 1, [1000, 1]])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_chunked_body_streams_up(pieces: Any, at_once: bool) -> None:
    lb = http(pieces=pieces)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"5;ext=1\r\nhello\r\n" + b"6\r\n world\r\n" + b"0\r\nTrailer: x\r\n\r\n"
    client = lb.client(head + body if at_once else head)
    if not at_once:
        client.send(body)
        lb.pump()
    node = lb.node()
    node.send(OK)
    lb.pump()
    assert body_of(client.received) == b"hello"
    sent = body_of(node.received)
    assert b"ext" not in sent
    assert b"Trailer" not in sent
    assert sent.endswith(b"0\r\n\r\n")
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_node_that_does_not_read_stops_its_client(chunked: bool) -> None:
    lb = http()
    body = b"z" * 10_000_000
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    client = lb.client(head if chunked else post(b"", len(body)))
    lb.node().reading = False
    client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
    lb.pump()
    assert client.unsent > 9_000_000
    lb.node().reading = True
    lb.pump()
    assert len(lb.node().received) > 10_000_000


def test_a_node_that_refuses_is_passed_over() -> None:
    """A dead node is not seen by clients while another one lives."""
    lb = http(2)
    lb.network.kill(NODES[0])
    clients = [lb.client(GET) for _ in range(2)]
    for node in lb.accepted[1]:
        node.send(OK)
    lb.pump()
    assert [status_of(client.received) for client in clients] == [200, 200]
    assert lb.outcomes == {"served": 2}
    lb.check_at_rest()


def test_no_node_reachable_is_the_plain_503() -> None:
    """R17: neither a refused connection nor a hang."""
    lb = http(2)
    lb.network.kill(NODES[0])
    lb.network.kill(NODES[1])
    client = lb.client(GET)
    assert status_of(client.received) == 503
    assert b"Service Unavailable" in body_of(client.received)
    assert b"Retry-After: " in client.received
    assert client.ended
    client.close()
    lb.pump()
    assert lb.outcomes == {"connect_failed": 1}
    lb.check_at_rest()


def test_a_config_without_nodes_is_the_plain_503() -> None:
    lb = http(0)
    client = lb.client(post(b"abc"))
    assert status_of(client.received) == 503
    client.close()
    lb.pump()
    assert lb.outcomes == {"no_node": 1}
    lb.check_at_rest()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"b" * 20000, 431),
        (b"GET /" + b"a" * 9000, 414),
        (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nwhat?\r\n", 400),
    ],
)
def test_a_bad_request_is_answered_and_reaches_no_node(sent: bytes, status: int) -> None:
    lb = http()
    client = lb.client(sent)
    assert status_of(client.received) == status
    assert lb.accepted[0] == []
    assert client.ended
    client.close()
    lb.pump()
    assert lb.outcomes == {"client_error": 1}
    assert sum(lb.live.counters.refused_by_rule.values()) == 1
    lb.check_at_rest()


def test_a_chunked_request_that_is_garbled_later_is_answered_and_the_node_reset() -> None:
    """The node must not take half a request for a whole one."""
    lb = http()
    client = lb.client(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    client.send(b"what?\r\n")
    lb.pump()
    assert status_of(client.received) == 400
    assert lb.node().was_reset
    client.close()
    lb.pump()
    assert lb.outcomes == {"client_error": 1}
    lb.check_at_rest()


def test_a_chunked_request_that_is_garbled_during_its_response_is_reset() -> None:
    lb = http()
    client = lb.client(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    lb.pump()
    client.send(b"what?\r\n")
    lb.pump()
    assert client.was_reset
    assert lb.outcomes == {"client_error": 1}
    lb.check_at_rest()


def test_a_slow_head_is_a_408_however_slowly_it_trickles() -> None:
    """timeout_request is absolute: bytes now and then do not extend it."""
    lb = http(timeout_request=10)
    client = lb.client(b"GET / HTTP/1.1\r\n")
    for _ in range(9):
        client.send(b"A: b\r\n")
        lb.advance(1)
    assert not client.received
    lb.advance(3)
    assert status_of(client.received) == 408
    assert lb.accepted[0] == []
    lb.advance(5)
    assert lb.outcomes == {"client_timed_out": 1}
    lb.check_at_rest()


def test_a_client_that_says_nothing_is_closed_without_a_word() -> None:
    """Browsers connect ahead of need; an answer nobody asked for would be taken for the next one's."""
    lb = http(timeout_request=10)
    client = lb.client()
    lb.advance(12)
    assert client.ended
    assert not client.received
    assert lb.outcomes == {"client_timed_out": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", post(b"ab", 3)])
def test_a_client_that_closes_before_its_request_is_whole_has_left(sent: bytes) -> None:
    lb = http()
    client = lb.client(sent)
    client.close()
    lb.pump()
    assert lb.outcomes == {"client_left": 1}
    lb.check_at_rest()
    assert all(node.was_reset for node in lb.accepted[0])


def test_a_chunked_upload_that_breaks_off_resets_the_node() -> None:
    lb = http()
    client = lb.client(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    client.half_close()
    lb.pump()
    assert lb.node().was_reset
    assert lb.outcomes == {"client_left": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("server", [5, 300])
def test_a_client_that_stops_sending_its_body_is_a_408(chunked: bool, server: int) -> None:
    """Whatever the patience with nodes is."""
    lb = http(timeout_client=20, timeout_server=server)
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    client = lb.client(head if chunked else post(b"a", 9))
    lb.advance(19)
    assert not client.received
    lb.advance(5)
    assert status_of(client.received) == 408
    assert lb.node().was_reset
    lb.advance(5)
    assert lb.outcomes == {"client_timed_out": 1}
    lb.check_at_rest()


def test_a_node_that_stops_reading_a_body_is_a_504() -> None:
    lb = http(timeout_client=5, timeout_server=20)
    client = lb.client(post(b"", 10_000_000))
    lb.node().reading = False
    client.send(b"x" * 10_000_000)
    lb.advance(19)
    assert not client.received
    lb.advance(5)
    assert status_of(client.received) == 504
    lb.advance(5)
    lb.check_at_rest()
    assert lb.outcomes == {"timed_out": 1}


def test_a_dial_may_take_longer_than_the_time_for_the_head() -> None:
    lb = http(timeout_request=2, timeout_connect=30)
    lb.network.slow(NODES[0], 20)
    client = lb.client(GET)
    lb.advance(25)
    lb.node().send(OK)
    lb.pump()
    assert status_of(client.received) == 200
    lb.check_at_rest()


def test_a_client_that_breaks_off_its_upload_during_the_response_is_reset() -> None:
    lb = http()
    client = lb.client(post(b"a", 9))
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    lb.pump()
    client.half_close()
    lb.pump()
    assert client.was_reset
    assert lb.outcomes == {"client_left": 1}
    lb.check_at_rest()


def test_options_with_max_forwards_0_is_answered_by_us() -> None:
    lb = http()
    client = lb.client(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n")
    assert status_of(client.received) == 200
    assert lb.accepted[0] == []
    client.close()
    lb.pump()
    assert lb.outcomes == {"served": 1}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_waits_for_a_100_of_a_silent_node_gets_a_504_and_the_node_is_not_accused(chunked: bool) -> None:
    """Who waits for the 100 is not slow; and a node may take its time for it."""
    lb = http(timeout_server=5, timeout_client=60)
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: 3\r\n"
    client = lb.client(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n" + framing + b"\r\n")
    lb.advance(4)
    assert client.received == b""
    lb.advance(3)
    assert status_of(client.received) == 504
    lb.advance(60)
    assert lb.outcomes == {"timed_out": 1}
    assert lb.told == []


def test_a_client_that_had_its_100_has_to_send() -> None:
    lb = http(timeout_server=60, timeout_client=5)
    client = lb.client(post(b"", 3, b"Expect: 100-continue\r\n"))
    lb.node().send(b"HTTP/1.1 100 Continue\r\n\r\n")
    lb.advance(8)
    assert status_of(client.received.partition(b"\r\n\r\n")[2]) == 408
