"""Responses on their way to a client."""

from __future__ import annotations

from typing import Any

import pytest

from nodebalancer.testing.exchanges import CHUNKED, GET, OK, SWITCHING, UPGRADE, body_of, http, post, status_of


def test_the_node_is_reset_after_a_complete_response() -> None:
    """The balancer gathers no source ports in TIME_WAIT: the node's connection is reset, not closed."""
    lb = http()
    lb.client(GET)
    lb.node().send(OK)
    lb.pump()
    assert lb.node().was_reset


def test_a_node_that_closed_already_is_not_reset() -> None:
    lb = http()
    client = lb.client(GET)
    lb.node().send(b"HTTP/1.1 200 OK\r\n\r\nuntil close")
    lb.node().close()
    lb.pump()
    assert body_of(client.received) == b"until close"
    assert client.ended
    assert not lb.node().was_reset
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("pieces", [None, 1, [1000, 1]])
def test_a_body_with_a_length_streams_down(pieces: Any) -> None:
    lb = http(pieces=pieces)
    client = lb.client(GET)
    body = bytes(range(256)) * 10
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:9])
    lb.pump()
    lb.node().send(body[9:])
    lb.pump()
    assert body_of(client.received) == body
    assert client.ended
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("pieces", [None, 1, [1000, 1]])
def test_a_chunked_body_streams_down(pieces: Any) -> None:
    lb = http(pieces=pieces)
    client = lb.client(GET)
    lb.node().send(CHUNKED + b"5\r\nhello\r\n")
    lb.pump()
    lb.node().send(b"6;x\r\n world\r\n0\r\n\r\n")
    lb.pump()
    assert b"Transfer-Encoding: chunked" in client.received
    assert body_of(client.received).endswith(b"0\r\n\r\n")
    assert client.ended
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


