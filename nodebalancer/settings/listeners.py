"""Who listens where: no two on one address and port, and no node that is ourselves.

A wildcard (``0.0.0.0``, ``::``) overlaps with every address of its family, and the two do not overlap with each other,
since IPv6 sockets take no IPv4 clients. TCP and UDP do not meet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from nodebalancer.fields import Address
from nodebalancer.model import EVERYWHERE, Node, NodeBalancer, PortConfig, Protocol, Settings
from nodebalancer.settings.places import Finding, Spot
from nodebalancer.settings.sections import section_name


@attrs.frozen
class Claim:
    """Somebody wants to listen on an address.

    Attributes:
        section: Whose it is: ``config www/plain``.
        transport: ``tcp`` or ``udp``.
        spots: Where the settings say so.
    """

    section: str
    transport: str
    address: Address
    spots: tuple[Spot, ...]


class Claims:
    """Claims by address: the first to come has it."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, Address], Claim] = {}
        self._any: dict[tuple[str, Address], Claim] = {}

    def add(self, claim: Claim) -> None:
        self._exact.setdefault((claim.transport, claim.address), claim)
        self._any.setdefault((claim.transport, _everywhere(claim.address)), claim)

    def at(self, transport: str, address: Address) -> Claim | None:
        """Whose listener gets what is sent to ``address``, were it one of ours."""
        exact = self._exact.get((transport, address))
        return exact or self._exact.get((transport, _everywhere(address)))

    def against(self, claim: Claim) -> Claim | None:
        """A claim that overlaps with ``claim``."""
        other = self.at(claim.transport, claim.address)
        if other is None and claim.address.host in EVERYWHERE:
            other = self._any.get((claim.transport, claim.address))
        return other


def listener_findings(settings: Settings) -> Iterator[Finding]:
    """Overlapping listeners, and nodes that are listeners of ours."""
    for nodebalancer in settings.nodebalancers.values():
        yield from _listens_twice(nodebalancer)
    yield from _overlaps(settings)
    yield from _nodes_that_are_us(settings)


def _listens_twice(nodebalancer: NodeBalancer) -> Iterator[Finding]:
    spot = section_name("nodebalancer", nodebalancer.name), "listen"
    for host in nodebalancer.listen:
        everywhere = _everywhere(Address(host, 0)).host
        if host != everywhere and everywhere in nodebalancer.listen:
            yield Finding((spot,), f"{everywhere} stands for all addresses of its family, {host} among them; drop one")


def _overlaps(settings: Settings) -> Iterator[Finding]:
    """One finding for each two that want the same, with all that both want."""
    claims = Claims()
    told: dict[tuple[str, str], tuple[tuple[Spot, ...], list[str]]] = {}
    for claim in (*_fixed_claims(settings), *_config_claims(settings)):
        other = claims.against(claim)
        claims.add(claim)
        if other is not None and other.section != claim.section:
            _, taken = told.setdefault((claim.section, other.section), ((*claim.spots, *other.spots), []))
            which = "" if other.address == claim.address else f" (it listens on {other.address})"
            taken.append(f"{claim.address}{which}")
    for (section, other_section), (spots, taken) in told.items():
        yield Finding(spots, f"[{section}] cannot listen on what [{other_section}] has already: {', '.join(taken)}")


def _fixed_claims(settings: Settings) -> Iterator[Claim]:
    for word, thing in (("manhole", settings.manhole), ("metrics", settings.metrics), ("api", settings.api)):
        if thing is not None:
            yield Claim(word, "tcp", thing.listen, ((word, "listen"),))


def _config_claims(settings: Settings) -> Iterator[Claim]:
    for nodebalancer in settings.nodebalancers.values():
        listen = section_name("nodebalancer", nodebalancer.name), "listen"
        for config in nodebalancer.configs.values():
            section = section_name("config", nodebalancer.name, config.name)
            spots = (section, "port"), (section, "protocol"), listen
            for host in nodebalancer.listen:
                yield Claim(section, transport_of(config), Address(host, config.port), spots)


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")


class OwnListeners:
    """Which addresses are listeners of ours, as far as ``settings`` tell."""

    def __init__(self, settings: Settings) -> None:
        self._claims = Claims()
        for claim in _config_claims(settings):
            self._claims.add(claim)
        self._hosts = {host for nodebalancer in settings.nodebalancers.values() for host in nodebalancer.listen}

    def at(self, transport: str, address: Address, is_local: Callable[[str], bool] = _is_loopback) -> Claim | None:
        """Whose listener a dial to ``address``, numeric, would reach.

        Args:
            transport: ``tcp`` or ``udp``.
            address: Where a node is said to be.
            is_local: Whether a host is an address of this machine, by which a wildcard listens there too.
        """
        host = address.host
        if host in EVERYWHERE or not (host in self._hosts or _is_loopback(host) or is_local(host)):
            return None
        return self._claims.at(transport, address)


def _nodes_that_are_us(settings: Settings) -> Iterator[Finding]:
    ours = OwnListeners(settings)
    for section, transport, node in _nodes(settings):
        if ours_there := ours.at(transport, node.address):
            message = f"{node.address} is our own listener, [{ours_there.section}]; connections would go in circles"
            yield Finding(((section, node.name), *ours_there.spots), message)


def _nodes(settings: Settings) -> Iterator[tuple[str, str, Node]]:
    for nodebalancer in settings.nodebalancers.values():
        for config in nodebalancer.configs.values():
            section = section_name("nodes", nodebalancer.name, config.name)
            for node in config.nodes.values():
                yield section, transport_of(config), node


def transport_of(config: PortConfig) -> str:
    """What a config's listeners and nodes speak below its protocol: ``tcp`` or ``udp``."""
    return "udp" if config.protocol is Protocol.UDP else "tcp"


def _everywhere(address: Address) -> Address:
    return Address("::" if ":" in address.host else "0.0.0.0", address.port)  # noqa: S104 compared, not listened on
