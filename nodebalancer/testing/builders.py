"""Settings for tests in few words: what is not said has the model's default."""

from __future__ import annotations

from typing import Any

from nodebalancer.fields import Address
from nodebalancer.model import Firewall, Node, NodeBalancer, PortConfig, Settings

NODE_ADDRESS = Address("192.0.2.1", 8080)
"""Where nodes are of which a test does not say it; from the range for documentation, so nobody is dialled by mistake."""


def node(name: str = "a", address: Address = NODE_ADDRESS, **fields: Any) -> Node:
    """A node; ``fields`` are the model's: ``node("a", weight=3)``."""
    return Node(name, address, **fields)


def config(name: str = "web", *nodes: Node, **fields: Any) -> PortConfig:
    """A config with these nodes: ``config("web", node("a"), node("b"), port=8000)``."""
    return PortConfig(name, {one.name: one for one in nodes}, **fields)


def nodebalancer(name: str = "www", *configs: PortConfig, **fields: Any) -> NodeBalancer:
    """A NodeBalancer with these configs: ``nodebalancer("www", config("web"))``."""
    return NodeBalancer(name, {one.name: one for one in configs}, **fields)


def settings(*nodebalancers: NodeBalancer, firewalls: tuple[Firewall, ...] = (), **fields: Any) -> Settings:
    """Settings with these NodeBalancers: ``settings(nodebalancer("www", config("web")))``."""
    return Settings({one.name: one for one in nodebalancers}, firewalls={one.name: one for one in firewalls}, **fields)
