"""PROXY protocol headers: how a tcp node is told whom it speaks with (haproxy's proxy-protocol.txt, 2.1 and 2.2).

Source is the client, destination the address of ours that it connected to. Where the two are of different families
the IPv4 one is written as IPv6, ``::ffff:192.0.2.1``: a header has one family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address
from struct import Struct
from typing import Final

from nodebalancer.fields import Address
from nodebalancer.model import ProxyProtocol

V1_UNKNOWN: Final = b"PROXY UNKNOWN\r\n"
V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
V2_LOCAL: Final = V2_SIGNATURE + b"\x20\x00\x00\x00"
V2_TCP4: Final = V2_SIGNATURE + b"\x21\x11\x00\x0c"
V2_TCP6: Final = V2_SIGNATURE + b"\x21\x21\x00\x24"

_MAPPED: Final = bytes(10) + b"\xff\xff"
_ports = Struct("!HH").pack


def v1_header(client: Address, ours: Address) -> bytes:
    """The header of version 1, a line of at most 104 bytes."""
    if ":" in client.host or ":" in ours.host:
        line = f"PROXY TCP6 {_ipv6(client.host)} {_ipv6(ours.host)} {client.port} {ours.port}\r\n"
    else:
        line = f"PROXY TCP4 {client.host} {ours.host} {client.port} {ours.port}\r\n"
    return line.encode("ascii")


def v2_header(client: Address, ours: Address) -> bytes:
    """The header of version 2: 28 bytes for IPv4, 52 for IPv6."""
    ports = _ports(client.port, ours.port)
    if ":" in client.host or ":" in ours.host:
        return V2_TCP6 + _packed6(client.host) + _packed6(ours.host) + ports
    return V2_TCP4 + _packed4(client.host) + _packed4(ours.host) + ports


HEADERS: Final[Mapping[ProxyProtocol, Callable[[Address, Address], bytes]]] = {
    ProxyProtocol.V1: v1_header,
    ProxyProtocol.V2: v2_header,
}
"""What begins a connection to a node for a client: ``HEADERS[version](client, ours)``, both numeric and normalised."""

PROBE_HEADERS: Final[Mapping[ProxyProtocol, bytes]] = {ProxyProtocol.V1: V1_UNKNOWN, ProxyProtocol.V2: V2_LOCAL}
"""What begins a probe, which is for no client.

Some receivers refuse ``UNKNOWN``; the specification would rather have the addresses of the probe's own two ends, which
``v1_header`` writes.
"""


def _packed4(host: str) -> bytes:
    return bytes(map(int, host.split(".")))


@lru_cache(maxsize=1024)  # 2 µs each; our own address is in every header
def _packed6(host: str) -> bytes:
    return IPv6Address(host).packed if ":" in host else _MAPPED + _packed4(host)


def _ipv6(host: str) -> str:
    """Without dots, which version 1 has no place for."""
    return host if ":" in host else f"::ffff:{_packed4(host).hex(':', 2)}"
