"""What ``--check`` prints for good settings: what would run, and whether this machine has room for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nodebalancer.fields import Address
from nodebalancer.model import Node, NodeBalancer, PortConfig, Redirect, Settings
from nodebalancer.process.limits import Limits, Needs, needs, shortage, source_ports_for
from nodebalancer.proxy.live import https_port

MIB = 2**20


Certificates = Callable[[tuple[str, str]], Iterable[str]]
"""A line for each certificate of a config, which is named by NodeBalancer and config."""


def summary(settings: Settings, limits: Limits, certificates: Certificates = lambda path: ()) -> str:
    """The whole text, without a line end after the last line."""
    lines: list[str] = []
    for nodebalancer in settings.nodebalancers.values():
        lines += _nodebalancer(nodebalancer, certificates)
    lines += _process(settings)
    return "\n".join([*lines, *_resources(settings, limits)])


def _process(settings: Settings) -> Iterable[str]:
    service = settings.service
    if service.access_log:
        file = "standard output" if service.access_log == "-" else service.access_log
        yield f"[service] access log to {file}, format {service.access_log_format.value}"
    if settings.manhole is not None:
        yield f"[manhole] on {settings.manhole.listen} over SSH, for the keys in {settings.manhole.authorized_keys}"
    if settings.metrics is not None:
        yield f"[metrics] on http://{settings.metrics.listen}/metrics, and /health there"


def _nodebalancer(nodebalancer: NodeBalancer, certificates: Certificates) -> Iterable[str]:
    label = f" {nodebalancer.label}" if nodebalancer.label else ""
    freebind = ", freebind" if nodebalancer.freebind else ""
    yield f"[nodebalancer {nodebalancer.name}]{label}, at most {nodebalancer.max_connections} connections{freebind}"
    for config in nodebalancer.configs.values():
        yield from _config(nodebalancer, config, certificates)


def _config(nodebalancer: NodeBalancer, config: PortConfig, certificates: Certificates) -> Iterable[str]:
    places = ", ".join(str(Address(host, config.port)) for host in nodebalancer.listen)
    yield f"  [config {nodebalancer.name}/{config.name}] {config.protocol.value} on {places}, {config.algorithm.value}"
    yield from (f"    {line}" for line in certificates((nodebalancer.name, config.name)))
    width = max((len(name) for name in config.nodes), default=0)
    for node in config.nodes.values():
        yield _node(node, width)
    if config.redirect is Redirect.HTTPS:
        yield f"    redirects to https on port {https_port(nodebalancer)}"
    elif not config.nodes:
        yield "    no nodes"


def _node(node: Node, width: int) -> str:
    return f"    {node.name:{width}} = {node.address} weight={node.weight} mode={node.mode.value}"


def _resources(settings: Settings, limits: Limits) -> Iterable[str]:
    needed = needs(settings)
    yield f"With all {needed.connections} connections at once:"
    yield f"  memory: {_memory(needed, limits)}"
    yield f"  descriptors: {_descriptors(needed, limits)}"
    for nodebalancer in settings.nodebalancers.values():
        for config in nodebalancer.configs.values():
            if config.nodes and limits.source_ports is not None:
                yield f"  source ports of [config {nodebalancer.name}/{config.name}]: " + _source_ports(
                    nodebalancer, config, limits.source_ports
                )


def _memory(needed: Needs, limits: Limits) -> str:
    text = f"{_mib(needed.memory_bytes)} MiB at worst, when nobody reads"
    if limits.memory_bytes is None:
        return f"{text}; how much this machine has free is not known"
    text = f"{text}, of {limits.memory_bytes // MIB} MiB available"
    if needed.memory_bytes <= limits.memory_bytes:
        return f"{text}: fits"
    return f"{text}: does not fit; raise the machine's memory or lower max_connections"


def _mib(count: int) -> int:
    """Rounded up: what needs one byte needs a MiB."""
    return -(-count // MIB)


def _descriptors(needed: Needs, limits: Limits) -> str:
    text = f"{needed.descriptors}, with a limit of {limits.descriptors_now}"
    reached = min(needed.descriptors, limits.descriptors_most)
    if reached > limits.descriptors_now:
        text += f", raised to {reached} at start"
    short = shortage(needed, limits.descriptors_most)
    return f"{text}: does not fit; {short}" if short else f"{text}: fits"


def _source_ports(nodebalancer: NodeBalancer, config: PortConfig, per_address: int) -> str:
    nodes = {name: node.address for name, node in config.nodes.items()}
    ports = source_ports_for(nodes, config.outgoing_address, per_address)
    text = f"{nodebalancer.max_connections}, of {ports} towards its nodes"
    if nodebalancer.max_connections <= ports:
        return f"{text}: fits"
    return (
        f"{text}: does not fit; raise net.ipv4.ip_local_port_range, list more addresses in outgoing_address, "
        "or lower max_connections"
    )
