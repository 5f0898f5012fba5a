"""The exchanges that tests use are what they are called."""

from __future__ import annotations

from nodebalancer.testing.exchanges import GET, OK, SWITCHING, UPGRADE, body_of, every_way, http, post, status_of
from nodebalancer.wire.http1.head import parse_request, parse_response


def test_the_requests_are_good_ones() -> None:
    for request in (GET, UPGRADE, post(b"abc"), post(b"a", 9, b"Expect: 100-continue\r\n")):
        head = parse_request(request)
        assert head is not None
        assert head.size <= len(request)


def test_the_responses_are_good_ones() -> None:
    for response, status in ((OK, 200), (SWITCHING, 101)):
        head = parse_response(response, b"GET")
        assert head is not None
        assert head.status == status == status_of(response)
    assert body_of(OK) == b"hello"


def test_a_whole_exchange() -> None:
    lb = http()
    client = lb.client(GET)
    lb.node().send(OK)
    lb.pump()
    assert status_of(client.received) == 200
    assert body_of(client.received) == b"hello"


def test_every_way_has_every_cut() -> None:
    assert list(every_way(b"abc")) == [[b"abc"], [b"a", b"b", b"c"], [b"a", b"bc"], [b"ab", b"c"]]
