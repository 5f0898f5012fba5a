"""What the settings need at their worst, and what this machine gives."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs

from nodebalancer.fields import Address
from nodebalancer.health.monitor import IN_FLIGHT_MAX
from nodebalancer.model import Check, Mode, PortConfig, Settings
from nodebalancer.transport.engine import BUFFER_BYTES

DESCRIPTORS_PER_CONNECTION = 2
"""The client's socket and the node's."""

DESCRIPTORS_RESERVED = 64
"""Kept for everything that is neither a client's connection nor a probe: reactor, log, shell, API, names, pipes."""

CONNECTION_BYTES = 4096 + 2 * BUFFER_BYTES
"""Memory of one connection at its worst: 4 KiB of objects (what an idle one may cost), and a full buffer each way because
neither side reads. Socket buffers are the kernel's and bounded by ``net.ipv4.tcp_mem``."""


@attrs.frozen
class Needs:
    """What some settings need when every NodeBalancer has ``max_connections``.

    Attributes:
        connections: Over all NodeBalancers.
        listeners: Sockets that listen.
        probes: Those under way at once.
    """

    connections: int
    listeners: int
    probes: int = 0

    @property
    def descriptors(self) -> int:
        """Open files and sockets."""
        return DESCRIPTORS_PER_CONNECTION * self.connections + self.others

    @property
    def others(self) -> int:
        """Those of them that no connection needs."""
        return self.listeners + self.probes + DESCRIPTORS_RESERVED

    @property
    def memory_bytes(self) -> int:
        """Memory of the connections alone."""
        return CONNECTION_BYTES * self.connections


def needs(settings: Settings) -> Needs:
    """What ``settings`` need at their worst."""
    nodebalancers = settings.nodebalancers.values()
    return Needs(
        sum(n.max_connections for n in nodebalancers),
        sum(len(n.listen) * len(n.configs) for n in nodebalancers),
        min(IN_FLIGHT_MAX, sum(_probed(config) for n in nodebalancers for config in n.configs.values())),
    )


def _probed(config: PortConfig) -> int:
    """How many nodes of a config are probed."""
    return 0 if config.check is Check.NONE else sum(node.mode is not Mode.REJECT for node in config.nodes.values())


@attrs.frozen
class Limits:
    """What this machine gives a process.

    Attributes:
        descriptors_now: The soft limit of open files, which a process may raise by itself up to the next one.
        descriptors_most: The hard limit.
        source_ports: How many connections one of our addresses can have to one address and port; None where that is
            not known.
        memory_bytes: Memory that is free or can be made so; None where that is not known.
    """

    descriptors_now: int
    descriptors_most: int
    source_ports: int | None
    memory_bytes: int | None


def limits(proc: Path = Path("/proc")) -> Limits:
    """What there is right now, for the process that asks."""
    soft, hard = (_endless(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    return Limits(soft, hard, _source_ports(proc / "sys/net/ipv4"), _memory_bytes(proc / "meminfo"))


def _endless(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _source_ports(net: Path) -> int | None:
    """The ephemeral range without what is reserved in it (Linux, ip-sysctl)."""
    try:
        low, high = map(int, (net / "ip_local_port_range").read_text().split())
        reserved = (net / "ip_local_reserved_ports").read_text().strip()
    except (OSError, ValueError):
        return None
    ports = high - low + 1
    for span in filter(None, reserved.split(",")):
        first, _, last = span.partition("-")
        ports -= max(0, min(int(last or first), high) - max(int(first), low) + 1)
    return ports


def _memory_bytes(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def source_ports_for(nodes: Mapping[str, Address], outgoing: tuple[str, ...], per_address: int) -> int:
    """How many connections can be open at once to all of ``nodes`` (name to address) together.

    Args:
        nodes: Several at one address and port share its ports.
        outgoing: A config's ``outgoing_address``; those of the other family do not count for a node, but all for a
            node that goes by a name.
        per_address: ``Limits.source_ports``.
    """

    def sources(address: Address) -> int:
        return sum(address.is_name or (":" in source) == (":" in address.host) for source in outgoing) or 1

    return sum(per_address * sources(address) for address in set(nodes.values()))


def raise_descriptors(needed: int) -> int:
    """Raise the soft limit of open files towards ``needed`` as far as the hard limit lets us; never lowers it.

    Returns:
        The soft limit there is now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _endless(soft) >= needed:
        return _endless(soft)
    wanted = min(needed, _endless(hard))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def shortage(needed: Needs, descriptors: int) -> str | None:
    """What to tell the operator when ``descriptors`` are too few for all connections; None when they suffice."""
    if descriptors >= needed.descriptors:
        return None
    fit = max(0, descriptors - needed.others) // DESCRIPTORS_PER_CONNECTION
    return (
        f"{descriptors} descriptors are enough for {fit} of {needed.connections} connections only; raise the limit to "
        f"{needed.descriptors} (LimitNOFILE= in systemd, ulimit -Hn in a shell) or lower max_connections"
    )
