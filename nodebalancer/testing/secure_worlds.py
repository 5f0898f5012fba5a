"""A world whose clients speak TLS, for engines with real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from nodebalancer.fields import Address
from nodebalancer.testing.peers import Peer
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.secure_peers import Authority, SecurePeer
from nodebalancer.testing.worlds import RealWorld, Served
from nodebalancer.transport.engine import Engine


class Later:
    """A monotonic clock that can be put forward.

    Attributes:
        ahead: Seconds before the real one.
    """

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class SecureWorld(RealWorld):
    """A ``RealWorld`` with an authority that everybody trusts.

    Args:
        engine: Owns real sockets.
        reactor: That of the engine; it is running.
        authority: Certifies the engine's listeners.
        clock: The engine's.
    """

    def __init__(self, engine: Engine, reactor: Any, authority: Authority, clock: Later) -> None:
        super().__init__(engine, reactor)
        self.authority = authority
        self.clock = clock
        self._secure: list[SecurePeer] = []

    def serve_tls(self, build: Callable[[], Recorder | None] = Recorder, **options: Any) -> Served:
        """``serve`` with TLS."""
        return self.serve(build, **{"tls": self.authority.server(), **options})

    def secure(
        self, address: Address, context: SSL.Context | None = None, session: SSL.Session | None = None
    ) -> SecurePeer:
        """A client that connects to ``address`` and speaks TLS as ``context`` has it, or as anybody."""
        return self.secure_over(self.client(address), context, session)

    def secure_over(
        self, below: Peer, context: SSL.Context | None = None, session: SSL.Session | None = None
    ) -> SecurePeer:
        """A client that is connected already, and speaks TLS from now on."""
        peer = SecurePeer(below, context or self.authority.client(), session)
        self._secure.append(peer)
        return peer

    async def turn(self) -> None:
        """Let something happen."""
        await self._turn(0)

    async def _turn(self, seconds: float) -> None:
        await super()._turn(seconds)
        for peer in self._secure:
            peer.step()

    async def connected(
        self, recorder: Recorder | None = None, version: int | None = None
    ) -> tuple[Recorder, SecurePeer]:
        """A client that has shaken hands with the engine: the protocol, and the client."""
        protocol = recorder or Recorder()
        peer = self.secure(self.serve_tls(lambda: protocol).address, self.authority.client(version))
        await self.until(lambda: peer.established and "shaken" in protocol.events)
        return protocol, peer

    def forget(self) -> None:
        """All connections and listeners so far are over."""
        self._recorders.clear()
        self._peers.clear()
        self._secure.clear()
        self._listeners.clear()
