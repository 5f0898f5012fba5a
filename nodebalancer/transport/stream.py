"""The upper half of a portable transport: everything of the contract that does not depend on whose bytes they are.

Below it is something that moves bytes: a stock Twisted transport, or a memory pipe. That lower half calls
``dataReceived``, ``readConnectionLost``, ``connectionLost`` and ``_sent``, as a transport calls its protocol, and
implements the ``_lower`` methods. Above it is the user's protocol, or a relay in its place.

Rules:

* The protocol is called from the lower half's events and from later turns, never from a method of the transport.
* What came in and may not be delivered yet waits in ``_held``, at most the one piece that the lower half had read when it
  was told to stop.
* At the loss everything is unlinked: transport, protocol, producer and relays form no cycle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.fields import Address
from nodebalancer.transport.engine import BUFFER_BYTES

log = Logger()


class CopyRelay:
    """A ``Relay`` that reads from one ``Stream`` and writes to another."""

    __slots__ = ("_done", "_left", "_sink", "_source", "ended", "moved")

    def __init__(self, source: Stream, sink: Stream, limit: int | None, done: Callable[[], None]) -> None:
        self.moved = 0
        self.ended = False
        self._left = limit
        self._source: Stream | None = source
        self._sink: Stream | None = sink
        self._done: Callable[[], None] | None = done

    @property
    def waiting(self) -> bool:
        """Whether the sink has to send first."""
        return self._sink is not None and self._sink.congested

    def stop(self) -> None:
        """Move no more: what comes in goes to the source's protocol again."""
        source = self._source
        self._unlink()
        if source is not None:
            source._deliver_later()

    def _unlink(self) -> None:
        if self._source is not None and self._sink is not None:
            self._source._relay_out = self._sink._relay_in = None
        self._source = self._sink = self._done = None

    def _take(self, data: bytes) -> None:
        """Move ``data``; what is beyond the limit goes back to the source."""
        assert self._sink is not None
        assert self._source is not None
        if self._left is None or len(data) < self._left:
            part = data
        else:
            part, rest = data[: self._left], data[self._left :]
            if rest:
                self._source._held.appendleft(rest)
        self.moved += len(part)
        self._sink.write(part)
        if self._left is not None:
            self._left -= len(part)
            if not self._left and self._done is not None:  # it may have been stopped when the sink took no more
                self._finish(ended=False)

    def _finish(self, ended: bool) -> None:
        self.ended = ended
        done = self._done
        self._unlink()
        assert done is not None
        done()


