"""An HTTPS exchange: the same as over HTTP once TLS stands (R10). The engine ends TLS; here is only what is said of it."""

from __future__ import annotations

from math import inf

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.errors import HandshakeError
from nodebalancer.proxy.http.client import HTTPClient


@implementer(IHandshakeListener)
class HTTPSClient(HTTPClient):
    """A client of an https config."""

    __slots__ = ()

    def begin(self) -> None:
        super().begin()
        self.began_at = inf  # the engine has the deadline of the handshake

    def handshakeCompleted(self) -> None:
        """TLS stands; the time for the request head begins."""
        self.began_at = self.transport.active_at

    def connectionLost(self, reason: Failure = ConnectionDone) -> None:  # type: ignore[assignment]
        if reason.type is HandshakeError and self.state is self.READING:
            self.live.handshake_failed(self.peer, str(reason.value))
            self.end(Outcome.HANDSHAKE_FAILED)
        super().connectionLost(reason)
