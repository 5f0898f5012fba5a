"""What must hold between settings that are each right in themselves, as far as it takes no machine to see.

``problems_of`` is for settings from anywhere; the reader asks ``findings`` itself, since it knows which of them rest on
a value that it could not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from nodebalancer.errors import Problem
from nodebalancer.firewall_rules import read_rule
from nodebalancer.model import (
    EVERYWHERE,
    Check,
    NodeBalancer,
    PortConfig,
    Protocol,
    ProxyProtocol,
    Redirect,
    Settings,
    Stickiness,
)
from nodebalancer.settings.listeners import listener_findings
from nodebalancer.settings.places import NOWHERE, Finding, Places, Spot, shown
from nodebalancer.settings.sections import section_name

HTTP = (Protocol.HTTP, Protocol.HTTPS)


def problems_of(settings: Settings, places: Places = NOWHERE) -> tuple[Problem, ...]:
    """Everything in ``settings`` that does not go together; empty when they can be used."""
    return told(findings(settings), places)


def warnings_of(settings: Settings, places: Places = NOWHERE) -> tuple[Problem, ...]:
    """What an operator may have forgotten; such settings are used all the same."""
    return told(remarks(settings), places)


def told(found: Iterator[Finding], places: Places) -> tuple[Problem, ...]:
    """Findings as problems with their places, in the order of the file."""
    spots = sorted(((places.spot(f), f.message) for f in found), key=lambda told: places.line(told[0]))
    return tuple(Problem(places.where(spot), message) for spot, message in spots)


def findings(settings: Settings) -> Iterator[Finding]:
    """Everything that does not go together."""
    yield from listener_findings(settings)
    yield from _same_ids(settings)
    yield from _firewall_findings(settings)
    if settings.manhole is not None and not settings.manhole.authorized_keys:
        message = "needs authorized_keys, the file with the public keys that may log in; without one nobody is let in"
        yield Finding((("manhole", "authorized_keys"),), message)
    for nodebalancer in settings.nodebalancers.values():
        if nodebalancer.firewall and nodebalancer.firewall not in settings.firewalls:
            spot = section_name("nodebalancer", nodebalancer.name), "firewall"
            yield Finding((spot,), f"there is no section [firewall {nodebalancer.firewall}]")
        for config in nodebalancer.configs.values():
            yield from _config_findings(nodebalancer, config)
            yield from _node_findings(nodebalancer, config)


def remarks(settings: Settings) -> Iterator[Finding]:
    """What may have been forgotten: a NodeBalancer without configs, a config without nodes."""
    for nodebalancer in settings.nodebalancers.values():
        if not nodebalancer.configs:
            spot = section_name("nodebalancer", nodebalancer.name), ""
            yield Finding((spot,), f"listens on nothing; add a section [config {nodebalancer.name}/NAME]")
        for config in nodebalancer.configs.values():
            if not config.nodes and config.redirect is Redirect.NONE:
                names = nodebalancer.name, config.name
                fate = "gets 503" if config.protocol in HTTP else "is closed at once"
                message = f"has no nodes, so every connection {fate}; add a section [{section_name('nodes', *names)}]"
                yield Finding(((section_name("config", *names), ""),), message)


@attrs.frozen
class Rule:
    """What the keys of one config must keep.

    Attributes:
        keys: What it is about; it is told at the first one that the file names.
        broken: Whether a config breaks it.
        message: May name fields of the config in braces.
    """

    keys: tuple[str, ...]
    broken: Callable[[PortConfig], bool]
    message: str


RULES = (
    Rule(
        ("check_timeout", "check_interval"),
        lambda c: c.check_timeout >= c.check_interval,
        "check_timeout ({0.check_timeout}) must be less than check_interval ({0.check_interval})",
    ),
    Rule(
        ("check", "check_path"),
        lambda c: c.check in (Check.HTTP, Check.HTTP_BODY) and not c.check_path,
        "needs check_path, the path that probes ask for",
    ),
    Rule(
        ("check", "check_body"),
        lambda c: c.check is Check.HTTP_BODY and not c.check_body,
        "needs check_body, the regular expression that the body must match",
    ),
    Rule(
        ("stickiness", "protocol"),
        lambda c: c.stickiness is Stickiness.HTTP_COOKIE and c.protocol not in HTTP,
        "stickiness http_cookie needs protocol http or https, not {0.protocol.value}",
    ),
    Rule(
        ("proxy_protocol", "protocol"),
        lambda c: c.proxy_protocol is not ProxyProtocol.NONE and c.protocol is not Protocol.TCP,
        "proxy_protocol needs protocol tcp, not {0.protocol.value}",
    ),
    Rule(
        ("redirect", "protocol"),
        lambda c: c.redirect is not Redirect.NONE and c.protocol is not Protocol.HTTP,
        "redirect needs protocol http, not {0.protocol.value}",
    ),
    Rule(
        ("protocol", "ssl_cert"),
        lambda c: c.protocol is Protocol.HTTPS and not c.ssl_cert,
        "needs ssl_cert, the file with the certificate",
    ),
    Rule(
        ("protocol", "ssl_key"),
        lambda c: c.protocol is Protocol.HTTPS and not c.ssl_key,
        "needs ssl_key, the file with the certificate's key",
    ),
)


def _config_findings(nodebalancer: NodeBalancer, config: PortConfig) -> Iterator[Finding]:
    names = nodebalancer.name, config.name
    section = section_name("config", *names)
    for rule in RULES:
        if rule.broken(config):
            yield Finding(tuple((section, key) for key in rule.keys), rule.message.format(config))
    if config.redirect is not Redirect.NONE:
        if config.nodes:
            spots = (section, "redirect"), (section_name("nodes", *names), "")
            yield Finding(spots, "sends all clients elsewhere, so it can have no nodes")
        if all(other.protocol is not Protocol.HTTPS for other in nodebalancer.configs.values()):
            others = ((section_name("config", nodebalancer.name, name), "protocol") for name in nodebalancer.configs)
            yield Finding(((section, "redirect"), *others), "there is no https config to send clients to")


def _node_findings(nodebalancer: NodeBalancer, config: PortConfig) -> Iterator[Finding]:
    names = nodebalancer.name, config.name
    section = section_name("nodes", *names)
    first: dict[tuple[str, int], str] = {}
    for node in config.nodes.values():
        other = first.setdefault(node.address, node.name)
        if node.address.host in EVERYWHERE:
            message = f"{node.address.host} stands for all addresses of a machine; give the node's own"
            yield Finding(((section, node.name),), message)
        elif other != node.name:
            spots = (section, node.name), (section, other)
            yield Finding(spots, f"{node.address} is the address of node {other} already")
    for outgoing in config.outgoing_address:
        # What a name stands for is not known here.
        if config.nodes and not any(
            node.address.is_name or _is_ipv6(node.address.host) is _is_ipv6(outgoing) for node in config.nodes.values()
        ):
            family = "an IPv6" if _is_ipv6(outgoing) else "an IPv4"
            key = section_name("config", *names), "outgoing_address"
            yield Finding((key, (section, "")), f"{outgoing} can reach no node, since none has {family} address")


def _firewall_findings(settings: Settings) -> Iterator[Finding]:
    """Rules that say nothing; each is told of, by its number among the rules of its firewall."""
    for firewall in settings.firewalls.values():
        spot = section_name("firewall", firewall.name), "inbound"
        for number, rule in enumerate(firewall.inbound, 1):
            try:
                read_rule(rule)
            except ValueError as e:
                yield Finding((spot,), f"rule {number}, {shown(rule)}: {e}")


def _is_ipv6(host: str) -> bool:
    return ":" in host


def _same_ids(settings: Settings) -> Iterator[Finding]:
    """The REST API tells NodeBalancers and configs apart by their ids."""
    first: dict[tuple[str, int], Spot] = {}
    for word, section, number in _ids(settings):
        spot = section, "id"
        other = first.setdefault((word, number), spot)
        if other != spot:
            yield Finding((spot, other), f"{number} is the id of [{other[0]}] already")


def _ids(settings: Settings) -> Iterator[tuple[str, str, int]]:
    for nodebalancer in settings.nodebalancers.values():
        if nodebalancer.id is not None:
            yield "nodebalancer", section_name("nodebalancer", nodebalancer.name), nodebalancer.id
        for config in nodebalancer.configs.values():
            if config.id is not None:
                yield "config", section_name("config", nodebalancer.name, config.name), config.id
