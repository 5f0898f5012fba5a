"""The other ends of connections, as a test plays them: clients and nodes."""

from __future__ import annotations

import socket
from typing import Protocol

from nodebalancer.fields import Address
from nodebalancer.transport.addresses import address_of
from nodebalancer.transport.sockets import reset

CHUNK_BYTES = 65536


class Peer(Protocol):
    """A client or node that a test plays.

    Attributes:
        address: Its own address.
        received: All it has read.
        reading: Whether it reads; set to False for one that does not.
        ended: Whether it has read the end of file.
        was_reset: Whether its connection was reset by the other side.
        unsent: Bytes of ``send`` that did not fit into the network yet.
    """

    address: Address
    received: bytearray
    reading: bool
    ended: bool
    was_reset: bool

    @property
    def unsent(self) -> int: ...

    def send(self, data: bytes) -> None:
        """Send ``data`` as the network takes it."""

    def half_close(self) -> None:
        """Send an end of file after all that is unsent; go on reading."""

    def close(self) -> None:
        """Close both directions after all that is unsent; what comes in after that is answered with a reset."""

    def reset(self) -> None:
        """Reset the connection at once."""


class SocketPeer:
    """A ``Peer`` on a real socket; it moves only when it is told to ``step``.

    Args:
        connection: Connected; its own from now on.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.address = address_of(connection.getsockname())
        self.received = bytearray()
        self.reading = True
        self.ended = self.was_reset = False
        self._socket: socket.socket | None = connection
        self._out = bytearray()
        self._end: str = ""

    @property
    def unsent(self) -> int:
        return len(self._out)

    def send(self, data: bytes) -> None:
        self._out += data
        self.step()

    def half_close(self) -> None:
        self._end = "half"
        self.step()

    def close(self) -> None:
        self._end = "whole"
        self.step()

    def reset(self) -> None:
        if self._socket is not None:
            reset(self._socket)
            self._socket = None

    def step(self) -> None:
        """Send and read what is possible now."""
        try:
            self._send_some()
            self._read_some()
        except BlockingIOError:
            pass
        except OSError:
            self.was_reset = True
            self._drop()

    def _send_some(self) -> None:
        try:
            while self._out and self._socket is not None:
                del self._out[: self._socket.send(self._out[:CHUNK_BYTES])]
        except BlockingIOError:
            return
        if self._end == "whole":
            self._drop()
        elif self._end == "half" and self._socket is not None:
            self._end = ""
            self._socket.shutdown(socket.SHUT_WR)

    def _read_some(self) -> None:
        while self.reading and not self.ended and self._socket is not None:
            data = self._socket.recv(CHUNK_BYTES)
            self.received += data
            self.ended = not data

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
