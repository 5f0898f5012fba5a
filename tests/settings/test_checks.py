"""What must hold between settings that are each right in themselves."""

from __future__ import annotations

from typing import Any

import pytest

from nodebalancer.fields import Address
from nodebalancer.firewall_rules import FORM
from nodebalancer.model import (
    Check,
    CipherSuite,
    Firewall,
    Manhole,
    Node,
    NodeBalancer,
    PortConfig,
    Protocol,
    ProxyProtocol,
    Redirect,
    Settings,
    Stickiness,
)
from nodebalancer.settings.checks import problems_of, warnings_of
from nodebalancer.settings.document import tokenize
from nodebalancer.settings.places import places_of

A = Node("a", Address("192.0.2.1", 80))
B = Node("b", Address("2001:db8::1", 80))
SECURE = PortConfig("secure", {"a": A}, port=443, protocol=Protocol.HTTPS, ssl_cert="c", ssl_key="k")


def www(*configs: PortConfig, **keys: Any) -> Settings:
    return Settings({"www": NodeBalancer("www", {config.name: config for config in configs}, **keys)})


def config(*nodes: Node, **keys: Any) -> PortConfig:
    return PortConfig("x", {node.name: node for node in nodes}, **keys)


def problems(settings: Settings) -> list[str]:
    return [str(problem) for problem in problems_of(settings)]


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"check_timeout": 9, "check_interval": 10},
        {"check": Check.CONNECTION},
        {"check": Check.HTTP, "check_path": "/"},
        {"check": Check.HTTP_BODY, "check_path": "/", "check_body": "ok"},
        {"stickiness": Stickiness.HTTP_COOKIE},
        {"stickiness": Stickiness.TABLE, "protocol": Protocol.TCP},
        {"protocol": Protocol.TCP, "proxy_protocol": ProxyProtocol.V2},
        {"protocol": Protocol.HTTPS, "ssl_cert": "a", "ssl_key": "b", "cipher_suite": CipherSuite.LEGACY},
        {"outgoing_address": ("192.0.2.9",)},
        {"id": 7},
    ],
    ids=str,
)
def test_settings_that_go_together(keys: dict[str, Any]) -> None:
    assert problems(www(config(A, **keys))) == []
    assert warnings_of(www(config(A, **keys))) == ()


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"check_timeout": 10, "check_interval": 10},
            ["check_timeout: check_timeout (10) must be less than check_interval (10)"],
        ),
        ({"check": Check.HTTP}, ["check: needs check_path, the path that probes ask for"]),
        (
            {"check": Check.HTTP_BODY},
            [
                "check: needs check_path, the path that probes ask for",
                "check: needs check_body, the regular expression that the body must match",
            ],
        ),
        (
            {"stickiness": Stickiness.HTTP_COOKIE, "protocol": Protocol.TCP},
            ["stickiness: stickiness http_cookie needs protocol http or https, not tcp"],
        ),
        ({"proxy_protocol": ProxyProtocol.V1}, ["proxy_protocol: proxy_protocol needs protocol tcp, not http"]),
        (
            {"protocol": Protocol.HTTPS},
            [
                "protocol: needs ssl_cert, the file with the certificate",
                "protocol: needs ssl_key, the file with the certificate's key",
            ],
        ),
        (
            {"outgoing_address": ("192.0.2.9", "2001:db8::9")},
            ["outgoing_address: 2001:db8::9 can reach no node, since none has an IPv6 address"],
        ),
    ],
    ids=str,
)
def test_settings_of_a_config_that_make_no_sense_together(keys: dict[str, Any], expected: list[str]) -> None:
    assert problems(www(config(A, **keys))) == [f"[config www/x] {problem}" for problem in expected]


def test_an_outgoing_address_needs_a_node_of_its_family_once_there_are_nodes() -> None:
    outgoing = {"outgoing_address": ("192.0.2.9",)}
    assert problems(www(config(**outgoing))) == []
    assert problems(www(config(A, B, **outgoing))) == []
    assert problems(www(config(B, **outgoing))) == [
        "[config www/x] outgoing_address: 192.0.2.9 can reach no node, since none has an IPv4 address"
    ]


def test_a_node_that_goes_by_a_name_may_be_of_either_family() -> None:
    named = Node("n", Address("origin.internal", 80))
    assert problems(www(config(B, named, outgoing_address=("192.0.2.9",)))) == []
    assert problems(www(config(named, outgoing_address=("192.0.2.9", "2001:db8::9")))) == []


