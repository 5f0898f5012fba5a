"""A sender or a reader of one byte now and then cannot hold a connection for ever: ``min_rate``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nodebalancer.proxy.http.client import HTTPClient
from nodebalancer.testing.balancers import MemoryBalancer
from nodebalancer.testing.exchanges import CHUNKED, GET, OK, SWITCHING, UPGRADE, body_of, http, post, status_of
from nodebalancer.testing.memory_ends import MemoryPeer

UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = 100_000_000
STREAM = b"HTTP/1.1 200 OK\r\n"
MINUTES = 5

Send = Callable[[MemoryPeer, int], None]


def as_bytes(peer: MemoryPeer, count: int) -> None:
    peer.send(b"x" * count)


def as_chunks(peer: MemoryPeer, count: int) -> None:
    """In chunks of one byte, which are six on their way."""
    peer.send(b"1\r\nx\r\n" * (count // 6))


BODIES = [pytest.param(post(b"", LONG), as_bytes, id="length"), pytest.param(UPLOAD, as_chunks, id="chunked")]


def seconds(lb: MemoryBalancer, count: int, each: Callable[[], object]) -> int:
    """Do something every second, until the connection is closing; how many seconds that were, at most ``count``."""
    for second in range(count):
        if not lb.live.connections or any(one.state is HTTPClient.LINGERING for one in lb.live.connections):
            return second
        each()
        lb.advance(1)
    return count


@pytest.mark.parametrize(("request_", "send"), BODIES)
@pytest.mark.parametrize("rate", [249, 258])
def test_an_upload_has_to_keep_pace(request_: bytes, send: Send, rate: int) -> None:
    """408, a good minute after it began; what keeps pace goes on."""
    lb = http()
    client = lb.client(request_)
    lasted = seconds(lb, 60 * MINUTES, lambda: send(client, rate))
    if rate < 256:
        assert 60 < lasted < 80
        assert status_of(client.received) == 408
        client.close()
        lb.pump()
        assert lb.outcomes == {"client_timed_out": 1}
        assert lb.node().was_reset
        lb.check_at_rest()
    else:
        assert lasted == 60 * MINUTES
        assert not client.received


@pytest.mark.parametrize(("rate", "goes_on"), [(255, False), (257, True)])
def test_the_least_rate_is_exact(rate: int, goes_on: bool) -> None:
    lb = http()
    client = lb.client(post(b"", LONG))
    lasted = seconds(lb, 60 * MINUTES, lambda: as_bytes(client, rate))
    assert (lasted == 60 * MINUTES) is goes_on


def test_pauses_are_nobodys_harm_as_long_as_enough_moves_in_a_minute() -> None:
    lb = http()
    client = lb.client(post(b"", LONG))
    for _ in range(MINUTES):
        as_bytes(client, 20_000)
        lb.advance(55)
    assert lb.live.counters.open == 1


@pytest.mark.parametrize("min_rate", [0, 10])
def test_it_is_a_setting(min_rate: int) -> None:
    lb = http(min_rate=min_rate)
    client = lb.client(post(b"", LONG))
    assert (seconds(lb, 300, lambda: as_bytes(client, 1)) == 300) is (min_rate == 0)


def test_whoever_may_be_silent_for_longer_than_a_minute_may_be_slow_for_as_long() -> None:
    """But not for ever."""
    lb = http(timeout_request=300, timeout_client=300, timeout_server=300)
    client = lb.client(post(b"", LONG))
    assert 300 < seconds(lb, 900, lambda: as_bytes(client, 1)) <= 620


@pytest.mark.parametrize("min_rate", [0, 256])
def test_silence_is_not_waited_for_any_longer_than_ever(min_rate: int) -> None:
    lb = http(min_rate=min_rate, timeout_client=20)
    client = lb.client(post(b"", LONG))
    lb.advance(19)
    assert not client.received
    lb.advance(2)
    assert status_of(client.received) == 408


def one_piece(lb: MemoryBalancer, client: MemoryPeer, rate: int) -> Callable[[], None]:
    """Lets ``client`` take ``rate`` bytes, once each time it is called."""
    client.reading = False

    def take() -> None:
        end: Any = client._end
        del end.unread[:rate]
        client.received += b"x" * rate
        if end.other is not None:
            end.other.wake()

    return take


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("rate", "goes_on"), [(255, False), (257, True)])
def test_a_response_has_to_be_taken(chunked: bool, rate: int, goes_on: bool) -> None:
    """The client is reset a good minute after it has begun to be waited for, and its node with it."""
    lb = http()
    client = lb.client(GET)
    take = one_piece(lb, client, rate)
    body = b"z" * 1_000_000
    if chunked:
        lb.node().send(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    else:
        lb.node().send(STREAM + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    lasted = seconds(lb, 60 * MINUTES, take)
    assert (lasted == 60 * MINUTES) is goes_on
    if not goes_on:
        assert 60 < lasted < 80
        assert client.was_reset
        assert lb.outcomes == {"client_timed_out": 1}
        lb.check_at_rest()


def test_the_end_of_a_response_has_to_be_taken_too() -> None:
    """All is in our hands, and the node gone; only the client is still to be served."""
    lb = http()
    client = lb.client(GET)
    take = one_piece(lb, client, 100)
    body = b"z" * 128_000
    lb.node().send(STREAM + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    lb.pump()
    for _ in range(2):
        lb.node().close()
        lb.pump()
    assert 60 < seconds(lb, 300, take) < 90
    assert lb.outcomes == {"client_timed_out": 1}
    lb.check_at_rest()


def test_a_node_has_to_take_an_upload() -> None:
    """504; the client, which has sent all that was taken from it, has done nothing wrong."""
    lb = http(timeout_client=20)
    client = lb.client(post(b"y" * 10_000_000))
    take = one_piece(lb, lb.node(), 100)
    assert 55 < seconds(lb, 300, take) < 90
    assert status_of(client.received) == 504


@pytest.mark.parametrize("head", [STREAM + b"\r\n", CHUNKED], ids=["until close", "chunked"])
def test_a_node_may_say_little_as_long_as_it_is_not_silent(head: bytes) -> None:
    """An event stream: a few bytes every half minute, for hours."""
    lb = http()
    client = lb.client(GET)
    lb.node().send(head)
    for _ in range(20):
        lb.advance(30)
        lb.node().send(b"3\r\n:\n\n\r\n" if head is CHUNKED else b":\n\n")
    lb.pump()
    assert body_of(client.received).count(b":") == 20
    assert lb.live.counters.open == 1


@pytest.mark.parametrize(("rate", "goes_on"), [(200, False), (300, True)])
def test_an_upload_that_was_answered_early_has_to_keep_pace(rate: int, goes_on: bool) -> None:
    """However much the node still has to say."""
    lb = http()
    client = lb.client(post(b"", LONG))
    lb.node().send(STREAM + b"\r\n")

    def both() -> None:
        as_bytes(client, rate)
        lb.node().send(b"x" * 1000)

    assert (seconds(lb, 300, both) == 300) is goes_on
    assert goes_on or lb.outcomes == {"client_timed_out": 1}


def test_a_minute_begins_anew_when_another_is_waited_for() -> None:
    """What a client could not send while its node did not read is not held against it."""
    lb = http()
    client = lb.client(post(b"", LONG))
    lb.advance(50)
    client.send(b"x" * 3_000_000)
    lb.node().reading = False
    lb.advance(40)
    assert not client.received
    lb.node().reading = True
    lb.advance(40)
    assert not client.received
    assert lb.live.counters.open == 1


def test_a_tunnel_may_be_as_slow_as_it_likes() -> None:
    lb = http()
    client = lb.client(UPGRADE)
    lb.node().send(SWITCHING)
    lb.pump()
    assert seconds(lb, 300, lambda: client.send(b".")) == 300


def test_an_ordinary_exchange_is_not_measured() -> None:
    lb = http()
    client = lb.client(GET)
    lb.advance(30)
    lb.node().send(OK)
    lb.pump()
    assert body_of(client.received) == b"hello"
    lb.check_at_rest()
