"""The two ends of a connection in the memory network: an engine's, or a peer's that a test plays.

Rules, as close to a kernel's as tests need them:

* Each end holds at most ``Network.pipe_bytes`` that its owner has not read; the other end keeps what does not fit.
* Everything an owner hears comes in a later turn of the network's clock.
* A reset destroys what its receiver has not read yet. Closing with unread input, and sending to an end that is
  closed, are answered with a reset.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

from nodebalancer.errors import HandshakeError
from nodebalancer.fields import Address
from nodebalancer.transport.stream import Stream, Turns


class Network(Turns, Protocol):
    """What an end needs of its network.

    Attributes:
        pipe_bytes: What fits into one direction of a connection.
    """

    pipe_bytes: int

    def piece(self, available: int) -> int:
        """How many of the ``available`` bytes come in at once."""


class Owner(Protocol):
    """Who is told what happens at an end."""

    def dataReceived(self, data: bytes) -> None: ...

    def readConnectionLost(self) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...

    def _sent(self, count: int) -> None: ...


class End:
    """One end of a connection.

    Args:
        network: Has the clock and the sizes.
        address: Of this end.
    """

    def __init__(self, network: Network, address: Address) -> None:
        self.address = address
        self.owner: Owner | None = None
        self.other: End | None = None
        self.reading = True
        self.unsent = bytearray()
        self.unread = bytearray()
        self._network = network
        self._closing = self._ending = False  # after what is unsent
        self._ended = self._end_told = False  # the other's end of file has come in, its owner was told
        self._over: Failure | None = None
        self._awake = False

    def wake(self) -> None:
        """Look in the next turn what can be done."""
        if not self._awake:
            self._awake = True
            self._network.later(self._turn)

    def send(self, data: bytes) -> None:
        """Send ``data`` as the other end has room."""
        self.unsent += data
        self.wake()

    def half_close(self) -> None:
        """An end of file after what is unsent."""
        self._ending = True
        self.wake()

    def close(self) -> None:
        """Close both directions after what is unsent."""
        self._closing = True
        self.reading = False
        self.wake()

    def reset(self, why: Exception | None = None) -> None:
        """Close at once, telling the other end that it was no orderly end, and our owner ``why``."""
        self._finish(why or ConnectionAborted())

    def _turn(self) -> None:
        self._awake = False
        if self._over is None:
            self._send_some()
        if self._over is None and self.owner is not None and self.reading:
            self._read_some()
        if self._over is not None and self.owner is not None:
            owner, self.owner = self.owner, None
            owner.connectionLost(self._over)

    def _send_some(self) -> None:
        other = self.other
        if self.unsent and other is not None:
            count = min(self._network.pipe_bytes - len(other.unread), len(self.unsent))
            if count > 0:
                self._move(other, count)
        if not self.unsent and self._over is None:
            if self._closing:
                self._finish(ConnectionDone())
            elif self._ending and other is not None:
                other._hear_end()

    def _move(self, other: End, count: int) -> None:
        if other._over is not None:
            self._break()
            return
        other.unread += self.unsent[:count]
        del self.unsent[:count]
        other.wake()
        if self.owner is not None:
            self.owner._sent(count)
        if self.unsent:
            self.wake()

    def _read_some(self) -> None:
        assert self.owner is not None
        if self.unread:
            count = self._network.piece(len(self.unread))
            data = bytes(self.unread[:count])
            del self.unread[:count]
            if self.other is not None:
                self.other.wake()
            self.wake()
            self.owner.dataReceived(data)
        elif self._ended and not self._end_told:
            self._end_told = True
            self.owner.readConnectionLost()

    def _hear_end(self) -> None:
        if not self._ended:
            self._ended = True
            self.wake()

    def _finish(self, why: Exception) -> None:
        if self._over is not None:
            return
        self._over = Failure(why)
        if self.other is not None:
            if isinstance(why, ConnectionDone) and not self.unread:
                self.other._hear_end()
            else:
                self.other._break()
        self.unsent.clear()
        self.wake()

    def _break(self) -> None:
        if self._over is None:
            self._over = Failure(ConnectionLost())
            self.unread.clear()
            self.unsent.clear()
            self.wake()


def connected(network: Network, one: Address, another: Address) -> tuple[End, End]:
    """Both ends of a new connection."""
    ends = End(network, one), End(network, another)
    ends[0].other, ends[1].other = ends[1], ends[0]
    return ends


class MemoryStream(Stream):
    """An engine's end."""

    def __init__(self, engine: Turns, protocol: Any, end: End, peer: Address) -> None:
        super().__init__(engine, protocol, peer, end.address)
        self._end: End | None = end
        self._established = True

    def begin(self, *, secure: bool = False) -> None:
        """The connection stands, and its protocol is told; ``secure``: it hears nothing more before ``shake``."""
        assert self._end is not None
        end = self._end
        end.owner = self
        self._established = not secure
        end.reading = not secure
        self.makeConnection(self)
        end.wake()

    def shake(self, error: str) -> None:
        """The handshake is done, or has failed for that reason."""
        if self._closing or self._end is None:
            return
        if error:
            self._end.reset(HandshakeError(error))
            return
        self._established = True
        self.active_at = self._engine.now
        heard = getattr(self._protocol, "handshakeCompleted", None)
        if heard is not None:
            self._tell(heard)
        self._lower_read(self._reading)

    def connectionLost(self, reason: Failure) -> None:
        """The end is gone; nothing refers to it any more."""
        self._end = None
        super().connectionLost(reason)

    def _lower_write(self, data: bytes) -> None:
        assert self._end is not None
        self._end.send(data)

    def _lower_read(self, wanted: bool) -> None:
        if self._end is not None:
            self._end.reading = wanted and self._established
            self._end.wake()

    def _lower_has_input(self) -> bool:
        assert self._end is not None
        return bool(self._end.unread)

    def _lower_undelivered(self) -> int:
        return 0  # what the other end has is delivered

    def _lower_end(self) -> None:
        assert self._end is not None
        self._end.half_close()

    def _lower_close(self) -> None:
        assert self._end is not None
        self._end.close()

    def _lower_reset(self) -> None:
        assert self._end is not None
        self._end.reset()


class MemoryPeer:
    """A ``Peer`` in the memory network."""

    def __init__(self, end: End) -> None:
        self.address = end.address
        self.received = bytearray()
        self.ended = self.was_reset = False
        self._end = end
        end.owner = self

    @property
    def reading(self) -> bool:
        return self._end.reading

    @reading.setter
    def reading(self, wanted: bool) -> None:
        self._end.reading = wanted
        self._end.wake()

    @property
    def unsent(self) -> int:
        return len(self._end.unsent)

    def send(self, data: bytes) -> None:
        self._end.send(data)

    def half_close(self) -> None:
        self._end.half_close()

    def close(self) -> None:
        self._end.close()

    def reset(self) -> None:
        self._end.reset()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.ended = True

    def connectionLost(self, reason: Failure) -> None:
        self.was_reset = reason.type is ConnectionLost

    def _sent(self, count: int) -> None:
        """Nobody counts."""
