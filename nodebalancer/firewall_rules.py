"""What an inbound rule of a firewall says: ``ACTION PROTOCOL PORTS ADDRESSES``, in Linode's words (R4).

``ACCEPT TCP 80,443,8000-8100 203.0.113.0/24, 2001:db8::/32``. Ports are a list of numbers and ranges, or ``ALL``, which
is ``1-65535``. ``ICMP`` and ``IPENCAP`` have no ports: ``DROP ICMP 0.0.0.0/0``. They and ``UDP`` are read because
Linode's firewalls have them; a connection to a tcp, http or https config is decided by ``TCP`` rules alone.
"""

from __future__ import annotations

import enum
import re
from typing import TypeVar

import attrs

from nodebalancer.fields import CIDR, Choice, Integer, Kind, ListOf, Network
from nodebalancer.model import Policy

T = TypeVar("T")


class Transport(enum.Enum):
    """What a rule is about."""

    TCP = "TCP"
    UDP = "UDP"
    ICMP = "ICMP"
    IPENCAP = "IPENCAP"


@attrs.frozen
class Rule:
    """One inbound rule.

    Attributes:
        action: What happens to a connection that it names.
        protocol: What it is about.
        ports: Ranges of ports, both ends included; empty for a protocol without ports.
        networks: Where clients come from; at least one.
    """

    action: Policy
    protocol: Transport
    ports: tuple[range, ...]
    networks: tuple[Network, ...]

    def names(self, protocol: Transport, port: int) -> bool:
        """Whether it is about connections to this port."""
        return self.protocol is protocol and any(port in ports for ports in self.ports)


EVERY_PORT = range(1, 65536)
WITHOUT_PORTS = (Transport.ICMP, Transport.IPENCAP)
FORM = "ACTION PROTOCOL PORTS ADDRESSES such as: ACCEPT TCP 80,443,8000-8100 203.0.113.0/24, 2001:db8::/32"


class PortRange(Kind[range]):
    """A port, or the first and the last of a range."""

    expected = "a port from 1 to 65535, or a range such as 8000-8100"
    port = Integer(EVERY_PORT[0], EVERY_PORT[-1])

    def read(self, text: str) -> range:
        first, dash, last = text.partition("-")
        if not dash:
            last = first
        if not (first and last):
            raise ValueError(f"expected {self.expected}")
        low, high = self.port.read(first), self.port.read(last)
        if low > high:
            raise ValueError("a range begins with its lower port")
        return range(low, high + 1)


_ACTION = Choice(Policy)
_PROTOCOL = Choice(Transport)
_PORTS = ListOf(PortRange(), at_least=1)
_NETWORKS = ListOf(CIDR(), at_least=1)


def read_rule(text: str) -> Rule:
    """The rule that a line says.

    Raises:
        ValueError: With a sentence for the operator; caught by ``settings``, which says where.
    """
    # A comma holds a list together, so that blanks are left between the four parts alone.
    words = re.sub(r"\s*,\s*", ",", text).split()
    if len(words) < 3:
        raise ValueError(f"expected {FORM}")
    action, protocol = _read(_ACTION, words[0]), _read(_PROTOCOL, words[1])
    parts = words[2:]
    if protocol in WITHOUT_PORTS:
        if len(parts) != 1:
            raise ValueError(f"expected ACTION {protocol.value} ADDRESSES, since {protocol.value} has no ports")
        return Rule(action, protocol, (), _NETWORKS.read(parts[0]))
    if len(parts) != 2:
        raise ValueError(f"expected {FORM}")
    ports = (EVERY_PORT,) if parts[0] == "ALL" else _PORTS.read(parts[0])
    return Rule(action, protocol, ports, _NETWORKS.read(parts[1]))


def _read(kind: Kind[T], text: str) -> T:
    try:
        return kind.read(text)
    except ValueError as e:
        raise ValueError(f"{text!r}: {e}") from None
