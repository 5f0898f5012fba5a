"""Builders say in few words what the model says in many."""

from __future__ import annotations

from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Firewall, Mode, Node, NodeBalancer, PortConfig, Settings
from nodebalancer.testing.builders import NODE_ADDRESS, config, node, nodebalancer, settings


def test_what_is_not_said_is_the_default() -> None:
    assert node() == Node("a", NODE_ADDRESS)
    assert config() == PortConfig("web")
    assert nodebalancer() == NodeBalancer("www")
    assert settings() == NOTHING


def test_things_hang_below_each_other_by_name() -> None:
    a = node("a", weight=3)
    b = node("b", Address("2001:db8::1", 80), mode=Mode.DRAIN)
    built = settings(nodebalancer("www", config("web", a, b, port=8000), max_connections=5), firewalls=(Firewall("f"),))
    web = PortConfig("web", {"a": a, "b": b}, port=8000)
    www = NodeBalancer("www", {"web": web}, max_connections=5)
    assert built == Settings({"www": www}, {"f": Firewall("f")})
    assert (a.weight, b.mode) == (3, Mode.DRAIN)
