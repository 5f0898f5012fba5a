"""How one node is probed: the check of a config, made ready for a node."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from nodebalancer.errors import Problem
from nodebalancer.fields import Address
from nodebalancer.health.patterns import BodyPattern
from nodebalancer.model import Check, Mode, Node, PortConfig, ProxyProtocol, Settings
from nodebalancer.settings.sections import section_name
from nodebalancer.wire.proxy_protocol import PROBE_HEADERS

Path = tuple[str, str, str]
"""NodeBalancer, config and node."""

REQUEST: Final = "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: nodebalancer\r\nConnection: close\r\n\r\n"
"""What an HTTP probe asks (R21)."""


@attrs.frozen
class NodeCheck:
    """How one node is probed.

    Attributes:
        address: The node's, which may have a name; with the port that is probed.
        timeout: Seconds that a probe may take, connecting included.
        interval: Seconds from one probe to the next.
        opening: What a probe sends once it is connected: a PROXY header, a request, both or nothing.
        asks: Whether it waits for an HTTP response.
        pattern: What its body must match; None: its status decides.
        sources: ``outgoing_address`` of its config.
        node: Where its traffic goes; a node that moves is another one, and is probed at once.
    """

    address: Address
    timeout: float
    interval: float
    opening: bytes
    asks: bool
    pattern: BodyPattern | None = None
    sources: tuple[str, ...] = ()
    node: Address | None = None

    def source_for(self, host: str) -> str | None:
        """The address from which a node at ``host`` is probed: the first that its traffic may come from; None: the system's choice."""
        return next((source for source in self.sources if (":" in source) is (":" in host)), None)


def checks_of(settings: Settings) -> dict[Path, NodeCheck]:
    """How each node is probed; those in mode reject are not (R26).

    Raises:
        ValueError: A pattern is none; ``pattern_problems`` has told so before.
    """
    checks = {}
    for nodebalancer in settings.nodebalancers.values():
        for config in nodebalancer.configs.values():
            if config.check is Check.NONE:
                continue
            pattern = BodyPattern(config.check_body) if config.check is Check.HTTP_BODY else None
            for node in config.nodes.values():
                if node.mode is not Mode.REJECT:
                    checks[nodebalancer.name, config.name, node.name] = check_of(config, node, pattern)
    return checks


def check_of(config: PortConfig, node: Node, pattern: BodyPattern | None = None) -> NodeCheck:
    """How ``node`` is probed by a config that checks its nodes; ``pattern`` is its ``check_body`` where that is used."""
    asks = config.check in (Check.HTTP, Check.HTTP_BODY)
    port = config.check_port or node.address.port
    opening = b""
    # As HAProxy does: where probes are answered elsewhere than traffic, nobody waits for a PROXY header.
    if config.proxy_protocol is not ProxyProtocol.NONE and port == node.address.port:
        opening = PROBE_HEADERS[config.proxy_protocol]
    if asks:
        host = config.check_host or str(node.address)
        opening += REQUEST.format(path=config.check_path, host=host).encode("ascii")
    address = Address(node.address.host, port)
    return NodeCheck(
        address,
        config.check_timeout,
        config.check_interval,
        opening,
        asks,
        pattern,
        config.outgoing_address,
        node.address,
    )


def pattern_problems(settings: Settings) -> Iterator[Problem]:
    """Every ``check_body`` that is no regular expression, used or not."""
    for nodebalancer in settings.nodebalancers.values():
        for config in nodebalancer.configs.values():
            try:
                BodyPattern(config.check_body)
            except ValueError as error:
                section = section_name("config", nodebalancer.name, config.name)
                yield Problem(f"[{section}] check_body = {config.check_body}", str(error), (section, "check_body"))