def test_a_redirect_needs_an_https_config_to_go_to_and_no_nodes() -> None:
    redirect = PortConfig("x", redirect=Redirect.HTTPS)
    assert problems(www(redirect, SECURE)) == []
    assert warnings_of(www(redirect, SECURE)) == ()
    assert problems(www(redirect)) == ["[config www/x] redirect: there is no https config to send clients to"]
    assert problems(www(config(A, redirect=Redirect.HTTPS), SECURE)) == [
        "[config www/x] redirect: sends all clients elsewhere, so it can have no nodes"
    ]
    assert problems(www(config(redirect=Redirect.HTTPS, protocol=Protocol.TCP), SECURE)) == [
        "[config www/x] redirect: redirect needs protocol http, not tcp"
    ]


def test_two_nodes_of_a_config_cannot_be_one_address() -> None:
    twin = Node("twin", A.address)
    assert problems(www(config(A, B, twin))) == ["[nodes www/x] twin: 192.0.2.1:80 is the address of node a already"]
    assert problems(www(PortConfig("x", {"a": A}), PortConfig("y", {"a": A}, port=81))) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_wildcard_is_no_node(host: str) -> None:
    nodes = [Node("n", Address(host, 80)), Node("m", Address(host, 80))]
    message = f"{host} stands for all addresses of a machine; give the node's own"
    assert problems(www(config(*nodes))) == [f"[nodes www/x] {name}: {message}" for name in "nm"]


def test_a_firewall_that_is_named_must_be_there() -> None:
    settings = www(config(A), firewall="office")
    assert problems(settings) == ["[nodebalancer www] firewall: there is no section [firewall office]"]
    assert problems(Settings(settings.nodebalancers, {"office": Firewall("office")})) == []


def test_every_rule_of_a_firewall_that_cannot_be_read_is_told() -> None:
    """R4; by its number, since a list has but one place in the file."""
    rules = "ACCEPT TCP 80,443 203.0.113.0/24, 2001:db8::/32", "ALLOW TCP 80 ::/0", "DROP TCP 80 ::/0", "DROP TCP 80"
    settings = Settings(firewalls={"office": Firewall("office", inbound=rules)})
    assert problems(settings) == [
        "[firewall office] inbound: rule 2, ALLOW TCP 80 ::/0: 'ALLOW': expected one of ACCEPT, DROP",
        f"[firewall office] inbound: rule 4, DROP TCP 80: expected {FORM}",
    ]


def test_ids_are_used_once() -> None:
    """A NodeBalancer and a config may have the same one, two of a sort may not."""
    plain, other = PortConfig("x", {"a": A}, id=1), PortConfig("y", {"a": A}, id=1, port=81)
    settings = Settings(
        {"a": NodeBalancer("a", {"x": plain, "y": other}, id=1), "b": NodeBalancer("b", {"y": attr_port(other)}, id=1)}
    )
    assert problems(settings) == [
        "[config a/y] id: 1 is the id of [config a/x] already",
        "[nodebalancer b] id: 1 is the id of [nodebalancer a] already",
        "[config b/y] id: 1 is the id of [config a/x] already",
    ]


def attr_port(other: PortConfig) -> PortConfig:
    return PortConfig(other.name, other.nodes, id=other.id, port=82)


def test_problems_name_line_and_value_where_the_file_says_it() -> None:
    """At the key that the file names, in the order of the file."""
    text = "[nodes www/x]\ntwin = 192.0.2.1:80\n[nodebalancer www]\n[config www/x]\ncheck_interval = 5\n"
    settings = www(config(A, Node("twin", A.address), check_interval=5))
    assert [str(problem) for problem in problems_of(settings, places_of("f", tokenize(text)))] == [
        "f:2: [nodes www/x] twin = 192.0.2.1:80: 192.0.2.1:80 is the address of node a already",
        "f:5: [config www/x] check_interval = 5: check_timeout (5) must be less than check_interval (5)",
    ]


def test_what_may_have_been_forgotten_is_a_warning() -> None:
    empty = Settings({"www": NodeBalancer("www")})
    assert problems(empty) == []
    assert [str(warning) for warning in warnings_of(empty)] == [
        "[nodebalancer www]: listens on nothing; add a section [config www/NAME]"
    ]
    bare = www(PortConfig("x"), PortConfig("y", port=81, protocol=Protocol.TCP))
    assert problems(bare) == []
    assert [str(warning) for warning in warnings_of(bare)] == [
        "[config www/x]: has no nodes, so every connection gets 503; add a section [nodes www/x]",
        "[config www/y]: has no nodes, so every connection is closed at once; add a section [nodes www/y]",
    ]


def test_a_manhole_needs_keys() -> None:
    assert [str(problem) for problem in problems_of(Settings(manhole=Manhole()))] == [
        (
            "[manhole] authorized_keys: needs authorized_keys, the file with the public keys that may log in; without one "
            "nobody is let in"
        )
    ]
    assert problems_of(Settings(manhole=Manhole(authorized_keys="keys"))) == ()
