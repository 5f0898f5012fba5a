"""One probe of one node, over the memory network."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from nodebalancer.fields import Address
from nodebalancer.health.checks import NodeCheck, check_of
from nodebalancer.health.patterns import BodyPattern
from nodebalancer.health.probes import Probe, Result
from nodebalancer.model import Check
from nodebalancer.testing.builders import config, node
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.testing.memory_ends import MemoryPeer

NODE = Address("192.0.2.1", 8080)


class Probing:
    """A probe under way, and the node."""

    def __init__(self, check: NodeCheck, *, pieces: int | None = None, start: bool = True) -> None:
        self.network = MemoryNetwork(pieces=pieces)
        self.peers = self.network.node(NODE)
        self.results: list[Result] = []
        self.probe = Probe(check, self.results.append)
        if start:
            self.begin()

    def begin(self) -> None:
        self.probe.begin(MemoryEngine(self.network), NODE)
        self.network.pump()

    @property
    def node(self) -> MemoryPeer:
        [peer] = self.peers
        return peer

    def answer(self, data: bytes, *, close: bool = False) -> None:
        self.node.send(data)
        if close:
            self.node.close()
        self.network.pump()

    @property
    def result(self) -> Result:
        [result] = self.results
        return result


def check(kind: Check, pattern: str | None = None, **fields: Any) -> NodeCheck:
    fields.setdefault("check_path", "/up")
    return check_of(config(check=kind, **fields), node(address=NODE), BodyPattern(pattern) if pattern else None)


def test_a_node_that_accepts_is_well_and_is_left_with_a_reset() -> None:
    probing = Probing(check(Check.CONNECTION))
    probing.network.pump()
    assert probing.result == Result(True, "connected")
    assert probing.node.was_reset
    assert probing.node.received == b""


def test_a_proxy_header_arrives_before_the_connection_is_closed() -> None:
    probing = Probing(NodeCheck(NODE, 5, 10, b"PROXY UNKNOWN\r\n", asks=False))
    probing.network.pump()
    assert probing.result == Result(True, "connected")
    assert probing.node.received == b"PROXY UNKNOWN\r\n"
    assert probing.node.ended
    assert not probing.node.was_reset


@pytest.mark.parametrize(
    ("number", "result"),
    [
        (errno.ECONNREFUSED, Result(False, "connection refused")),
        (errno.EHOSTUNREACH, Result(False, "no route to host")),
        (errno.ETIMEDOUT, Result(False, "timed out after 5 s")),
        (errno.EMFILE, Result(None, "no descriptors left")),
        (errno.EADDRNOTAVAIL, Result(None, "no source address or port to be had")),
        (errno.ENOBUFS, Result(None, "no buffer space available")),
    ],
)
def test_a_dial_that_fails_is_the_nodes_fault_or_ours(number: int, result: Result) -> None:
    probing = Probing(check(Check.CONNECTION), start=False)
    probing.network.fail(NODE, number)
    probing.begin()
    assert probing.result == result


@pytest.mark.parametrize(
    ("status", "ok"),
    [(200, True), (204, True), (302, True), (399, True), (400, False), (404, False), (503, False), (101, False)],
)
def test_the_status_decides_as_soon_as_the_head_is_there(status: int, ok: bool) -> None:
    probing = Probing(check(Check.HTTP))
    assert probing.node.received.startswith(b"GET /up HTTP/1.0\r\nHost: 192.0.2.1:8080\r\n")
    probing.answer(b"HTTP/1.1 %d So\r\nContent-Length: 100\r\n\r\nhalf" % status)
    assert probing.result == Result(ok, f"HTTP {status}")
    probing.network.pump()
    assert probing.node.was_reset


def test_interim_responses_are_passed_over() -> None:
    probing = Probing(check(Check.HTTP), pieces=1)
    probing.answer(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert probing.result == Result(True, "HTTP 200")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no valid HTTP response (response head: no HTTP/1 status line, RFC 9112 4)"),
        (b"HTTP/1.1 200 OK\r\nA: b\n\r\n\r\n", "no valid HTTP response (response head: bare LF, RFC 9112 2.2)"),
    ],
)
def test_what_is_no_response_is_told(data: bytes, reason: str) -> None:
    probing = Probing(check(Check.HTTP))
    probing.answer(data)
    assert probing.result == Result(False, reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "closed without a response"), (b"HTTP/1.1 200 OK\r\n", "closed within its response")],
)
def test_a_node_that_closes_too_early_is_not_well(data: bytes, reason: str) -> None:
    probing = Probing(check(Check.HTTP))
    probing.answer(data, close=True)
    assert probing.result == Result(False, reason)


def test_a_node_that_resets_is_not_well() -> None:
    probing = Probing(check(Check.HTTP))
    probing.node.reset()
    probing.network.pump()
    assert probing.result == Result(False, "connection reset")


LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nstatus: ok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nstat\r\n6\r\nus: ok\r\n0\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.0 200 OK\r\n\r\nstatus: ok"


@pytest.mark.parametrize("pieces", [None, 1])
@pytest.mark.parametrize(("data", "close"), [(LENGTH, False), (CHUNKED, False), (UNTIL_CLOSE, True)])
@pytest.mark.parametrize(
    ("pattern", "result"),
    [("ok$", Result(True, "body matches")), ("down", Result(False, "body does not match"))],
)
def test_a_body_is_judged_once_it_is_whole(
    pieces: int | None, data: bytes, close: bool, pattern: str, result: Result
) -> None:
    probing = Probing(check(Check.HTTP_BODY, pattern), pieces=pieces)
    probing.answer(data, close=close)
    assert probing.result == result


def test_the_body_alone_decides_and_not_the_status() -> None:
    probing = Probing(check(Check.HTTP_BODY, "ok"))
    probing.answer(b"HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\nok")
    assert probing.result == Result(True, "body matches")


def test_what_follows_a_body_of_known_length_is_no_part_of_it() -> None:
    probing = Probing(check(Check.HTTP_BODY, "okay"))
    probing.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay")
    assert probing.result == Result(False, "body does not match")


def test_a_response_without_a_body_has_an_empty_one() -> None:
    probing = Probing(check(Check.HTTP_BODY, "^$"))
    probing.answer(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert probing.result == Result(True, "body matches")


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 1000000\r\n", b"", b"Transfer-Encoding: chunked\r\n"],
    ids=["length", "close", "chunks"],
)
def test_only_the_beginning_of_a_long_body_is_judged(framing: bytes) -> None:
    probing = Probing(check(Check.HTTP_BODY, r"\A(?s)(?:.{4096}){16}\z"))
    body = b"x" * 100_000
    if b"chunked" in framing:
        body = b"186a0\r\n" + body
    probing.answer(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n" + body)
    assert probing.result == Result(True, "body matches")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (LENGTH[:-1], "closed within its response"),
        (CHUNKED[:-3], "closed within its response"),
        (CHUNKED[:-5] + b"z\r\n", "no valid HTTP response (chunked body: chunk size or extension, RFC 9112 7.1)"),
    ],
)
def test_half_a_body_is_not_judged(data: bytes, reason: str) -> None:
    probing = Probing(check(Check.HTTP_BODY, "stat"))
    probing.answer(data, close=True)
    assert probing.result == Result(False, reason)


def test_a_pattern_that_gives_up_is_a_reason_of_its_own() -> None:
    probing = Probing(check(Check.HTTP_BODY, r"^(\w+\s?)*$"))
    probing.answer(b"HTTP/1.1 200 OK\r\n\r\n" + b"word " * 10000 + b"!", close=True)
    assert probing.result == Result(False, "pattern gave up: too many steps")


def test_a_probe_whose_time_is_over_says_how_long_that_was() -> None:
    probing = Probing(check(Check.HTTP, check_timeout=3))
    probing.probe.expire()
    assert probing.result == Result(False, "timed out after 3 s")
    probing.network.pump()
    assert probing.node.was_reset


@pytest.mark.parametrize("connected", [True, False])
def test_a_probe_that_is_cancelled_tells_nothing_and_leaves_nothing(connected: bool) -> None:
    probing = Probing(check(Check.HTTP), start=False)
    if not connected:
        probing.network.blackhole(NODE)
    probing.begin()
    probing.probe.cancel()
    probing.network.advance(100)
    assert probing.results == []
    assert all(peer.was_reset for peer in probing.peers)


def test_the_protocol_has_what_twisted_asks_for() -> None:
    """Nothing depends on these two, and a stock transport may call them."""
    probing = Probing(check(Check.HTTP))
    probing.probe.connectionMade()
    probing.probe.writeConnectionLost()
    assert probing.results == []
