"""Settings as a new file."""

from __future__ import annotations

import ipaddress
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.fields import Address, Choice, Integer, IPAddress, Key, Kind, ListOf, Maybe, Pattern, Text, keys_of
from nodebalancer.model import (
    NOTHING,
    Api,
    Firewall,
    Manhole,
    Metrics,
    Mode,
    Node,
    NodeBalancer,
    Policy,
    PortConfig,
    Protocol,
    ProxyProtocol,
    Redirect,
    Service,
    Settings,
    Stickiness,
)
from nodebalancer.settings.reading import load
from nodebalancer.settings.writing import render

TEXTS = st.text(max_size=12).map(str.strip).filter(str.isprintable)


def values(kind: Kind[Any]) -> st.SearchStrategy[Any]:
    """Values that a kind can read."""
    if kind.values:
        return st.sampled_from(list(kind.values))
    if isinstance(kind, Integer):
        return st.integers(kind.low, kind.high)
    if isinstance(kind, Pattern):
        return st.sampled_from(["", "/x", "x"]).filter(lambda text: not text or kind.pattern.fullmatch(text))
    if isinstance(kind, Text):
        return TEXTS
    if isinstance(kind, Maybe):
        return st.none() | values(kind.kind)
    if isinstance(kind, ListOf) and isinstance(kind.item, Choice):
        return st.lists(values(kind.item), unique=True).map(tuple)
    if isinstance(kind, ListOf) and isinstance(kind.item, Text):
        return st.lists(st.sampled_from(["a.example", "b c"]), unique=True).map(tuple)
    assert isinstance(kind, ListOf)
    if isinstance(kind.item, IPAddress):
        return st.lists(st.sampled_from(["192.0.2.1", "2001:db8::1"]), min_size=1, unique=True).map(tuple)
    return st.lists(st.sampled_from(["10.0.0.0/8", "2001:db8::/32"]).map(ipaddress.ip_network), unique=True).map(tuple)


def available(field: attrs.Attribute[Any], key: Key) -> st.SearchStrategy[Any]:
    assert key.available
    return st.sampled_from([value for value in (*key.kind.values, field.default) if key.available(value)])


def keywords(cls: type, **fixed: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some keys of a class at values that are available; what needs to go together is left to ``fixed``."""
    optional = {
        name: values(key.kind) if key.available is None else available(field, key)
        for name, (field, key) in keys_of(cls).items()
        if name not in fixed and name not in ("id", "port", "check_interval", "outgoing_address")
    }
    return st.fixed_dictionaries(fixed, optional=optional)


WHATEVER_IS_CHECKED_AND_SPOKEN: Any = {
    key: st.just(value)
    for key, value in (("check_path", "/x"), ("check_body", "x"), ("ssl_cert", "a.crt"), ("ssl_key", "a.key"))
}
CONFIGS = keywords(
    PortConfig,
    protocol=st.just(Protocol.TCP),
    stickiness=st.sampled_from([Stickiness.NONE, Stickiness.TABLE]),
    redirect=st.just(Redirect.NONE),
    **WHATEVER_IS_CHECKED_AND_SPOKEN,
) | keywords(
    PortConfig,
    protocol=st.sampled_from([Protocol.HTTP, Protocol.HTTPS]),
    proxy_protocol=st.just(ProxyProtocol.NONE),
    redirect=st.just(Redirect.NONE),
    **WHATEVER_IS_CHECKED_AND_SPOKEN,
)
FIREWALLS = keywords(Firewall, inbound=st.sampled_from([(), ("DROP TCP 80 ::/0", "ACCEPT ICMP 192.0.2.1")]))
NAMES = st.text("aB1_.-", min_size=1, max_size=4)
HOSTS = st.sampled_from([*(f"10.0.0.{i}" for i in range(9)), "2001:db8::9"])


@st.composite
def whole(draw: st.DrawFn) -> Settings:
    """Settings that load: every config on a port and with an id of its own."""
    nodebalancers = {}
    number = 1
    for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        configs = {}
        for config_name in draw(st.lists(NAMES, max_size=3, unique=True)):
            number += 1
            hosts = draw(st.lists(HOSTS, max_size=3, unique=True))
            nodes = {f"n{host[-1]}": Node(f"n{host[-1]}", Address(host, 80), **draw(keywords(Node))) for host in hosts}
            keys = draw(CONFIGS)
            configs[config_name] = PortConfig(config_name, nodes, **keys, id=number, port=number, check_interval=31)
        nodebalancers[name] = NodeBalancer(name, configs, **draw(keywords(NodeBalancer)))
    firewalls = {"x": Firewall("x", **draw(FIREWALLS))}
    return Settings(nodebalancers, firewalls, Service(**draw(keywords(Service))))


@settings(max_examples=60, deadline=None)
@given(whole())
def test_settings_that_are_written_load_as_what_they_were(wanted: Settings) -> None:
    assert load(render(wanted), "f") == wanted


def test_nothing_is_an_empty_file() -> None:
    assert render(NOTHING) == ""


def test_everything_that_differs_from_its_default_is_written() -> None:
    """What is not available yet too: who writes does not judge."""
    node = Node("n", Address("192.0.2.1", 80), mode=Mode.DRAIN, label='a "b"')
    config = PortConfig("x", {"n": node}, port=443, protocol=Protocol.HTTPS, ssl_names=("a.example", "b.example"))
    www = NodeBalancer("www", {"x": config, "y": PortConfig("y", upgrades=())}, throttle_burst=5)
    firewalls = {
        "one": Firewall("one", Policy.DROP, ("ACCEPT TCP 80 ::/0",)),
        "two": Firewall("two", inbound=("ACCEPT TCP 80 ::/0", "DROP TCP 81 ::/0")),
    }
    wanted = Settings(
        {"www": www}, firewalls, Service(grace_period=1), Manhole(), Metrics(Address("::1", 9)), Api(neighbours=True)
    )
    assert (
        render(wanted)
        == """\
[service]
grace_period = 1

[manhole]

[metrics]
listen = [::1]:9

[api]
neighbours = true

[nodebalancer www]
throttle_burst = 5

[config www/x]
port = 443
protocol = https
ssl_names = a.example, b.example

[nodes www/x]
n = 192.0.2.1:80 mode=drain label="a \\"b\\""

[config www/y]
upgrades =

[firewall one]
inbound_policy = DROP
inbound = ACCEPT TCP 80 ::/0

[firewall two]
inbound =
    ACCEPT TCP 80 ::/0
    DROP TCP 81 ::/0
"""
    )


def test_a_file_that_is_loaded_and_written_stays_what_it_is() -> None:
    text = "[nodebalancer www]\n\n[config www/x]\nport = 81\n\n[nodes www/x]\na = 192.0.2.1:80 weight=5\n"
    assert render(load(text, "f")) == text
    assert attrs.asdict(load(text, "f"))["nodebalancers"]["www"]["configs"]["x"]["port"] == 81
