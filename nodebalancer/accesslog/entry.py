"""What there is to say of a request, or of a tcp connection, when it has ended."""

from __future__ import annotations

from typing import Final, NamedTuple

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.model import Node, Protocol

KEPT_BYTES: Final = 200
"""How much is kept of what a client may make as long as it likes."""

Facts = tuple[float, str, Protocol, str, int, int, Node | None, Outcome, int, float | None, float | None, float]
"""The first fields of an ``Entry``, which a tcp connection has too."""


class Entry(NamedTuple):
    """Made on the hot path for every line, so it only keeps what is there; ``lines`` makes words of it, elsewhere.

    Attributes:
        at: When the client came, seconds since the epoch.
        config: ``www/secure``.
        protocol: The config's.
        client: Its address.
        bytes_in: Bytes received from it; ``bytes_out``: handed to it, heads of responses among them.
        node: The node that it had at its end, else the last one that could not be reached; None: none was tried.
        outcome: How it ended.
        failed_dials: Nodes that could not be reached for it.
        waiting: Seconds until the node was dialled: the time the client took for its request head, or for TLS, and of
            dials that failed; None: no node was dialled.
        connecting: Seconds that the dial took; None: no node was connected.
        total: Seconds from its coming to its end.

    Of requests only:
        answering: Seconds from the node's connection to the head of its response; None: there was none.
        status: What the client was sent; 0: nothing.
        method, target: Of the request; the method is empty when its head was not read to the end, or refused.
        http10: Whether the request was HTTP/1.0.
        lines: The request line and fields that were forwarded, each with its line end, in the client's order.
        forwarded_for: The values of X-Forwarded-For that it came with, the first ``KEPT_BYTES`` of them.
        request_id: The X-Request-ID that the node has seen; empty: none.
        rule: The rule by which it was refused; empty: none.
        begun: The first ``KEPT_BYTES`` of a head that was not read to the end, or refused.
    """

    at: float
    config: str
    protocol: Protocol
    client: str
    bytes_in: int
    bytes_out: int
    node: Node | None
    outcome: Outcome
    failed_dials: int
    waiting: float | None
    connecting: float | None
    total: float
    answering: float | None = None
    status: int = 0
    method: bytes = b""
    target: bytes = b""
    http10: bool = False
    lines: bytes = b""
    forwarded_for: bytes = b""
    request_id: bytes = b""
    rule: str = ""
    begun: bytes = b""