class Turns(Protocol):
    """What a ``Stream`` needs of its engine."""

    @property
    def now(self) -> float:
        """``Engine.now``."""

    def later(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` in the next turn."""


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Stream:
    """A ``Transport`` to the protocol above it, and the protocol of what is below it.

    Args:
        engine: Knows the time and the next turn.
        protocol: Who hears what comes in.
        peer: The other end.
        host: Our end.
    """

    def __init__(self, engine: Turns, protocol: Any, peer: Address, host: Address) -> None:
        self.active_at: float = engine.now
        self.congested = False
        self._engine = engine
        self._protocol = protocol
        self._peer = peer
        self._host = host
        self._producer: Any = None
        self._relay_out: CopyRelay | None = None
        self._relay_in: CopyRelay | None = None
        self._held: deque[bytes] = deque()
        self._unsent = 0
        self._reading = True
        self._paused = self._ended = self._end_told = False
        self._write_shut = self._closing = self._aborted = self._lost = False

    # What the lower half implements.

    def _lower_write(self, data: bytes) -> None:
        """Send ``data``, telling ``_sent`` as it goes."""
        raise NotImplementedError

    def _lower_read(self, wanted: bool) -> None:
        """Read, or stop reading."""
        raise NotImplementedError

    def _lower_has_input(self) -> bool:
        """Whether there is something to read, while nobody reads."""
        raise NotImplementedError

    def _lower_undelivered(self) -> int:
        """Bytes on their way: sent, and not acknowledged."""
        raise NotImplementedError

    def _lower_end(self) -> None:
        """Send an end of file after what was written."""
        raise NotImplementedError

    def _lower_close(self) -> None:
        """Close after what was written is sent; ``connectionLost`` in a later turn."""
        raise NotImplementedError

    def _lower_reset(self) -> None:
        """Reset; ``connectionLost`` in a later turn."""
        raise NotImplementedError

    # What the lower half calls.

    def makeConnection(self, transport: Any) -> None:
        """The connection stands."""
        self._tell(self._protocol.makeConnection, self)

    def connectionMade(self) -> None:
        """Part of ``IProtocol``; ``makeConnection`` is what is called."""

    def dataReceived(self, data: bytes) -> None:
        """``data`` came in."""
        self.active_at = self._engine.now
        if not self._closing:
            self._held.append(data)
            self._deliver()

    def readConnectionLost(self) -> None:
        """The end of file came in."""
        self._ended = True
        self._deliver()

    def writeConnectionLost(self) -> None:
        """Our end of file was sent; nobody asks."""

    def connectionLost(self, reason: Failure) -> None:
        """It is over; the protocol hears its last."""
        self._lost = self._closing = self._aborted = True
        self._stop_relays()
        self._held.clear()
        protocol, self._protocol = self._protocol, None
        self._producer = None
        if protocol is not None:
            self._tell(protocol.connectionLost, reason)

    def _sent(self, count: int) -> None:
        """``count`` bytes went out."""
        self.active_at = self._engine.now
        self._unsent -= count
        if self.congested and not self._unsent:
            self._engine.later(self._drained)

    # What the protocol calls.

    def write(self, data: bytes) -> None:
        """``Transport.write``."""
        if data and not self._closing and not self._write_shut:
            self._unsent += len(data)
            self._lower_write(data)
            if not self.congested and (self._relay_in is not None or self._unsent > BUFFER_BYTES):
                self._congest()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """``write`` of the joined pieces."""
        self.write(b"".join(iovec))

    def write_last(self, data: bytes) -> None:
        """``Transport.write_last``."""
        self.write(data)
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """``Transport.loseWriteConnection``."""
        if not self._closing and not self._write_shut:
            self._write_shut = True
            if self._relay_in is not None:
                self._relay_in.stop()
            self._lower_end()

    def loseConnection(self) -> None:
        """``Transport.loseConnection``."""
        if not self._closing:
            self._close()
            self._lower_close()

    stopProducing = loseConnection

    def abortConnection(self) -> None:
        """``Transport.abortConnection``."""
        if not self._aborted:
            self._aborted = True
            self._close()
            self._lower_reset()

    def pauseProducing(self) -> None:
        """``Transport.pauseProducing``."""
        self._paused = True
        self._update_reading()

    def resumeProducing(self) -> None:
        """``Transport.resumeProducing``."""
        if self._paused:
            self._paused = False
            self._deliver_later()

    def has_unread(self) -> bool:
        """``Transport.has_unread``."""
        return bool(self._held) or (not (self._reading or self._closing) and self._lower_has_input())

    def undelivered(self) -> int:
        """``Transport.undelivered``."""
        return 0 if self._lost else self._unsent + self._lower_undelivered()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """``Transport.registerProducer``."""
        if self._producer is not None:
            raise RuntimeError(f"there is a producer already: {self._producer!r}")
        if self._lost:
            return
        self._producer = producer
        if self.congested:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """``Transport.unregisterProducer``."""
        self._producer = None

    def getPeer(self) -> Address:
        """The other end."""
        return self._peer

    def getHost(self) -> Address:
        """Our end."""
        return self._host

    def relay_to(self, sink: Stream, limit: int | None, done: Callable[[], None]) -> CopyRelay:
        """``Engine.relay``."""
        assert self._relay_out is None, "one relay a source"
        assert sink._relay_in is None, "one relay a sink"
        relay = CopyRelay(self, sink, limit, done)
        if self._closing or sink._closing or sink._write_shut:
            relay._unlink()
            return relay
        self._relay_out, sink._relay_in = relay, relay
        if sink._unsent:
            sink._congest()
        self._paused = False
        self._deliver_later()
        return relay

    # Inside.

    def _tell(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call back; an exception costs this connection."""
        try:
            callback(*args)
        except Exception:
            log.failure("{callback} failed; its connection is reset", callback=callback)
            self.abortConnection()

    def _deliver_later(self) -> None:
        self._engine.later(self._deliver)

    def _may_deliver(self) -> bool:
        return not (self._paused or self._closing or (self._relay_out is not None and self._relay_out.waiting))

    def _deliver(self) -> None:
        while self._held and self._may_deliver():
            data = self._held.popleft()
            relay = self._relay_out
            self._tell(self._protocol.dataReceived if relay is None else relay._take, data)
        if self._ended and not self._held and self._may_deliver():
            self._deliver_end()
        self._update_reading()

    def _deliver_end(self) -> None:
        told, self._end_told = self._end_told, True
        if self._relay_out is not None:
            self._tell(self._relay_out._finish, True)
        elif not told:
            self._tell(self._protocol.readConnectionLost)

    def _update_reading(self) -> None:
        wanted = self._may_deliver() and not self._ended
        if wanted != self._reading and not self._closing:
            self._reading = wanted
            self._lower_read(wanted)

    def _congest(self) -> None:
        self.congested = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def _drained(self) -> None:
        if self._unsent or not self.congested:
            return
        self.congested = False
        if self._producer is not None:
            self._tell(self._producer.resumeProducing)
        if self._relay_in is not None and self._relay_in._source is not None:
            self._relay_in._source._deliver()

    def _close(self) -> None:
        self._closing = True
        self._stop_relays()
        self._held.clear()

    def _stop_relays(self) -> None:
        for relay in (self._relay_out, self._relay_in):
            if relay is not None:
                relay.stop()
