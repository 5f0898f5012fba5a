"""An engine and the network around it, so that one test runs over every engine.

``RealWorld`` is for engines that own real sockets (loopback only); ``nodebalancer.testing.memory`` has the memory network,
and ``MemoryWorld`` makes a world of it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import deferLater

from nodebalancer.fields import Address
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.testing.peers import Peer, SocketPeer
from nodebalancer.testing.recorder import Recorder, Recorders
from nodebalancer.transport.addresses import address_of, family
from nodebalancer.transport.engine import Dial, Engine, Listener
from nodebalancer.transport.sockets import open_listening

PATIENCE_SECONDS = 10
"""How long a condition may take to come true in real time: a hang check, ten times what is expected."""

RECEIVE_BYTES = 32768
"""The kernel's receive buffer of a socket peer: small, so that a peer that does not read is soon noticed."""


class Served:
    """A listener of the engine under test, and the protocols built for its clients."""

    def __init__(self, listener: Listener, factory: Recorders) -> None:
        self.listener = listener
        self.address = listener.address
        self.built = factory.built
        self.clients = factory.clients


class World:
    """An engine, and what a test does around it.

    Args:
        engine: Under test.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._listeners: list[Listener] = []
        self._recorders: list[list[Recorder]] = []

    def serve(self, build: Callable[[], Recorder | None] = Recorder, **options: Any) -> Served:
        """Listen on a free address; ``options`` are those of ``Engine.listen``."""
        factory = Recorders(build)
        served = Served(self.engine.listen(self.free_address(), factory, **options), factory)
        self._listeners.append(served.listener)
        self._recorders.append(served.built)
        return served

    def dial(self, address: Address, recorder: Recorder, *, timeout: float = 5, source: str | None = None) -> Dial:
        """``Engine.connect`` for ``recorder``."""
        self._recorders.append([recorder])
        return self.engine.connect(address, recorder, timeout=timeout, source=source)

    async def accepted(self, recorder: Recorder | None = None) -> tuple[Recorder, Peer]:
        """A connection that a client has made to the engine: the protocol, and the client."""
        protocol = recorder or Recorder()
        served = self.serve(lambda: protocol)
        peer = self.client(served.address)
        await self.until(lambda: protocol.transport is not None)
        return protocol, peer

    async def dialled(self, recorder: Recorder | None = None) -> tuple[Recorder, Peer]:
        """A connection that the engine has made to a node: the protocol, and the node."""
        protocol = recorder or Recorder()
        address, peers = self.node()
        self.dial(address, protocol)
        await self.until(lambda: bool(peers) and protocol.transport is not None)
        return protocol, peers[0]

    async def connection(self, side: str, recorder: Recorder | None = None) -> tuple[Recorder, Peer]:
        """``accepted`` or ``dialled``."""
        return await (self.accepted(recorder) if side == "accepted" else self.dialled(recorder))

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the world turn until ``condition`` is true.

        Raises:
            AssertionError: It does not become true.
        """
        raise NotImplementedError

    async def settle(self) -> None:
        """Let everything happen that is about to, without waiting for time to pass."""
        raise NotImplementedError

    def free_address(self) -> Address:
        """Where the engine can listen."""
        raise NotImplementedError

    def client(self, address: Address) -> Peer:
        """A client that connects to ``address``.

        Raises:
            ConnectionRefusedError: Nobody listens there.
        """
        raise NotImplementedError

    def node(self) -> tuple[Address, list[Peer]]:
        """A node that accepts: its address, and its connections as they come."""
        raise NotImplementedError

    def inherited(self) -> tuple[int, Address]:
        """The descriptor of a listening socket that somebody else has made, and its address."""
        raise NotImplementedError

    def refused(self) -> Address:
        """An address where nobody listens."""
        raise NotImplementedError

    def silent(self) -> Address:
        """An address that never answers a dial."""
        raise NotImplementedError

    def foreign(self) -> str:
        """A source address that this machine does not have."""
        return "192.0.2.99"

    async def close(self) -> None:
        """End everything that the test has begun."""
        for listener in self._listeners:
            listener.close()
        await self.settle()
        recorders = [recorder for built in self._recorders for recorder in built]
        for recorder in recorders:
            if recorder.transport is not None:
                recorder.transport.abortConnection()
        await self.until(lambda: all(r.ended for r in recorders if r.transport is not None))
        assert not any(r.nested for r in recorders), "an event came inside of another"