def test_an_http10_client_gets_a_chunked_body_without_chunks() -> None:
    """HTTP/1.0 knows no chunks: the end of file ends the body."""
    lb = http()
    client = lb.client(b"GET / HTTP/1.0\r\n\r\n")
    assert lb.node().received.startswith(b"GET / HTTP/1.0\r\n")
    lb.node().send(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
    lb.pump()
    assert b"chunked" not in client.received
    assert body_of(client.received) == b"hello"
    assert client.ended
    lb.check_at_rest()


@pytest.mark.parametrize(
    ("request_line", "status"), [(b"HEAD", b"200 OK"), (b"GET", b"204 No Content"), (b"GET", b"304 Not Modified")]
)
def test_responses_without_a_body_end_with_their_head(request_line: bytes, status: bytes) -> None:
    lb = http()
    client = lb.client(request_line + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    lb.node().send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
    lb.pump()
    assert body_of(client.received) == b""
    assert client.ended
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("framing", [b"Content-Length: 10000000\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_a_client_that_does_not_read_stops_its_node(framing: bytes) -> None:
    """Back-pressure: a slow client costs bounded memory whatever the framing of the response."""
    lb = http()
    client = lb.client(GET)
    client.reading = False
    node = lb.node()
    body = b"z" * 10_000_000
    if b"chunked" in framing:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    node.send(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + body)
    node.half_close()
    lb.pump()
    assert node.unsent > 9_500_000
    client.reading = True
    lb.pump()
    assert len(client.received) > 10_000_000
    assert client.ended
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 O", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nbad\r\n\r\n"])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("request_", [GET, post(b"a", 9)])
def test_a_node_without_a_response_is_a_502(sent: bytes, reset: bool, request_: bytes) -> None:
    """Closed or garbled before a whole response head: the client is told so."""
    lb = http()
    client = lb.client(request_)
    lb.node().send(sent)
    lb.pump()
    if reset:
        lb.node().reset()
    else:
        lb.node().close()
    lb.pump()
    assert status_of(client.received) == 502
    assert b"Proxy-Status: nodebalancer; error=" in client.received
    client.close()
    lb.pump()
    assert lb.outcomes == {"server_error": 1}
    lb.check_at_rest()


@pytest.mark.parametrize(
    "begun",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        CHUNKED + b"5\r\nhel",
        CHUNKED + b"5\r\nhello\r\n",
    ],
)
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("request_", [GET, post(b"a", 9)])
def test_a_response_that_breaks_off_resets_the_client(begun: bytes, reset: bool, request_: bytes) -> None:
    """Half a body never looks whole."""
    lb = http()
    client = lb.client(request_)
    lb.node().send(begun)
    lb.pump()
    if reset:
        lb.node().reset()
    else:
        lb.node().close()
    lb.pump()
    assert client.was_reset
    assert lb.outcomes == {"cut_short": 1}
    lb.check_at_rest()


def test_a_response_until_close_that_is_reset_resets_the_client() -> None:
    lb = http()
    client = lb.client(GET)
    lb.node().send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
    lb.pump()
    lb.node().reset()
    lb.pump()
    assert client.was_reset
    assert lb.outcomes == {"cut_short": 1}


def test_a_chunked_response_that_is_garbled_resets_the_client() -> None:
    lb = http()
    client = lb.client(GET)
    lb.node().send(CHUNKED + b"5\r\nhello\r\nwhat?\r\n")
    lb.pump()
    assert client.was_reset
    assert lb.outcomes == {"cut_short": 1}
    lb.check_at_rest()


@pytest.mark.parametrize(("status", "outcome"), [(500, "server_error"), (503, "server_error"), (501, "served")])
def test_errors_of_a_node_are_passed_on_and_counted(status: int, outcome: str) -> None:
    lb = http()
    client = lb.client(GET)
    lb.node().send(b"HTTP/1.1 %d Oh\r\nContent-Length: 2\r\n\r\nno" % status)
    lb.pump()
    assert status_of(client.received) == status
    assert body_of(client.received) == b"no"
    assert lb.outcomes == {outcome: 1}


@pytest.mark.parametrize("client_seconds", [5, 300])
def test_a_silent_node_is_a_504(client_seconds: int) -> None:
    lb = http(timeout_server=20, timeout_client=client_seconds, timeout_request=client_seconds)
    client = lb.client(GET)
    lb.advance(19)
    assert not client.received
    lb.advance(3)
    assert status_of(client.received) == 504
    assert lb.node().was_reset
    lb.advance(5)
    assert lb.outcomes == {"timed_out": 1}
    lb.check_at_rest()


def test_a_node_silent_for_timeout_server_in_its_response_is_timed_out() -> None:
    lb = http(timeout_server=20)
    client = lb.client(GET)
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhe")
    lb.advance(15)
    lb.node().send(b"l")
    lb.advance(15)
    assert not client.was_reset
    lb.advance(8)
    assert client.was_reset
    assert lb.outcomes == {"timed_out": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("server", [5, 300])
def test_a_client_that_stops_reading_is_reset_after_timeout_client(server: int) -> None:
    lb = http(timeout_client=20, timeout_server=server)
    client = lb.client(GET)
    client.reading = False
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    lb.advance(19)
    assert lb.outcomes == {}
    lb.advance(8)
    assert lb.outcomes == {"client_timed_out": 1}
    assert lb.node().was_reset
    lb.check_at_rest()


@pytest.mark.parametrize("chunked", [False, True])
def test_an_early_answer_is_passed_on_and_the_rest_of_the_request_not_awaited(chunked: bool) -> None:
    """413 while the upload goes on: the client gets it whole."""
    lb = http()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    client = lb.client(head if chunked else post(b"a", 900))
    lb.node().send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    lb.pump()
    assert status_of(client.received) == 413
    assert client.ended
    client.send(b"b" * 100)
    lb.pump()
    assert not client.was_reset
    client.close()
    lb.pump()
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("down", [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"])
def test_both_bodies_may_be_under_way_at_once(chunked: bool, down: bytes) -> None:
    """A node that answers while it still reads (an echo, a progress report) is served both ways."""
    lb = http()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    client = lb.client(head if chunked else post(b"a", 9))
    node = lb.node()
    node.send(b"HTTP/1.1 200 OK\r\n" + down + b"x" * 50)
    lb.pump()
    client.send(b"5\r\nhello\r\n0\r\n\r\n" if chunked else b"bcdefghi")
    lb.pump()
    assert bytes(node.received).endswith(b"5\r\nhello\r\n0\r\n\r\n" if chunked else b"abcdefghi")
    node.send(b"x" * 50 + (b"\r\n0\r\n\r\n" if b"chunked" in down else b""))
    lb.pump()
    assert client.received.count(b"x") >= 100
    assert client.ended
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


def test_interim_responses_are_passed_on() -> None:
    """100 Continue and 103 Early Hints reach the client before the final response."""
    lb = http()
    client = lb.client(post(b"", 3, b"Expect: 100-continue\r\n"))
    node = lb.node()
    assert b"Expect: 100-continue" in node.received
    node.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    lb.pump()
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"abc")
    lb.pump()
    node.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    lb.pump()
    assert b"103 Early Hints" in client.received
    assert client.received.endswith(b"hello")
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


def test_an_http10_client_gets_no_interim_response() -> None:
    lb = http()
    client = lb.client(b"GET / HTTP/1.0\r\n\r\n")
    lb.node().send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK)
    lb.pump()
    assert status_of(client.received) == 200


def test_endless_interim_responses_are_a_502() -> None:
    lb = http()
    client = lb.client(GET)
    lb.node().send(b"HTTP/1.1 102 Processing\r\n\r\n" * 9)
    lb.pump()
    assert client.received.count(b" 102 ") == 8
    assert b"HTTP/1.1 502 " in client.received
    client.close()
    lb.pump()
    lb.check_at_rest()


def test_a_websocket_becomes_a_tunnel() -> None:
    """After a 101 that was asked for, bytes go both ways; what the client sent ahead comes first."""
    lb = http(timeout_tunnel=100)
    client = lb.client(UPGRADE + b"ahead ")
    node = lb.node()
    assert b"Upgrade: websocket" in node.received
    assert b"ahead" not in node.received
    node.send(SWITCHING + b"welcome ")
    lb.pump()
    client.send(b"and more")
    node.send(b"to you")
    lb.pump()
    assert body_of(client.received) == b"welcome to you"
    assert body_of(node.received) == b"ahead and more"
    lb.advance(99)
    client.half_close()
    lb.pump()
    node.close()
    lb.pump()
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


def test_an_upgrade_that_the_node_declines_is_an_ordinary_response() -> None:
    lb = http()
    client = lb.client(UPGRADE + b"ahead")
    lb.node().send(OK)
    lb.pump()
    assert body_of(client.received) == b"hello"
    assert b"ahead" not in lb.node().received
    client.close()
    lb.pump()
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (GET, SWITCHING),
        (UPGRADE, SWITCHING.replace(b"websocket", b"h2c")),
        (UPGRADE.replace(b"websocket", b"h2c"), SWITCHING.replace(b"websocket", b"h2c")),
        (UPGRADE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\na"), SWITCHING),
    ],
)
def test_a_101_nobody_asked_for_is_a_502(request_: bytes, response: bytes) -> None:
    """No tunnel past the balancer by a trick of client or node."""
    lb = http()
    client = lb.client(request_)
    lb.node().send(response + b"secret")
    lb.pump()
    assert status_of(client.received) == 502
    assert b"secret" not in client.received
    client.close()
    lb.pump()
    lb.check_at_rest()


def test_a_websocket_whose_client_waits_for_the_101() -> None:
    lb = http()
    client = lb.client(UPGRADE)
    lb.node().send(SWITCHING)
    lb.pump()
    client.send(b"hello")
    lb.pump()
    assert lb.node().received.endswith(b"hello")


def test_a_node_that_reports_progress_is_given_more_time() -> None:
    """An interim response is a sign of life."""
    lb = http(timeout_server=20)
    client = lb.client(GET)
    lb.advance(15)
    lb.node().send(b"HTTP/1.1 102 Processing\r\n\r\n")
    lb.advance(15)
    assert b" 504 " not in client.received
    lb.advance(8)
    assert b" 504 " in client.received
