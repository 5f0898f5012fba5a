"""PROXY headers, byte by byte as the specification has them, and as another implementation reads them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols.haproxy._v1parser import V1Parser
from twisted.protocols.haproxy._v2parser import V2Parser

from nodebalancer.fields import Address
from nodebalancer.model import ProxyProtocol
from nodebalancer.wire.proxy_protocol import HEADERS, PROBE_HEADERS, v1_header, v2_header

CLIENT4, OURS4 = Address("192.0.2.0", 56147), Address("203.0.113.0", 80)
CLIENT6, OURS6 = Address("2001:db8::1", 56147), Address("2001:db8:1::443", 443)


def test_version_1_for_ipv4_is_what_linode_documents() -> None:
    assert v1_header(CLIENT4, OURS4) == b"PROXY TCP4 192.0.2.0 203.0.113.0 56147 80\r\n"


def test_version_1_for_ipv6() -> None:
    assert v1_header(CLIENT6, OURS6) == b"PROXY TCP6 2001:db8::1 2001:db8:1::443 56147 443\r\n"


def test_version_1_is_never_longer_than_a_receiver_must_take() -> None:
    """Section 2.1 has 56 and 104 as the longest lines."""
    longest4, longest6 = "255.255.255.255", ":".join(["ffff"] * 8)
    assert len(v1_header(Address(longest4, 65535), Address(longest4, 65535))) == 56
    assert len(v1_header(Address(longest6, 65535), Address(longest6, 65535))) == 104


def test_version_2_for_ipv4() -> None:
    assert v2_header(CLIENT4, OURS4) == bytes.fromhex(
        "0d0a0d0a 000d0a51 5549540a"  # signature
        "21 11 000c"  # version 2 PROXY, TCP over IPv4, 12 bytes
        "c0000200 cb007100"  # source, destination
        "db53 0050"  # their ports
    )


def test_version_2_for_ipv6() -> None:
    assert v2_header(CLIENT6, OURS6) == bytes.fromhex(
        "0d0a0d0a 000d0a51 5549540a"  # signature
        "21 21 0024"  # version 2 PROXY, TCP over IPv6, 36 bytes
        "20010db8 00000000 00000000 00000001"  # source
        "20010db8 00010000 00000000 00000443"  # destination
        "db53 01bb"  # their ports
    )


def test_mixed_families_are_written_as_ipv6() -> None:
    assert v1_header(CLIENT4, OURS6) == b"PROXY TCP6 ::ffff:c000:0200 2001:db8:1::443 56147 443\r\n"
    assert v1_header(CLIENT6, OURS4) == b"PROXY TCP6 2001:db8::1 ::ffff:cb00:7100 56147 80\r\n"
    mapped = bytes(10) + b"\xff\xff"
    assert v2_header(CLIENT4, OURS6)[12:32] == b"\x21\x21\x00\x24" + mapped + bytes([192, 0, 2, 0])
    assert v2_header(CLIENT6, OURS4)[32:48] == mapped + bytes([203, 0, 113, 0])


def test_what_a_probe_sends() -> None:
    """Section 2.2: LOCAL with no family and no address; 2.1: UNKNOWN without the rest of the line."""
    assert PROBE_HEADERS[ProxyProtocol.V1] == b"PROXY UNKNOWN\r\n"
    assert PROBE_HEADERS[ProxyProtocol.V2] == bytes.fromhex("0d0a0d0a 000d0a51 5549540a 20 00 0000")


def test_every_version_that_can_be_wanted_has_its_headers() -> None:
    assert set(HEADERS) == set(PROBE_HEADERS) == set(ProxyProtocol) - {ProxyProtocol.NONE}


def addresses(kind: type[IPv4Address | IPv6Address], bits: int) -> st.SearchStrategy[Address]:
    hosts = st.integers(0, 2**bits - 1).map(kind).filter(lambda address: not getattr(address, "ipv4_mapped", None))
    return st.builds(Address, hosts.map(str), st.integers(0, 65535))


parsers = st.sampled_from(((ProxyProtocol.V1, V1Parser), (ProxyProtocol.V2, V2Parser)))
either = st.one_of(addresses(IPv4Address, 32), addresses(IPv6Address, 128))


@given(parsers, either, either)
def test_a_receiver_reads_what_was_written(receiver: tuple[ProxyProtocol, Any], client: Address, ours: Address) -> None:
    version, parser = receiver
    info, rest = parser().feed(HEADERS[version](client, ours) + b"hello")
    assert rest == b"hello"
    assert type(info.source) is type(info.destination)
    for written, read in ((client, info.source), (ours, info.destination)):
        address = ip_address(read.host)
        assert Address(str(getattr(address, "ipv4_mapped", None) or address), read.port) == written


def test_a_receiver_reads_that_a_probe_is_for_nobody() -> None:
    info, rest = V2Parser().feed(PROBE_HEADERS[ProxyProtocol.V2])
    assert info is not None
    assert (info.source, info.destination, rest) == (None, None, b"")
