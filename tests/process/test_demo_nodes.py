"""What the demo's nodes answer."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.uri import parse_uri

from nodebalancer.process.demo_nodes import PIECE, SAID_MAX, SLOW_SECONDS, DemoNode, DemoSite, Pieces


class Client:
    """A client of one demo node, without a network."""

    def __init__(self, name: str = "demo-1") -> None:
        self.clock = Clock()
        site = DemoSite(DemoNode(name, self.clock), reactor=self.clock)
        self.transport = StringTransport()
        self.channel: HTTPChannel = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def ask(self, request: str, body: bytes = b"") -> tuple[int, bytes, bytes]:
        """Status, head and body of the answer so far."""
        head = f"{request} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n"
        self.channel.dataReceived(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return self.answer()

    def answer(self) -> tuple[int, bytes, bytes]:
        head, _, content = self.transport.value().partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, head, content


def test_a_node_tells_its_name_and_what_it_was_asked() -> None:
    status, head, body = Client("demo-2").ask("POST /shop?x=1", b"hello")
    assert status == 200
    assert b"Content-Type: text/plain" in head
    assert body.startswith(b"demo-2\n\nPOST /shop?x=1 HTTP/1.1\n")
    assert b"Host: shop.example\n" in body
    assert body.endswith(b"and a body of 5 bytes\n")


def test_what_a_client_sends_is_shown_escaped() -> None:
    client = Client()
    client.channel.dataReceived(b"GET / HTTP/1.0\r\nX-A: <b>\xff\r\n\r\n")
    assert b"X-A: <b>\\xff\n" in client.answer()[2]


def test_head_gets_no_body() -> None:
    status, _, body = Client().ask("HEAD /")
    assert (status, body) == (200, b"")


def test_slow_answers_after_a_while() -> None:
    client = Client()
    assert client.ask("GET /slow")[0] == 0
    client.clock.advance(SLOW_SECONDS)
    assert client.answer()[0] == 200


def test_a_client_that_leaves_a_slow_answer_leaves_nothing_behind() -> None:
    client = Client()
    client.ask("GET /slow")
    client.channel.connectionLost(_gone())
    assert [call for call in client.clock.getDelayedCalls() if call.getTime() == SLOW_SECONDS] == []


def _gone() -> Any:
    from twisted.internet.error import ConnectionLost
    from twisted.python.failure import Failure

    return Failure(ConnectionLost())


@pytest.mark.parametrize("code", [200, 204, 304, 404, 503, 599])
def test_status_answers_with_the_status_asked_for(code: int) -> None:
    assert code == Client().ask(f"GET /status/{code}")[0]


@pytest.mark.parametrize("path", ["/status/199", "/status/600", "/status/x", "/status/+200", "/bytes/x", "/bytes/-1"])
def test_nonsense_is_refused_with_a_sentence(path: str) -> None:
    status, _, body = Client().ask(f"GET {path}")
    assert status == 400
    assert b"a code from 200 to 599" in body or b"a number up to" in body


@pytest.mark.parametrize("path", ["/status", "/bytes", "/slowly", "/"])
def test_any_other_path_is_reported(path: str) -> None:
    assert f"GET {path} ".encode() in Client().ask(f"GET {path}")[2]


class Request:
    """The end of a request that ``Pieces`` writes to."""

    def __init__(self) -> None:
        self.written = b""
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        self.written += data

    def unregisterProducer(self) -> None:
        self.calls.append("unregisterProducer")

    def finish(self) -> None:
        self.calls.append("finish")


@pytest.mark.parametrize("count", [1, len(PIECE), 2 * len(PIECE) + 7])
def test_bytes_gives_exactly_as_many_as_asked_for_a_piece_at_a_time(count: int) -> None:
    request = Request()
    pieces = Pieces(request, count)
    while not request.calls:
        before = len(request.written)
        pieces.resumeProducing()
        assert len(request.written) - before <= len(PIECE)
    assert (PIECE * 3)[:count] == request.written
    assert request.calls == ["unregisterProducer", "finish"]


def test_no_bytes_are_an_answer_too() -> None:
    status, head, body = Client().ask("GET /bytes/0")
    assert status == 200
    assert b"Content-Length: 0" in head
    assert body == b""


def test_head_of_bytes_tells_the_length_alone() -> None:
    _, head, body = Client().ask("HEAD /bytes/7")
    assert b"Content-Length: 7" in head
    assert body == b""


def test_a_client_that_leaves_stops_the_bytes() -> None:
    request = Request()
    Pieces(request, 10).stopProducing()
    assert request.calls == []


class Guest(Client):
    """A client in the chat of a node, seen by another WebSocket library than the node's."""

    def __init__(self, site: DemoSite) -> None:
        self.transport = StringTransport()
        self.channel = site.buildProtocol(None)
        self.channel.makeConnection(self.transport)
        self.socket = ClientProtocol(parse_uri("ws://shop.example/chat"))
        self.socket.send_request(self.socket.connect())
        self.pass_on()

    def pass_on(self) -> None:
        """What the client has to send."""
        for data in self.socket.data_to_send():
            self.channel.dataReceived(data)

    def say(self, line: str) -> None:
        self.socket.send_text(line.encode())
        self.pass_on()

    def heard(self) -> list[bytes]:
        """All messages since the last time."""
        self.socket.receive_data(self.transport.value())
        self.transport.clear()
        return [bytes(event.data) for event in self.socket.events_received() if isinstance(event, Frame)]


@pytest.fixture
def site() -> DemoSite:
    clock = Clock()
    return DemoSite(DemoNode("demo-1", clock), reactor=clock)


def test_whoever_is_on_the_same_node_hears_what_one_says(site: DemoSite) -> None:
    first, second = Guest(site), Guest(site)
    assert first.heard()[-1] == b"demo-1: welcome, you are one of 1 here"
    assert second.heard()[-1] == b"demo-1: welcome, you are one of 2 here"
    second.say("good morning")
    assert first.heard() == [b"good morning"]
    assert second.heard() == [b"good morning"]
    first.say("x" * 5000)
    assert [len(line) for line in second.heard()] == [SAID_MAX]


def test_who_has_left_or_is_leaving_costs_nobody_the_chat(site: DemoSite) -> None:
    guests = [Guest(site) for _ in range(3)]
    for guest in guests:
        guest.heard()
    guests[1].socket.send_close(1000)
    guests[1].pass_on()
    guests[2].channel.connectionLost(_gone())
    guests[0].say("anybody?")
    assert guests[0].heard() == [b"anybody?"]


def test_bytes_come_back(site: DemoSite) -> None:
    guest = Guest(site)
    guest.heard()
    guest.socket.send_binary(PIECE)
    guest.pass_on()
    assert b"".join(guest.heard()) == PIECE
    guest.socket.send_ping(b"still there?")
    guest.pass_on()
    assert guest.heard() == [b"still there?"]
    guest.socket.send_pong(b"yes")
    guest.pass_on()


def test_the_chat_is_a_page_for_who_asks_for_no_upgrade() -> None:
    status, head, body = Client().ask("GET /chat")
    assert status == 200
    assert b"Content-Type: text/html" in head
    assert b"new WebSocket(" in body
    assert Client().ask("HEAD /chat")[2] == b""
