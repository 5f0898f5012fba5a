"""Who counts as one client, and who is in a set of them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodebalancer.balancing.clients import ClientSet, client_key
from nodebalancer.fields import Network


def test_an_ipv4_address_is_a_client() -> None:
    assert client_key("192.0.2.1") == "192.0.2.1"


@given(st.integers(0, 2**128 - 1))
@example(0)
@example(1)
@example(2**64)
@example(0x20010DB8 << 96)
@example((0x20010DB8 << 96) + (7 << 48))
def test_an_ipv6_client_is_its_64(number: int) -> None:
    assert IPv6Network(client_key(str(IPv6Address(number)))) == IPv6Network((number, 64), strict=False)


def test_addresses_of_one_64_are_one_client_and_neighbours_are_not() -> None:
    same = ("2001:db8:0:1::", "2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1:0:0:0:a")
    assert len({client_key(client) for client in same}) == 1
    assert client_key("2001:db8:0:2::1") != client_key(same[0])
    # The kernel writes the last four bytes of these with dots.
    assert client_key("::192.0.2.1") == client_key("::1")


def networks(*texts: str) -> list[tuple[Network, bool]]:
    """``+192.0.2.0/24`` is in, ``-192.0.2.0/24`` is out."""
    return [(ip_network(text[1:]), text[0] == "+") for text in texts]


@pytest.mark.parametrize("default", [False, True])
def test_without_rules_the_default_holds_for_everybody(default: bool) -> None:
    clients = ClientSet([], default=default)
    assert [client in clients for client in ("0.0.0.0", "255.255.255.255", "::", "ffff::")] == [default] * 4


def test_the_first_rule_that_holds_a_client_decides() -> None:
    clients = ClientSet(networks("-192.0.2.7/32", "+192.0.2.0/24", "-192.0.0.0/16", "+192.0.2.7/32"))
    assert "192.0.2.7" not in clients
    assert "192.0.2.6" in clients
    assert "192.0.2.8" in clients
    assert "192.0.1.1" not in clients
    assert "198.51.100.1" not in clients


def test_the_families_have_nothing_to_do_with_each_other() -> None:
    clients = ClientSet(networks("+0.0.0.0/0", "-::/1"), default=True)
    assert "0.0.0.1" in clients
    assert "::1" not in clients
    assert "8000::1" in clients
    assert "::1" not in ClientSet(networks("+0.0.0.0/0"))


def few(kind: type[IPv4Network | IPv6Network], bits: int) -> st.SearchStrategy[tuple[Network, bool]]:
    """Networks that overlap, touch and repeat, at both ends of the address space."""
    addresses = st.one_of(st.integers(0, 31), st.integers(2**bits - 32, 2**bits - 1))
    lengths = st.one_of(st.integers(bits - 5, bits), st.sampled_from((0, 1)))
    return st.tuples(
        st.builds(lambda number, length: kind((number, length), strict=False), addresses, lengths), st.booleans()
    )


@given(st.lists(st.one_of(few(IPv4Network, 32), few(IPv6Network, 128)), max_size=12), st.booleans())
def test_a_set_is_what_a_walk_over_its_rules_finds(rules: list[tuple[Network, bool]], default: bool) -> None:
    clients = ClientSet(rules, default=default)
    for bits in (32, 128):
        for number in (*range(33), *range(2**bits - 33, 2**bits), 2 ** (bits - 1)):
            address = IPv4Address(number) if bits == 32 else IPv6Address(number)
            walked = next((inside for network, inside in rules if address in network), default)
            assert (str(address) in clients) is walked, address


def test_a_set_of_very_many_networks_is_asked_quickly_enough_to_ask_it_for_each() -> None:
    """A block list of 50,000 networks: compiled, and each of them found, without looking at the others."""
    many = [(ip_network((number << 12, 20)), number % 2 == 0) for number in range(50_000)]
    clients = ClientSet(many, default=True)
    for network, inside in many:
        assert (str(network.network_address) in clients) is inside
        assert (str(network.broadcast_address) in clients) is inside
