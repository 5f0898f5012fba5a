"""Whom a firewall lets in."""

from __future__ import annotations

import pytest

from nodebalancer.balancing.firewall import admitted
from nodebalancer.model import Firewall, Policy


def admits(client: str, port: int, *inbound: str, policy: Policy = Policy.DROP) -> bool:
    return client in admitted(Firewall("office", policy, inbound), port)


@pytest.mark.parametrize("policy", Policy)
def test_the_policy_decides_where_no_rule_does(policy: Policy) -> None:
    """R4."""
    rules = "ACCEPT TCP 81 0.0.0.0/0, ::/0", "DROP TCP 79,82-90 0.0.0.0/0, ::/0"
    for client in ("192.0.2.1", "2001:db8::1"):
        assert admits(client, 80, policy=policy) is (policy is Policy.ACCEPT)
        assert admits(client, 80, *rules, policy=policy) is (policy is Policy.ACCEPT)


def test_the_first_rule_that_matches_decides() -> None:
    rules = (
        "DROP TCP 80 192.0.2.66",
        "ACCEPT TCP 80,443 192.0.2.0/24, 2001:db8::/32",
        "DROP TCP 443 192.0.2.1",
    )
    assert admits("192.0.2.1", 80, *rules)
    assert admits("192.0.2.1", 443, *rules)
    assert admits("2001:db8::7", 80, *rules)
    assert not admits("192.0.2.66", 80, *rules)
    assert admits("192.0.2.66", 443, *rules)
    assert not admits("198.51.100.1", 80, *rules)
    assert not admits("2001:db9::1", 80, *rules)


def test_ports_may_be_ranges_or_all() -> None:
    assert admits("192.0.2.1", 8050, "ACCEPT TCP 80,8000-8100 0.0.0.0/0")
    assert not admits("192.0.2.1", 8101, "ACCEPT TCP 80,8000-8100 0.0.0.0/0")
    assert admits("192.0.2.1", 65534, "ACCEPT TCP ALL 0.0.0.0/0")


@pytest.mark.parametrize("rule", ["DROP UDP 80 0.0.0.0/0", "DROP ICMP 0.0.0.0/0", "DROP IPENCAP 0.0.0.0/0"])
def test_rules_about_other_protocols_say_nothing_about_tcp(rule: str) -> None:
    assert admits("192.0.2.1", 80, rule, policy=Policy.ACCEPT)
