"""Metrics and health over HTTP, without a network."""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from nodebalancer.control.metrics.endpoint import (
    ANSWER_SECONDS,
    CONNECTIONS_MAX,
    HEAD_SECONDS,
    PARTING_SECONDS,
    Endpoint,
    Visitor,
)
from nodebalancer.control.metrics.rendering import Renderer
from nodebalancer.model import Protocol


class Line(StringTransport):
    """A client's connection, which takes what is written at once."""

    def __init__(self) -> None:
        super().__init__()
        self.finished = False

    def loseWriteConnection(self) -> None:
        self.finished = True

    def take(self) -> None:
        """All that is handed over when there is room."""
        while self.producer is not None:
            self.producer.resumeProducing()


class World:
    """An endpoint and its clients."""

    def __init__(self, figures: Any) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint(self.clock, Renderer(self.clock, figures.pieces))

    def connect(self) -> tuple[Visitor, Line]:
        visitor = self.endpoint.buildProtocol(None)
        line = Line()
        visitor.makeConnection(line)
        return visitor, line

    def ask(self, request: bytes, *, turns: int = 100) -> tuple[str, str]:
        """Head and body of the answer; the client closes."""
        visitor, line = self.connect()
        visitor.dataReceived(request)
        for _ in range(turns):
            self.clock.advance(0)
        line.take()
        assert line.finished
        visitor.connectionLost()
        assert self.clock.getDelayedCalls() == []
        head, _, body = line.value().decode("latin-1").partition("\r\n\r\n")
        return head, body


@pytest.fixture
def world(figured: Any) -> World:
    return World(figured.figures)


def request(path: str = "/health", method: str = "GET", more: str = "") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: lb\r\n{more}\r\n".encode()


def test_health_is_ok_until_we_stop(world: World) -> None:
    head, body = world.ask(request())
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert body == "ok\n"
    world.endpoint.stopping = True
    head, body = world.ask(request("/health?from=elsewhere"))
    assert head.startswith("HTTP/1.1 503 Service Unavailable\r\n")
    assert body == "stopping\n"


def test_metrics(world: World) -> None:
    head, body = world.ask(request("/metrics"))
    assert "\r\nContent-Type: text/plain; version=0.0.4" in head
    assert re.search(r"\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n", head)
    assert f"\r\nContent-Length: {len(body)}\r\n" in head
    assert body.count("# HELP nodebalancer_node_picks_total ") == 1


def test_metrics_as_the_client_wants_them(world: World) -> None:
    head, body = world.ask(
        request("/metrics", more="accept: application/openmetrics-text; version=1.0.0\r\nAccept-Encoding: gzip\r\n")
    )
    assert "\r\nContent-Type: application/openmetrics-text; version=1.0.0" in head
    assert "\r\nContent-Encoding: gzip\r\n" in head
    assert body.startswith("\x1f\x8b")


def test_the_page_leads_to_both(world: World) -> None:
    _, body = world.ask(request("/"))
    assert 'href="/metrics"' in body
    assert 'href="/health"' in body


def test_head_gets_no_body(world: World) -> None:
    for path in ("/", "/metrics", "/health", "/other"):
        head, body = world.ask(request(path, "HEAD"))
        assert "Content-Length: 0" not in head
        assert body == ""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request(method="POST", more="Content-Length: 2\r\n") + b"xx", 405),
        (request(method="DELETE"), 405),
        (request(method="OPTIONS"), 405),
        (request("/metrics/x"), 404),
        (request("http://lb/health", more="X-Y: z\r\n"), 200),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (request(more=f"X: {'y' * 17000}\r\n"), 431),
        (request(method="TRACE"), 405),
        (b"GET /health HTTP/2.0\r\n\r\n", 505),
    ],
    ids=range(12),
)
def test_whatever_is_sent_is_answered_and_nothing_is_logged(
    world: World, sent: bytes, status: int, log_lines: list[str]
) -> None:
    head, _ = world.ask(sent)
    assert head.startswith(f"HTTP/1.1 {status} ")
    assert ("Allow: GET, HEAD" in head) == (status == 405)
    assert log_lines == []


