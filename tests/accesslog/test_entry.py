"""What stands in the access log about everything that can become of a client: the proxies fill it."""

from __future__ import annotations

from typing import Any

import pytest

from nodebalancer.accesslog.entry import KEPT_BYTES, Entry
from nodebalancer.accesslog.writer import ENTRY_BYTES, size_of
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.model import Protocol
from nodebalancer.testing.balancers import NODES, MemoryBalancer
from nodebalancer.testing.exchanges import GET, OK, http, post


def entry(lb: MemoryBalancer) -> Entry:
    (one,) = lb.access_log.entries
    return one


def test_a_request_that_was_served() -> None:
    lb = http(request_id=True)
    client = lb.client()
    lb.advance(0.5)
    client.send(GET[:-2] + b"X-Forwarded-For: 192.0.2.1\r\nX-Request-ID: abc\r\nReferer: r\r\n\r\n")
    lb.pump()
    lb.advance(0.25)
    lb.node().send(OK)
    lb.node().close()
    lb.pump()
    one = entry(lb)
    assert (one.config, one.protocol, one.client) == ("www/main", Protocol.HTTP, "198.51.100.1")
    assert (one.outcome, one.status, one.method, one.target, one.http10) == (
        Outcome.SERVED,
        200,
        b"GET",
        b"/a?b",
        False,
    )
    assert (one.node, one.failed_dials) == (lb.live.wanted.nodes["n1"], 0)
    assert (one.waiting, one.connecting, one.answering, one.total) == (0.5, 0.0, 0.25, 0.75)
    assert (one.forwarded_for, one.request_id, one.rule, one.begun) == (b"192.0.2.1", b"abc", "", b"")
    assert b"Referer: r\r\n" in one.lines
    assert one.bytes_out == len(client.received) > 0
    assert one.bytes_in > len(GET)


def test_the_counters_say_the_same() -> None:
    lb = http()
    client = lb.client(GET)
    lb.advance(0.25)
    lb.node().send(OK.replace(b"200", b"404"))
    lb.node().close()
    lb.pump()
    client.close()
    lb.pump()
    counters, member = lb.live.counters, lb.live.pool.members["n1"]
    assert counters.responses == member.responses == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert (counters.bytes_in, counters.bytes_out) == (member.bytes_in, member.bytes_out)
    assert member.bytes_out == len(client.received)
    assert (sum(member.connecting.counts), member.connecting.seconds) == (1, 0.0)
    assert (sum(member.answering.counts), member.answering.seconds) == (1, 0.25)
    assert (sum(counters.lasted.counts), counters.lasted.seconds) == (1, 0.25)
    assert dict(counters.lasted.cumulated())[0.128] == 0
    assert dict(counters.lasted.cumulated())[0.256] == 1


def test_a_client_that_sends_nothing_has_no_line_but_is_counted() -> None:
    lb = http()
    lb.client().close()
    lb.pump()
    lb.client()
    lb.advance(60)
    assert lb.outcomes == {"client_left": 1, "client_timed_out": 1}
    assert lb.access_log.entries == []


