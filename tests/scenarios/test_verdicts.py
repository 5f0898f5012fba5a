"""What live traffic says about nodes (R18): every verdict, and everything that is none."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import partial

import pytest

from nodebalancer.fields import Address
from nodebalancer.model import Check, Protocol
from nodebalancer.testing.balancers import NODES, MemoryBalancer
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.exchanges import CHUNKED, GET, OK, SWITCHING, UPGRADE, http, post, status_of
from nodebalancer.testing.houses import House
from nodebalancer.testing.logs import logged
from nodebalancer.testing.memory import MemoryNetwork

HERE = Address("127.0.0.1", 80)

OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EACCES)
"""Faults of this machine; EADDRNOTAVAIL is what it says when no source port is left."""


def status(number: int) -> bytes:
    return b"HTTP/1.1 %d Oh\r\nContent-Length: 0\r\n\r\n" % number


def asked(lb: MemoryBalancer, request: bytes = GET) -> None:
    lb.client(request)


def answered(answer: bytes, request: bytes = GET) -> Callable[[MemoryBalancer], None]:
    def happen(lb: MemoryBalancer) -> None:
        asked(lb, request)
        lb.node().send(answer)

    return happen


def closed(lb: MemoryBalancer, answer: bytes = b"", request: bytes = GET) -> None:
    asked(lb, request)
    lb.node().send(answer)
    lb.node().close()


def reset(lb: MemoryBalancer) -> None:
    asked(lb)
    lb.node().reset()


def silent(lb: MemoryBalancer, answer: bytes = b"", request: bytes = GET) -> None:
    asked(lb, request)
    lb.node().send(answer)
    lb.advance(12)


def refused(lb: MemoryBalancer, number: int = errno.ECONNREFUSED) -> None:
    lb.network.fail(NODES[0], number)
    asked(lb)


def unanswered(lb: MemoryBalancer) -> None:
    lb.network.blackhole(NODES[0])
    asked(lb)
    lb.advance(4)


def dies_in_upload(lb: MemoryBalancer) -> None:
    asked(lb, post(b"a", 100))
    lb.node().close()


VERDICTS: list[tuple[Callable[[MemoryBalancer], None], str]] = [
    (refused, "connection refused"),
    (unanswered, "timed out"),
    (reset, "closed before its response's head was whole"),
    (closed, "closed before its response's head was whole"),
    (lambda lb: closed(lb, OK[:20]), "closed before its response's head was whole"),
    (answered(b"SSH-2.0\r\n"), "no HTTP response (response head: no HTTP/1 status line, RFC 9112 4)"),
    (answered(SWITCHING), "no HTTP response (response: a 101 nobody asked for, RFC 9110 7.8)"),
    *((answered(status(number)), f"HTTP {number}") for number in (500, 502, 503, 504, 599)),
    (silent, "silent for 10 s"),
    (lambda lb: silent(lb, OK[:-1]), "silent for 10 s in its response"),
]


@pytest.mark.parametrize(("happen", "reason"), VERDICTS)
def test_it_takes_the_node_out_for_what_it_did(happen: Callable[[MemoryBalancer], None], reason: str) -> None:
    lb = http(2, timeout_server=10)
    happen(lb)
    lb.pump()
    what = "request" if reason.startswith(("HTTP", "no HTTP", "closed")) else "connection"
    assert lb.status_changes() == [f"n1 DOWN: a {what} failed: {reason}"]


@pytest.mark.parametrize(("happen", "reason"), VERDICTS)
def test_not_when_live_traffic_is_not_to_judge(happen: Callable[[MemoryBalancer], None], reason: str) -> None:
    lb = http(2, timeout_server=10, check_passive=False)
    happen(lb)
    lb.pump()
    assert lb.status_changes() == []


def leaves(lb: MemoryBalancer) -> None:
    client = lb.client(GET)
    client.reset()


def leaves_in_response(lb: MemoryBalancer) -> None:
    client = lb.client(GET)
    lb.node().send(OK[:-2])
    lb.pump()
    client.reset()


def does_not_read(lb: MemoryBalancer) -> None:
    client = lb.client(GET)
    client.reading = False
    lb.node().send(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + bytes(9_000_000))
    lb.advance(70)


def uploads_slowly(lb: MemoryBalancer) -> None:
    """The node has all that the client has sent."""
    asked(lb, post(b"a", 100))
    lb.advance(70)


def sends_garbage(lb: MemoryBalancer) -> None:
    client = lb.client(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"what?\r\n")
    lb.pump()


def stops(lb: MemoryBalancer) -> None:
    asked(lb)
    lb.listeners.stop(0)


FAULTLESS: dict[str, Callable[[MemoryBalancer], None]] = {
    **{f"status {number}": answered(status(number)) for number in (200, 404, 501, 505)},
    "client leaves": leaves,
    "client leaves within the response": leaves_in_response,
    "client does not read": does_not_read,
    "client uploads slowly": uploads_slowly,
    "client sends garbage in its body": sends_garbage,
    "node gives up a slow upload": dies_in_upload,
    "node breaks off within the response": lambda lb: closed(lb, OK[:-2]),
    "chunks that are none": answered(CHUNKED + b"what?\r\n"),
    "the service stops": stops,
    **{errno.errorcode[number]: partial(refused, number=number) for number in OURS},
}


@pytest.mark.parametrize("happen", FAULTLESS.values(), ids=FAULTLESS)
def test_it_is_no_verdict(happen: Callable[[MemoryBalancer], None]) -> None:
    lb = http(2, timeout_server=10)
    happen(lb)
    lb.pump()
    assert lb.status_changes() == []
    assert lb.statuses() == "Unknown Unknown"


def test_a_tunnel_that_breaks_is_no_verdict() -> None:
    lb = http(2)
    lb.client(UPGRADE)
    lb.node().send(SWITCHING)
    lb.pump()
    lb.node().reset()
    lb.pump()
    assert lb.status_changes() == []


def test_over_tcp_only_dials_are_judged() -> None:
    lb = MemoryBalancer(Protocol.TCP, 2)
    lb.client(b"x")
    lb.node().reset()
    lb.pump()
    assert lb.status_changes() == []
    lb.client(b"x")
    refused(lb)
    assert lb.status_changes() == ["n1 DOWN: a connection failed: connection refused"]


def test_so_many_in_a_row_and_a_good_one_begins_the_row_anew() -> None:
    lb = http(1, passive_attempts=3, passive_max_out=100)
    for answers in ((500, 500, 200), (500, 501, 500), (500, 505, 500, 500)):
        for number in answers:
            answered(status(number))(lb)
            lb.pump()
        assert lb.statuses() == "Unknown"
    answered(status(500))(lb)
    lb.pump()
    assert lb.status_changes() == ["n1 DOWN: 3 requests in a row failed: HTTP 500"]


@pytest.mark.parametrize(("percent", "out"), [(0, 0), (49, 1), (50, 2), (75, 3), (100, 4)])
def test_responses_take_out_only_so_many(percent: int, out: int) -> None:
    """What is wrong with all nodes is rarely the nodes' fault."""
    lb = http(4, passive_max_out=percent)
    for _ in range(8):
        was = [len(accepted) for accepted in lb.accepted]
        client = lb.client(GET)
        for accepted, before in zip(lb.accepted, was, strict=True):
            for peer in accepted[before:]:
                peer.send(status(503))
        lb.pump()
        assert status_of(client.received) == 503
    assert lb.statuses().split().count("DOWN") == out


