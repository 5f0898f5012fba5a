"""A connection being made on the epoll loop."""

from __future__ import annotations

import errno
import os
import socket
from select import EPOLLERR, EPOLLHUP, EPOLLOUT
from typing import Final

from nodebalancer.errors import DialError
from nodebalancer.fields import Address
from nodebalancer.transport.addresses import dial_error, family
from nodebalancer.transport.engine import Deadline, Dialler, Engine
from nodebalancer.transport.epoll_loop import EpollLoop, borrowed
from nodebalancer.transport.epoll_transport import EpollTransport

IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Choose the port when the destination is known (linux/in.h), or a source has ports for 28,000 connections in all."""

NONE: Final = -1


class EpollDial:
    """A ``Dial``.

    Args:
        engine: Has the deadlines.
        loop: Watches the socket.
        address: Whom to connect to.
        protocol: To be connected.
    """

    __slots__ = ("_address", "_deadline", "_error", "_fd", "_loop", "_protocol")

    def __init__(self, loop: EpollLoop, address: Address, protocol: Dialler) -> None:
        self._loop = loop
        self._address = address
        self._protocol: Dialler | None = protocol
        self._fd = NONE
        self._deadline: Deadline | None = None
        self._error = 0

    def begin(self, engine: Engine, timeout: float, source: str | None) -> None:
        """Ask the kernel. What it refuses at once is told later."""
        try:
            self._fd = connecting(self._address, source)
        except OSError as error:
            self._error = error.errno or errno.EADDRNOTAVAIL
            self._loop.later(self)
            return
        # Before it had been told to connect it would be called writable, and hung up.
        self._loop.watch(self._fd, self)
        self._deadline = engine.deadline(timeout, self._time_out)

    def cancel(self) -> None:
        """``Dial.cancel``."""
        if self._protocol is not None:
            self._protocol = None
            self._forget_deadline()
            self._close()

    def handle(self, events: int) -> None:
        """It stands, or was refused.

        A refused one is writable too, but never without an error; other events are old news about a descriptor of the
        same number.
        """
        if events & (EPOLLERR | EPOLLHUP):
            connection = borrowed(self._fd)
            self._fail(dial_error(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNREFUSED))
            connection.detach()
        elif events & EPOLLOUT:
            if self._meets_itself():
                self._fail(dial_error(errno.ECONNREFUSED))
            else:
                self._succeed(events)

    def run(self) -> None:
        """Tell what the kernel has refused at once."""
        self._fail(dial_error(self._error))

    def give_up(self) -> None:
        """The protocol has raised on a failure; there is nothing left to end."""

    def _succeed(self, events: int) -> None:
        self._forget_deadline()
        loop, fd, protocol = self._loop, self._fd, self._protocol
        self._fd, self._protocol = NONE, None
        assert protocol is not None
        transport = EpollTransport(loop, fd, protocol, self._address)
        loop.hand_over(fd, transport)
        try:
            protocol.makeConnection(transport)
            transport.handle(events)
        except Exception:
            loop.survive(transport)

    def _time_out(self) -> None:
        self._fail(dial_error(errno.ETIMEDOUT))

    def _fail(self, error: DialError) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._forget_deadline()
            self._close()
            protocol.connection_failed(error)

    def _close(self) -> None:
        fd, self._fd = self._fd, NONE
        if fd != NONE:
            self._loop.close(fd)

    def _forget_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def _meets_itself(self) -> bool:
        """On loopback a dial to a dead port can meet itself, when the kernel chose that port as the source."""
        connection = borrowed(self._fd)
        host, port = connection.getsockname()[:2]
        connection.detach()
        return (host, port) == self._address


def connecting(address: Address, source: str | None) -> int:
    """The descriptor of a socket that is being connected.

    Raises:
        OSError: It cannot be; the dial tells why.
    """
    connection = socket.SocketType(family(address.host), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            if family(source) != connection.family:
                raise OSError(errno.EADDRNOTAVAIL, "not of the same family")
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source, 0))
        number = connection.connect_ex(address)
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))
    except BaseException:
        connection.close()
        raise
    return connection.detach()
