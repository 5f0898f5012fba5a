"""How one node is probed."""

from __future__ import annotations

from typing import Any

import pytest

from nodebalancer.fields import Address
from nodebalancer.health.checks import NodeCheck, check_of, checks_of, pattern_problems
from nodebalancer.health.patterns import BodyPattern
from nodebalancer.model import Check, Mode, Protocol, ProxyProtocol
from nodebalancer.testing.builders import NODE_ADDRESS, config, node, nodebalancer, settings


def check(**fields: Any) -> NodeCheck:
    return check_of(config(**fields), node())


def test_a_connection_says_nothing() -> None:
    made = check(check=Check.CONNECTION, check_interval=7, check_timeout=3)
    assert made == NodeCheck(NODE_ADDRESS, 3, 7, b"", asks=False, node=NODE_ADDRESS)


def test_a_request_is_http_1_0_with_a_host() -> None:
    assert check(check=Check.HTTP, check_path="/up?x=1").opening == (
        b"GET /up?x=1 HTTP/1.0\r\nHost: 192.0.2.1:8080\r\nUser-Agent: nodebalancer\r\nConnection: close\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("host", "expected"),
    [("", b"[2001:db8::1]:80"), ("shop.example", b"shop.example")],
)
def test_the_host_is_the_nodes_address_unless_one_is_given(host: str, expected: bytes) -> None:
    made = check_of(config(check=Check.HTTP, check_path="/", check_host=host), node(address=Address("2001:db8::1", 80)))
    assert b"\r\nHost: " + expected + b"\r\n" in made.opening


def test_probes_may_be_answered_on_another_port() -> None:
    made = check(check=Check.HTTP, check_path="/", check_port=9000)
    assert made.address == Address(NODE_ADDRESS.host, 9000)
    assert b"Host: 192.0.2.1:8080\r\n" in made.opening


V1 = b"PROXY UNKNOWN\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


@pytest.mark.parametrize(("version", "header"), [(ProxyProtocol.V1, V1), (ProxyProtocol.V2, V2)])
@pytest.mark.parametrize(("port", "sent"), [(None, True), (8080, True), (9000, False)])
def test_a_proxy_header_begins_probes_of_the_port_that_takes_traffic(
    version: ProxyProtocol, header: bytes, port: int | None, sent: bool
) -> None:
    plain = check(protocol=Protocol.TCP, check=Check.HTTP, check_path="/", check_port=port)
    made = check(protocol=Protocol.TCP, check=Check.HTTP, check_path="/", check_port=port, proxy_protocol=version)
    assert made.opening == (header if sent else b"") + plain.opening


def test_nodes_of_configs_with_checks_are_probed_unless_they_are_rejected() -> None:
    wanted = settings(
        nodebalancer(
            "www",
            config("web", node("a"), node("b", mode=Mode.REJECT), node("c", mode=Mode.DRAIN), check=Check.CONNECTION),
            config("none", node("a"), check=Check.NONE),
            config("body", node("a"), check=Check.HTTP_BODY, check_path="/", check_body="ok"),
        )
    )
    made = checks_of(wanted)
    assert list(made) == [("www", "web", "a"), ("www", "web", "c"), ("www", "body", "a")]
    assert made["www", "body", "a"].pattern == BodyPattern("ok")
    assert made["www", "web", "a"].pattern is None


def test_patterns_that_are_none_are_problems_with_their_places() -> None:
    wanted = settings(nodebalancer("www", config("web", check_body="a("), config("good", check_body="a")))
    [problem] = pattern_problems(wanted)
    assert str(problem) == (
        "[config www/web] check_body = a(: "
        "not a regular expression (PCRE): missing closing parenthesis (at character 2)"
    )
    assert problem.spot == ("config www/web", "check_body")


def test_probes_come_from_where_traffic_comes_from() -> None:
    """The first address of the node's family: a node that lets no other in is not DOWN for that."""
    made = check(check=Check.CONNECTION, outgoing_address=("2001:db8::1", "192.0.2.9", "192.0.2.10"))
    assert made.source_for("192.0.2.1") == "192.0.2.9"
    assert made.source_for("2001:db8::2") == "2001:db8::1"
    assert check(check=Check.CONNECTION).source_for("192.0.2.1") is None


def test_a_node_that_moves_is_another_one_though_it_is_probed_where_it_was() -> None:
    """So that its first probe comes at once."""
    fields: dict[str, Any] = {"check": Check.CONNECTION, "check_port": 9000}
    moved = node(address=Address(NODE_ADDRESS.host, NODE_ADDRESS.port + 1))
    assert check_of(config(**fields), node()) != check_of(config(**fields), moved)
