"""What an inbound rule says, and what is told of one that says nothing."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from nodebalancer.firewall_rules import EVERY_PORT, FORM, Rule, Transport, read_rule
from nodebalancer.model import Policy

ANYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (
            "ACCEPT TCP 80,443,8000-8100 203.0.113.0/24, 2001:db8::/32",
            Rule(
                Policy.ACCEPT,
                Transport.TCP,
                (range(80, 81), range(443, 444), range(8000, 8101)),
                (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32")),
            ),
        ),
        # Linode's own API puts a blank after the comma.
        (
            "DROP UDP 22 , 80-90 192.0.2.1",
            Rule(Policy.DROP, Transport.UDP, (range(22, 23), range(80, 91)), (ip_network("192.0.2.1/32"),)),
        ),
        ("DROP TCP ALL 0.0.0.0/0,::/0", Rule(Policy.DROP, Transport.TCP, (range(1, 65536),), ANYWHERE)),
        ("DROP TCP 1-65535 0.0.0.0/0,::/0", Rule(Policy.DROP, Transport.TCP, (EVERY_PORT,), ANYWHERE)),
        ("ACCEPT ICMP 0.0.0.0/0, ::/0", Rule(Policy.ACCEPT, Transport.ICMP, (), ANYWHERE)),
        ("DROP IPENCAP 0.0.0.0/0, ::/0", Rule(Policy.DROP, Transport.IPENCAP, (), ANYWHERE)),
    ],
)
def test_rules_in_linodes_words(text: str, rule: Rule) -> None:
    assert read_rule(text) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"expected {FORM}"),
        ("ACCEPT TCP", f"expected {FORM}"),
        ("ACCEPT TCP 80", f"expected {FORM}"),
        ("ACCEPT TCP 80 192.0.2.1 198.51.100.1", f"expected {FORM}"),
        ("accept TCP 80 192.0.2.1", "'accept': expected one of ACCEPT, DROP"),
        ("ACCEPT SCTP 80 192.0.2.1", "'SCTP': expected one of TCP, UDP, ICMP, IPENCAP"),
        ("ACCEPT ICMP 80 192.0.2.1", "expected ACTION ICMP ADDRESSES, since ICMP has no ports"),
        (
            "ACCEPT TCP 0,http 192.0.2.1",
            "'0': not between 1 and 65535; 'http': not a whole number; expected a whole number from 1 to 65535",
        ),
        ("ACCEPT TCP 90-80 192.0.2.1", "'90-80': a range begins with its lower port"),
        ("ACCEPT TCP -80 192.0.2.1", "'-80': expected a port from 1 to 65535, or a range such as 8000-8100"),
        ("ACCEPT TCP 80- 192.0.2.1", "'80-': expected a port from 1 to 65535, or a range such as 8000-8100"),
        ("ACCEPT TCP , 192.0.2.1", f"expected {FORM}"),
        ("ACCEPT TCP 80,80 192.0.2.1", "the same value is listed twice"),
        ("ACCEPT TCP 80 192.0.2.1/24", "'192.0.2.1/24': an address inside a network; the network is 192.0.2.0/24"),
    ],
)
def test_what_is_told_of_a_rule_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 the message is what is tested
        read_rule(text)
    assert str(caught.value) == message


def test_a_rule_names_its_ports_and_no_others() -> None:
    rule = read_rule("ACCEPT TCP 80,8000-8100 0.0.0.0/0")
    assert [port for port in (79, 80, 81, 7999, 8000, 8100, 8101) if rule.names(Transport.TCP, port)] == [
        80,
        8000,
        8100,
    ]
    assert not rule.names(Transport.UDP, 80)
    assert not read_rule("ACCEPT ICMP 0.0.0.0/0").names(Transport.ICMP, 80)