@pytest.mark.parametrize(
    ("sent", "status", "outcome", "rule"),
    [
        (b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n", 400, Outcome.CLIENT_ERROR, "RFC 9110 5.1"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405, Outcome.CLIENT_ERROR, "CONNECT"),
    ],
)
def test_a_refused_request_is_told_with_its_rule_and_what_it_began_with(
    sent: bytes, status: int, outcome: Outcome, rule: str
) -> None:
    lb = http()
    lb.client(sent).close()
    lb.pump()
    one = entry(lb)
    assert (one.status, one.outcome, one.method, one.begun) == (status, outcome, b"", sent)
    assert rule in one.rule
    assert (one.node, one.waiting, one.connecting, one.answering) == (None, None, None, None)


def test_little_is_kept_of_what_is_refused() -> None:
    lb = http()
    lb.client(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n" + b"x" * 60000).close()
    lb.client(b"GET /" + b"y" * 5000)
    lb.client(GET[:-2] + b"X-Forwarded-For: " + b"192.0.2.1," * 500 + b"\r\n\r\n").close()
    lb.advance(60)
    refused, plain, unfinished = sorted(lb.access_log.entries, key=lambda one: one.status or 999)[::1]
    assert max(map(size_of, lb.access_log.entries)) < ENTRY_BYTES + 3 * KEPT_BYTES
    assert {len(one.begun) for one in (refused, plain, unfinished)} == {0, KEPT_BYTES}
    assert max(len(one.forwarded_for) for one in lb.access_log.entries) == KEPT_BYTES


def test_a_body_that_is_refused_has_its_request_and_the_rule() -> None:
    lb = http()
    lb.client(b"POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").send(b"nonsense\r\n")
    lb.pump()
    lb.advance(60)
    one = entry(lb)
    assert (one.method, one.target, one.status, one.outcome) == (b"POST", b"/up", 400, Outcome.CLIENT_ERROR)
    assert "chunk" in one.rule


def test_a_head_that_was_not_finished() -> None:
    lb = http()
    lb.client(b"GET /slow HT")
    lb.advance(60)
    one = entry(lb)
    assert (one.status, one.outcome, one.method, one.begun) == (408, Outcome.CLIENT_TIMED_OUT, b"", b"GET /slow HT")


def test_a_client_that_leaves_before_its_answer() -> None:
    lb = http()
    client = lb.client(GET)
    lb.advance(2)
    client.reset()
    lb.pump()
    one = entry(lb)
    assert (one.status, one.outcome, one.answering) == (0, Outcome.CLIENT_LEFT, None)
    assert one.node is not None
    assert one.connecting == 0.0


def test_nodes_that_cannot_be_reached_are_told_by_the_last_of_them() -> None:
    lb = http(2, check_passive=False)
    for address in NODES[:2]:
        lb.network.kill(address)
    lb.client(GET).close()
    lb.pump()
    one = entry(lb)
    assert (one.status, one.outcome, one.failed_dials, one.connecting) == (503, Outcome.CONNECT_FAILED, 2, None)
    assert one.node is not None
    assert one.node.name in ("n1", "n2")


def test_our_own_answers_have_their_status() -> None:
    lb = http(0)
    lb.client(GET).close()
    lb.pump()
    one = entry(lb)
    assert (one.status, one.outcome, one.node) == (503, Outcome.NO_NODE, None)
    assert lb.live.counters.responses[5] == 1


def test_a_node_that_answers_nonsense_is_told_as_what_the_client_got() -> None:
    lb = http()
    lb.client(GET).close()
    lb.pump()
    lb.node().send(b"what?\r\n\r\n")
    lb.pump()
    one = entry(lb)
    assert (one.status, one.outcome, one.answering) == (502, Outcome.SERVER_ERROR, None)
    assert lb.live.pool.members["n1"].responses == [0] * 10


def test_a_tcp_connection() -> None:
    lb = MemoryBalancer(Protocol.TCP)
    client = lb.client(b"hello")
    lb.node().send(b"goodbye")
    lb.advance(3)
    lb.node().close()
    client.close()
    lb.pump()
    one = entry(lb)
    assert (one.protocol, one.outcome, one.status, one.bytes_in, one.bytes_out) == (
        Protocol.TCP,
        Outcome.SERVED,
        0,
        5,
        7,
    )
    assert (one.waiting, one.connecting, one.answering, one.total) == (0.0, 0.0, None, 3.0)
    assert lb.live.counters.responses[0] == 1
    member = lb.live.pool.members["n1"]
    assert (member.bytes_in, member.bytes_out) == (5, 7)


@pytest.mark.parametrize("fields", [{}, {"upgrades": ()}])
def test_every_connection_that_sent_something_has_one_line(fields: dict[str, Any]) -> None:
    lb = http(**fields)
    for sent in (GET, post(b"abc"), b"\x16\x03\x01", GET + GET):
        lb.client(sent).close()
    lb.pump()
    lb.advance(200)
    assert len(lb.access_log.entries) == sum(lb.live.counters.outcomes) == 4
