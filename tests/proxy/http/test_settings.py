"""What an operator may ask of an http config: request ids, a redirect, pages of their own."""

from __future__ import annotations

import re

import pytest

from nodebalancer.fields import Address
from nodebalancer.model import Node, NodeBalancer, PortConfig, Protocol, Redirect, Settings
from nodebalancer.proxy.http.exchange import Exchange
from nodebalancer.testing.balancers import NODES, WWW, MemoryBalancer
from nodebalancer.testing.exchanges import GET, OK, body_of, http, post, status_of
from nodebalancer.wire.answers import read_page

WITH_ID = GET[:-2] + b"X-Request-ID: abc-1\r\n\r\n"


def request_id(received: bytes | bytearray) -> bytes:
    """The X-Request-ID that a node has seen; empty for none."""
    found = re.findall(rb"\r\nX-Request-ID: (.*)\r\n", bytes(received))
    assert len(found) <= 1
    return found[0] if found else b""


def exchange(lb: MemoryBalancer) -> Exchange:
    (connection,) = lb.live.connections
    assert isinstance(connection, Exchange)
    return connection


def test_a_request_without_an_id_is_given_one() -> None:
    lb = http(request_id=True)
    seen = set()
    for _ in range(50):
        lb.client(GET)
        seen.add(request_id(lb.node().received))
    assert len(seen) == 50
    assert all(re.fullmatch(rb"[0-9a-f]{32}", one) for one in seen)


def test_a_bad_id_is_replaced_and_a_good_one_kept() -> None:
    lb = http(request_id=True)
    lb.client(WITH_ID)
    assert request_id(lb.node().received) == b"abc-1"
    lb.client(WITH_ID.replace(b"abc-1", b"abc 1"))
    assert re.fullmatch(rb"[0-9a-f]{32}", request_id(lb.node().received))


@pytest.mark.parametrize(
    ("wanted", "sent", "expected"),
    [(False, GET, rb""), (False, WITH_ID, rb"abc-1"), (True, WITH_ID, rb"abc-1"), (True, GET, rb"[0-9a-f]{32}")],
)
def test_the_exchange_knows_the_id_that_its_node_sees(wanted: bool, sent: bytes, expected: bytes) -> None:
    lb = http(request_id=wanted)
    lb.client(sent)
    known = exchange(lb).request_id
    assert known == request_id(lb.node().received)
    assert re.fullmatch(expected, known)


def redirecting(*ports: int) -> MemoryBalancer:
    """A config that redirects, among https configs on ``ports``."""
    lb = http(0)
    configs = {"main": PortConfig("main", port=WWW.port, redirect=Redirect.HTTPS)}
    for port in ports:
        secure = PortConfig(f"s{port}", port=port, protocol=Protocol.HTTPS, nodes={"a": Node("a", NODES[0])})
        configs[secure.name] = secure
    lb.reload(Settings(nodebalancers={"www": NodeBalancer("www", listen=(WWW.host,), configs=configs)}))
    return lb


def location(received: bytes | bytearray) -> bytes:
    found = re.search(rb"\r\nLocation: (.*)\r\n", bytes(received))
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ((443,), b"https://shop.example/a?b"),
        ((8443,), b"https://shop.example:8443/a?b"),
        ((8443, 443, 9443), b"https://shop.example/a?b"),
        ((9443, 8443), b"https://shop.example:9443/a?b"),
    ],
)
def test_a_redirect_leads_to_443_or_the_first_https_config(ports: tuple[int, ...], expected: bytes) -> None:
    lb = redirecting(*ports)
    client = lb.client(GET)
    assert status_of(client.received) == 308
    assert location(client.received) == expected
    client.close()
    lb.pump()
    assert not client.was_reset
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


def test_the_body_of_a_redirected_request_does_not_cost_its_answer() -> None:
    lb = redirecting(443)
    client = lb.client(post(b"x" * 300_000))
    assert status_of(client.received) == 308
    assert client.unsent == 0
    client.close()
    lb.pump()
    assert not client.was_reset
    lb.check_at_rest()


def test_what_is_no_request_is_not_redirected_but_refused() -> None:
    lb = redirecting(443)
    for sent in (b"GET / HTTP/1.0\r\n\r\n", b"GET /\n\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"):
        client = lb.client(sent)
        assert status_of(client.received) in (400, 405)
        assert b"Location" not in client.received
        client.close()
    lb.pump()
    assert lb.outcomes == {"client_error": 3}
    assert any("redirect" in rule for rule in lb.live.counters.refused_by_rule)
    lb.check_at_rest()


def test_a_redirect_follows_a_reload() -> None:
    lb = redirecting(8443)
    www = NodeBalancer(
        "www",
        listen=(WWW.host,),
        configs={"main": PortConfig("main", port=WWW.port, nodes={"a": Node("a", NODES[0])})},
    )
    accepted = lb.network.node(Address(*NODES[0]))
    lb.reload(Settings(nodebalancers={"www": www}))
    client = lb.client(GET)
    accepted[0].send(OK)
    lb.pump()
    assert status_of(client.received) == 200


OWN = b"<p>We are moving. <b>\xc3\x9c</b>"


def test_pages_of_the_operator_take_the_place_of_ours() -> None:
    lb = http(0)
    lb.pages = dict([read_page("503.html", OWN), read_page("400.html", b"no")])
    assert body_of(lb.client(GET).received) != OWN
    lb.reload(lb._settings)
    assert body_of(lb.client(GET).received) == OWN
    assert body_of(lb.client(b"BAD\r\n").received) == b"no"
    assert b"<h1>405" in lb.client(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").received
    head = lb.client(GET.replace(b"GET", b"HEAD")).received
    assert status_of(head) == 503
    assert body_of(head) == b""