def test_a_request_may_come_byte_by_byte_and_what_follows_it_is_of_no_account(world: World) -> None:
    visitor, line = world.connect()
    for byte in request() + request("/metrics"):
        visitor.dataReceived(bytes([byte]))
    line.take()
    assert line.value().count(b"HTTP/1.1 ") == 1
    visitor.connectionLost()


def test_who_sends_no_request_has_little_time(world: World) -> None:
    visitor, line = world.connect()
    visitor.dataReceived(request()[:-1])
    world.clock.advance(HEAD_SECONDS)
    assert line.disconnected
    visitor.connectionLost()


def test_who_does_not_take_the_answer_has_little_time_either(world: World) -> None:
    visitor, line = world.connect()
    visitor.dataReceived(request("/metrics"))
    for _ in range(100):
        world.clock.advance(0)
    world.clock.advance(ANSWER_SECONDS - 1)
    assert not line.disconnected
    assert not line.finished
    world.clock.advance(1)
    assert line.disconnected
    line.producer.stopProducing()
    visitor.connectionLost()


def test_who_does_not_close_is_closed(world: World) -> None:
    visitor, line = world.connect()
    visitor.dataReceived(request())
    line.take()
    world.clock.advance(PARTING_SECONDS)
    assert line.disconnected
    visitor.connectionLost()


def test_who_leaves_while_metrics_are_made_ends_that(world: World) -> None:
    visitor, line = world.connect()
    visitor.dataReceived(request("/metrics"))
    visitor.connectionLost()
    world.clock.advance(0)
    assert world.clock.getDelayedCalls() == []
    assert line.value() == b""


def test_there_is_room_for_so_many_and_the_oldest_that_has_not_asked_makes_way(world: World) -> None:
    visitors = [world.connect() for _ in range(CONNECTIONS_MAX)]
    visitors[0][0].dataReceived(request())
    visitors.append(world.connect())
    visitors.append(world.connect())
    assert [number for number, (_, line) in enumerate(visitors) if line.disconnected] == [1, 2]
    for visitor, line in visitors[3:]:
        visitor.dataReceived(request())
        assert not line.disconnected
    world.connect()
    assert visitors[0][1].disconnected
    for visitor, line in visitors:
        if line.disconnected:
            visitor.connectionLost()
    world.endpoint.close()
    assert all(line.disconnected for _, line in visitors)


def test_who_has_asked_and_says_no_more_gets_the_answer(world: World) -> None:
    visitor, line = world.connect()
    visitor.dataReceived(request())
    visitor.readConnectionLost()
    assert not line.disconnecting
    line.take()
    visitor.writeConnectionLost()
    assert line.value().endswith(b"\r\n\r\nok\n")
    assert line.disconnecting
    visitor.connectionLost()


@pytest.mark.parametrize("said", [b"", request()])
def test_who_says_no_more_before_asking_or_after_the_answer_is_closed(world: World, said: bytes) -> None:
    visitor, line = world.connect()
    if said:
        visitor.dataReceived(said)
        line.take()
    visitor.readConnectionLost()
    assert line.disconnecting
    visitor.connectionLost()


def test_a_fault_of_ours_is_a_500(logged_errors: Any) -> None:
    class Broken:
        def pieces(self, samples: int) -> Any:
            raise ZeroDivisionError
            yield

    head, _ = World(Broken()).ask(request("/metrics"))
    assert head.startswith("HTTP/1.1 500 ")
    assert len(logged_errors()) == 1


def test_the_figures_of_a_tcp_config_too(figured_with: Any) -> None:
    _, body = World(figured_with(Protocol.TCP, 1).figures).ask(request("/metrics"))
    assert 'nodebalancer_node_picks_total{config="main",node="n1",nodebalancer="www"} 0.0\n' in body
