"""Whom a firewall lets in: its rules, compiled for one port (R4)."""

from __future__ import annotations

from nodebalancer.balancing.clients import ClientSet
from nodebalancer.firewall_rules import Transport, read_rule
from nodebalancer.model import Firewall, Policy


def admitted(firewall: Firewall, port: int) -> ClientSet:
    """The clients that may connect to a TCP port of a config; ask with ``client in …``.

    Compiled once for each config; asking costs the logarithm of the number of networks, however many rules there are.

    Args:
        firewall: With rules that ``settings`` has found readable.
        port: 1 to 65535.
    """
    rules = [rule for rule in map(read_rule, firewall.inbound) if rule.names(Transport.TCP, port)]
    return ClientSet(
        ((network, rule.action is Policy.ACCEPT) for rule in rules for network in rule.networks),
        default=firewall.inbound_policy is Policy.ACCEPT,
    )