def test_connect_failures_take_out_any_number() -> None:
    lb = http(4, passive_max_out=0)
    for address in NODES:
        lb.network.fail(address, errno.ECONNREFUSED)
    for _ in range(2):
        lb.client(GET)
    assert lb.statuses() == "DOWN DOWN DOWN DOWN"


def test_without_probes_a_node_is_tried_again_after_longer_and_longer() -> None:
    lb = http(2, check=Check.NONE, passive_retry=4)
    refused(lb)
    tried = []
    for second in range(1, 20):
        lb.advance(1)
        lb.listeners.due(lb.engine.now, 0)
        if lb.statuses().startswith("Unknown"):
            for _ in range(2):
                lb.client(GET)
            assert lb.statuses().startswith("DOWN")
            tried.append(second)
    assert tried == [1, 3, 7, 11, 15, 19]
    lb.network.heal(NODES[0])
    lb.advance(4)
    lb.listeners.due(lb.engine.now, 0)
    for _ in range(2):
        lb.client(GET)
    lb.node(1).send(OK)
    lb.pump()
    assert lb.statuses().startswith("UP")
    assert lb.status_changes()[-1] == "n1 UP: a connection succeeded"


def test_over_tcp_a_node_on_trial_is_good_once_it_takes_a_connection() -> None:
    lb = MemoryBalancer(Protocol.TCP, 1, check=Check.NONE)
    assert lb.statuses() == "Unknown"
    lb.client(b"x")
    assert lb.status_changes() == ["n1 UP: a connection succeeded"]


def test_a_good_answer_lifts_no_verdict_that_came_while_it_was_on_its_way() -> None:
    lb = http(1, passive_max_out=100)
    lb.client(GET)
    lb.client(GET)
    lb.accepted[0][0].send(status(500))
    lb.pump()
    lb.accepted[0][1].send(OK)
    lb.pump()
    assert lb.statuses() == "DOWN"


# Faults of this machine, with probes and clients


@pytest.mark.parametrize("number", OURS)
def test_with_nothing_left_to_dial_with_no_node_changes_status(number: int) -> None:
    """No descriptor or no source port, for probes and live connections, for a minute; then all is as before."""
    nodes = [node(f"n{at}", address) for at, address in enumerate(NODES, 1)]
    network = MemoryNetwork()
    for address in NODES:
        network.node(address)
    web = config("web", *nodes, port=80, protocol=Protocol.TCP, check_interval=2, check_timeout=1)
    house = House(settings(nodebalancer("www", web, listen=("127.0.0.1",))), network)
    network.advance(5)
    assert house.statuses() == "UP UP UP UP"
    known = house.events.count
    for address in NODES:
        network.fail(address, number)
    with logged() as lines:
        for _ in range(60):
            client = house.client(HERE)
            assert client.ended
            network.advance(1)
    assert house.events.count == known
    assert house.monitor.own_faults > 100
    assert house.outcomes() == {"overloaded": 60}
    assert 0 < len([line for line in lines if "a fault of this machine" in line]) < 40
    for address in NODES:
        network.heal(address)
    assert not house.client(HERE).ended
    house.stop()
    house.check_at_rest()


@pytest.mark.parametrize("answer", [status(500), b"SSH-2.0\r\n"])
def test_not_for_what_a_node_says_while_its_client_still_sends(answer: bytes) -> None:
    """Or anybody could take nodes out by sending slowly."""
    lb = http(2)
    asked(lb, post(b"a", 100))
    lb.node().send(answer)
    lb.pump()
    assert lb.status_changes() == []