class RealWorld(World):
    """The loopback interface, and peers on plain sockets.

    Args:
        engine: Owns real sockets.
        reactor: That of the engine; it is running.
    """

    def __init__(self, engine: Engine, reactor: Any) -> None:
        super().__init__(engine)
        self._reactor = reactor
        self._peers: list[SocketPeer] = []
        self._nodes: list[tuple[socket.socket, list[Peer]]] = []
        self._others: list[socket.socket] = []

    async def until(self, condition: Callable[[], object]) -> None:
        latest = time.monotonic() + PATIENCE_SECONDS
        turns = 0
        while not condition():
            assert time.monotonic() < latest, "the condition did not come true"
            turns += 1
            await self._turn(0 if turns < 100 else 0.005)

    async def settle(self) -> None:
        for _ in range(12):
            await self._turn(0)

    async def _turn(self, seconds: float) -> None:
        for listening, accepted in self._nodes:
            try:
                accepted.append(self._peer(listening.accept()[0]))
            except BlockingIOError:
                continue
        for peer in self._peers:
            peer.step()
        await deferLater(self._reactor, seconds)

    def free_address(self) -> Address:
        return Address("127.0.0.1", 0)

    def client(self, address: Address) -> Peer:
        connection = small_socket(family(address.host))
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            raise
        return self._peer(connection)

    def node(self) -> tuple[Address, list[Peer]]:
        listening = small_socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        listening.setblocking(False)
        accepted: list[Peer] = []
        self._nodes.append((listening, accepted))
        return Address(*listening.getsockname()), accepted

    def inherited(self) -> tuple[int, Address]:
        listening = open_listening(self.free_address())
        self._others.append(listening)
        return listening.fileno(), address_of(listening.getsockname())

    def refused(self) -> Address:
        # Bound but not listening: the kernel cannot give the port to anybody else, nor to the dial itself.
        bound = small_socket()
        bound.bind(("127.0.0.1", 0))
        self._others.append(bound)
        return Address(*bound.getsockname())

    def silent(self) -> Address:
        # The kernel ignores whom a full queue has no room for.
        listening = small_socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        self._others.append(listening)
        address = Address(*listening.getsockname())
        for _ in range(2):
            filler = small_socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self._others.append(filler)
        return address

    async def close(self) -> None:
        await super().close()
        for peer in self._peers:
            peer.reset()
        for other in (*self._others, *(listening for listening, _ in self._nodes)):
            other.close()

    def _peer(self, connection: socket.socket) -> SocketPeer:
        peer = SocketPeer(connection)
        self._peers.append(peer)
        return peer


def small_socket(family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
    """A TCP socket with a small receive buffer, inherited by what it accepts."""
    made = socket.socket(family, socket.SOCK_STREAM)
    made.settimeout(PATIENCE_SECONDS)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    return made


class MemoryWorld(World):
    """The memory network: no socket, and no time but what a test lets pass."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        super().__init__(MemoryEngine(self.network))

    async def until(self, condition: Callable[[], object]) -> None:
        self.network.pump()
        while not condition():
            calls = self.network.clock.getDelayedCalls()
            assert calls, "the condition did not come true, and nothing more will happen"
            assert self.network.now < PATIENCE_SECONDS * 100, "the condition did not come true"
            self.network.advance(max(min(call.getTime() for call in calls) - self.network.now, 0))

    async def settle(self) -> None:
        self.network.pump()

    def free_address(self) -> Address:
        return self.network.free("127.0.0.1")

    def client(self, address: Address) -> Peer:
        return self.network.client(address, "::1" if ":" in address.host else "127.0.0.1")

    def node(self) -> tuple[Address, list[Peer]]:
        address = self.free_address()
        return address, self.network.node(address)  # type: ignore[return-value] # lists are invariant

    def inherited(self) -> tuple[int, Address]:
        address = self.free_address()
        return self.network.inherit(address), address

    def refused(self) -> Address:
        return self.free_address()

    def silent(self) -> Address:
        address = self.free_address()
        self.network.blackhole(address)
        return address
