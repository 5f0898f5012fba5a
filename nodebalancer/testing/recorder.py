"""A protocol that writes down what it hears, and can do something about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.errors import DialError
from nodebalancer.fields import Address


@implementer(IProtocol, IHalfCloseableProtocol)
class Recorder:
    """A client's or node's protocol under test.

    Args:
        on: What to do at an event besides writing it down, by the event's name; called with the recorder and what came
            with the event.

    Attributes:
        events: ``made``, ``shaken`` (with TLS), ``data``, ``eof``, ``lost`` and ``failed`` in their order; several ``data`` in a row are one.
        received: All data.
        reason: Why the connection was lost.
        error: Why the dial failed.
        nested: Whether an event ever came inside of another: an engine's fault.
    """

    def __init__(self, **on: Callable[..., Any]) -> None:
        self.events: list[str] = []
        self.received = bytearray()
        self.transport: Any = None
        self.reason: Failure | None = None
        self.error: DialError | None = None
        self.nested = False
        self._on = on
        self._inside = False

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self._note("made")

    def connectionMade(self) -> None:
        """Part of ``IProtocol``; engines call ``makeConnection``."""

    def handshakeCompleted(self) -> None:
        self._note("shaken")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._note("data", data)

    def readConnectionLost(self) -> None:
        self._note("eof")

    def writeConnectionLost(self) -> None:
        """Part of ``IHalfCloseableProtocol``; not part of the engines' contract."""

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason
        self._note("lost", reason)

    def connection_failed(self, error: DialError) -> None:
        self.error = error
        self._note("failed", error)

    @property
    def ended(self) -> bool:
        """Whether nothing more can come."""
        return "lost" in self.events or "failed" in self.events

    @contextmanager
    def hears_nothing(self) -> Iterator[None]:
        """Fails when an event comes while the block runs: engines never call back before they return."""
        before = (self.events[:], bytes(self.received))
        yield
        assert (self.events, bytes(self.received)) == before

    def _note(self, event: str, *args: Any) -> None:
        self.nested = self.nested or self._inside
        if event != "data" or self.events[-1:] != ["data"]:
            self.events.append(event)
        if event in self._on:
            self._inside = True
            try:
                self._on[event](self, *args)
            finally:
                self._inside = False


class Recorders:
    """A factory of recorders.

    Args:
        build: Makes the protocol for a client; default: a plain ``Recorder``.

    Attributes:
        built: The protocols so far, in the order of their connections.
        clients: The addresses they were built for.
    """

    def __init__(self, build: Callable[[], Recorder | None] = Recorder) -> None:
        self.built: list[Recorder] = []
        self.clients: list[Address] = []
        self._build = build

    def buildProtocol(self, addr: Address) -> Recorder | None:
        self.clients.append(addr)
        protocol = self._build()
        if protocol is not None:
            self.built.append(protocol)
        return protocol
