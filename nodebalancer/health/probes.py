"""One probe of one node (R20, R21).

Rules:

* A probe ends once: with a ``Result``, by ``expire``, or silently by ``cancel``.
* It has no clock; whoever began it says when its time is over.
* It closes with a reset, which leaves no TIME_WAIT here. Only a connection that had nothing but a PROXY header to say is
  closed in order, since a reset may overtake what was written.
* Our own faults are no verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.errors import DialError, MessageError
from nodebalancer.fields import Address
from nodebalancer.health.checks import NodeCheck
from nodebalancer.transport.engine import Dial, Engine
from nodebalancer.wire.http1.body import ChunkedReader
from nodebalancer.wire.http1.head import CHUNKED, UNTIL_CLOSE, ResponseHead, parse_response

BODY_BYTES_MAX: Final = 65536
"""As much of a body is judged; what follows is not waited for."""


@attrs.frozen
class Result:
    """What a probe has found.

    Attributes:
        ok: Whether the node is well; None when the fault is on this machine, which says nothing about the node.
        reason: In plain words: ``HTTP 503``, ``connection refused``.
    """

    ok: bool | None
    reason: str


@implementer(IProtocol, IHalfCloseableProtocol)
class Probe:
    """One probe, from ``begin`` to its end.

    Args:
        check: What is asked and expected.
        ended: Called once with the result, from an engine's event or from ``expire``.
    """

    __slots__ = ("_body", "_check", "_chunks", "_dial", "_ended", "_head", "_received", "_transport")

    def __init__(self, check: NodeCheck, ended: Callable[[Result], None]) -> None:
        self._check = check
        self._ended: Callable[[Result], None] | None = ended
        self._dial: Dial | None = None
        self._transport: Any = None
        self._received = b""
        self._head: ResponseHead | None = None
        self._chunks: ChunkedReader | None = None
        self._body = b""

    def begin(self, engine: Engine, address: Address) -> None:
        """Connect to ``address``, which is numeric."""
        self._dial = engine.connect(
            address, self, timeout=self._check.timeout, source=self._check.source_for(address.host)
        )

    def expire(self) -> None:
        """Its time is over."""
        self._end(False, self._too_late())

    def cancel(self) -> None:
        """Forget it; no result."""
        self._ended = None
        if self._dial is not None:
            self._dial.cancel()
        if self._transport is not None:
            self._transport.abortConnection()

    # Dialler

    def connection_failed(self, error: DialError) -> None:
        """No connection."""
        self._dial = None
        if error.ours:
            self._end(None, error.reason)
        else:
            self._end(False, self._too_late() if error.timed_out else error.reason)

    # IProtocol, IHalfCloseableProtocol

    def makeConnection(self, transport: Any) -> None:
        """Connected; ask."""
        self._dial = None
        self._transport = transport
        if self._check.asks:
            transport.write(self._check.opening)
        elif self._check.opening:
            transport.write_last(self._check.opening)
            self._transport = None
            self._end(True, "connected")
        else:
            self._end(True, "connected")

    def connectionMade(self) -> None:
        """Part of ``IProtocol``; engines call ``makeConnection`` only."""

    def dataReceived(self, data: bytes) -> None:
        """A piece of the response."""
        try:
            self._read(data)
        except MessageError as error:
            self._end(False, f"no valid HTTP response ({error.rule})")

    def readConnectionLost(self) -> None:
        """The node sends no more."""
        if self._head is not None and self._head.length == UNTIL_CLOSE:
            self._judge_body()
        else:
            self._end(
                False, "closed within its response" if self._received or self._head else "closed without a response"
            )

    def writeConnectionLost(self) -> None:
        """Part of ``IHalfCloseableProtocol``; we never end our side alone."""

    def connectionLost(self, reason: Failure = ConnectionDone) -> None:  # type: ignore[assignment]
        """The connection is gone."""
        self._transport = None
        self._end(False, "connection reset")

    # What was received.

    def _read(self, data: bytes) -> None:
        if self._head is None:
            self._received += data
            self._read_head()
        else:
            self._read_body(data)

    def _read_head(self) -> None:
        head = parse_response(self._received, b"GET")
        while head is not None and 100 <= head.status < 200 and head.status != 101:
            self._received = self._received[head.size :]
            head = parse_response(self._received, b"GET")
        if head is None:
            return
        if self._check.pattern is None:
            self._end(200 <= head.status < 400, f"HTTP {head.status}")
            return
        self._head = head
        self._chunks = ChunkedReader() if head.length == CHUNKED else None
        self._read_body(self._received[head.size :])

    def _read_body(self, data: bytes) -> None:
        assert self._head is not None
        self._body += data if self._chunks is None else self._chunks.feed(data)
        length = self._head.length
        whole = self._chunks.done if self._chunks is not None else length != UNTIL_CLOSE and len(self._body) >= length
        if whole or len(self._body) >= BODY_BYTES_MAX:
            self._judge_body()

    def _judge_body(self) -> None:
        assert self._head is not None
        assert self._check.pattern is not None
        body = self._body[:BODY_BYTES_MAX]
        if self._head.length >= 0:
            body = body[: self._head.length]
        objection = self._check.pattern.objection(body)
        self._end(not objection, objection or "body matches")

    def _too_late(self) -> str:
        return f"timed out after {self._check.timeout:g} s"

    def _end(self, ok: bool | None, reason: str) -> None:
        ended = self._ended
        if ended is not None:
            self.cancel()
            ended(Result(ok, reason))
