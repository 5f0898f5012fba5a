"""Connections being made on the epoll loop."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT
from typing import Final

from nodebalancer.fields import Address
from nodebalancer.transport.addresses import dial_error, family
from nodebalancer.transport.deadlines import CoarseDeadline, Deadlines
from nodebalancer.transport.engine import Dialler
from nodebalancer.transport.epoll.loop import EDGES, EpollLoop
from nodebalancer.transport.epoll.sending import OPEN
from nodebalancer.transport.epoll.transport import EpollTransport

IP_BIND_ADDRESS_NO_PORT: Final = 24
"""Choose the source port when the destination is known (linux/in.h): otherwise it is taken from all destinations."""

# Plain numbers: these are used for every connection.
NONBLOCKING: Final = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
AF_INET: Final = int(socket.AF_INET)
AF_INET6: Final = int(socket.AF_INET6)
IPPROTO_TCP: Final = int(socket.IPPROTO_TCP)
TCP_QUICKACK: Final = int(socket.TCP_QUICKACK)
EINPROGRESS: Final = errno.EINPROGRESS

LOCAL_PORTS: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def local_ports(file: Path = LOCAL_PORTS) -> range:
    """The ports that the system gives out by itself, as ``file`` says; all, if it does not."""
    try:
        first, last = map(int, file.read_text().split())
    except (OSError, ValueError):
        return range(65536)
    return range(first, last + 1)


class Dials:
    """The dials of an engine that are under way, with one deadline for all: most are over long before the next tick.

    Args:
        loop: Watches their sockets.
        deadlines: Of the engine.

    Attributes:
        local_ports: A dial to one of these can meet itself.
        looking: Whether ``open`` will be looked through at the next tick.
        made: Descriptors of the connections that were made since the last tick.
        open: Those that are under way.
    """

    __slots__ = ("_deadline", "_deadlines", "local_ports", "looking", "loop", "made", "open")

    def __init__(self, loop: EpollLoop, deadlines: Deadlines) -> None:
        self.loop = loop
        self.local_ports = local_ports()
        self._deadlines = deadlines
        self._deadline: CoarseDeadline | None = None
        self.looking = False
        self.made: set[int] = set()
        self.open: set[EpollDial] = set()

    def look_later(self) -> None:
        """At the next tick."""
        self.looking = True
        if self._deadline is None:
            self._deadline = self._deadlines.deadline(0, self._look)
        else:
            self._deadline.rearm(0)

    def _look(self) -> None:
        """At a tick: end those whose time is over, and let the kernel look after the connections that live on.

        Most are gone by now, and have been spared the system call.
        """
        made, self.made = self.made, set()
        for fd in made:
            connection = self.loop.handler_of(fd)
            if isinstance(connection, EpollTransport):
                connection.keep_alive()
        now = self.loop.clock()
        for dial in [dial for dial in self.open if dial.until <= now]:
            dial.time_out()
        if self.open:
            self.look_later()
        else:
            self.looking = False


class EpollDial:
    """A ``Dial``.

    Args:
        dials: The engine's.
        address: Whom to connect to.
        protocol: To be connected.
        until: When it times out, on the loop's clock.

    Attributes:
        until: The same; once it stands, when that was.
    """

    __slots__ = ("_address", "_connection", "_dials", "_protocol", "_refused", "_transport", "until")

    def __init__(self, dials: Dials, address: Address, protocol: Dialler, until: float) -> None:
        self._dials = dials
        self._address = address
        self._protocol: Dialler | None = protocol
        self._connection: socket.SocketType | None = None
        self._transport: EpollTransport | None = None
        self._refused = 0
        self.until = until

    def begin(self, source: str | None) -> None:
        """Ask the kernel. What it refuses at once is told later."""
        try:
            self._connection = connection = connecting(self._address, source)
        except OSError as error:
            self._refused = error.errno or errno.EADDRNOTAVAIL
            self._dials.loop.later(self)
            return
        dials = self._dials
        try:
            # Not before: a socket that was not told to connect is hung up, and writable.
            dials.loop.watch(connection.fileno(), self)
        except OSError:
            self._connection = None
            connection.close()
            self._refused = errno.ENOBUFS
            dials.loop.later(self)
            return
        dials.open.add(self)
        if not dials.looking:
            dials.look_later()

    def cancel(self) -> None:
        """``Dial.cancel``."""
        if self._protocol is not None:
            self._protocol = None
            self._close()

    def time_out(self) -> None:
        """The node was silent."""
        try:
            self._fail(errno.ETIMEDOUT)
        except Exception:
            self._dials.loop.survive(self)

    # What the loop calls.

    def handle(self, events: int) -> None:
        """It stands, or was refused.

        A refused one is writable too, but never without an error. Anything else is old news of another descriptor that
        had the same number.
        """
        connection = self._connection
        assert connection is not None
        if events & (EPOLLERR | EPOLLHUP):
            self._fail(connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or errno.ECONNREFUSED)
        elif events & EPOLLOUT:
            if self._address.port in self._dials.local_ports and self._meets_itself(connection):
                self._fail(errno.ECONNREFUSED)
            else:
                self._succeed(connection, events)

    def run(self) -> None:
        """Tell what the kernel has refused at once; or that we are connected, to a node that was told nothing else."""
        transport, self._transport = self._transport, None
        if transport is None:
            self._fail(self._refused)
        elif transport.active_at == self.until:
            transport.acknowledge()

    def give_up(self) -> None:
        """The protocol has raised at the failure; there is nothing left to end."""

    # Inside.

    def _succeed(self, connection: socket.SocketType, events: int) -> None:
        dials, protocol = self._dials, self._protocol
        assert protocol is not None
        dials.open.discard(self)
        self._connection = self._protocol = None
        fd = connection.fileno()
        transport = EpollTransport(dials.loop, fd, protocol, self._address, connection, EDGES)
        self.until = transport.active_at
        dials.made.add(fd)
        dials.loop.hand_over(fd, transport)
        try:
            protocol.makeConnection(transport)
            if events & EPOLLIN:
                transport.handle(events)
        except Exception:
            dials.loop.survive(transport)
        if transport.active_at == self.until:
            if transport._phase == OPEN:
                # The client's bytes may come in this very round.
                self._transport = transport
                dials.loop.later(self)
            else:
                transport.acknowledge()

    def _fail(self, number: int) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            self._close()
            protocol.connection_failed(dial_error(number))

    def _close(self) -> None:
        self._dials.open.discard(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            self._dials.loop.close(connection.detach())

    def _meets_itself(self, connection: socket.SocketType) -> bool:
        """On loopback a dial to a dead port can meet itself, when the system chose that port as the source."""
        host, port = connection.getsockname()[:2]
        return (host, port) == self._address


def connecting(address: Address, source: str | None) -> socket.SocketType:
    """A socket that is being connected.

    Its last step, the acknowledgement that lets the node accept, is left for the first bytes to bring along: it saves a
    segment, and the node a wait (HAProxy's ``option tcp-smart-connect``).

    Raises:
        OSError: It cannot be; the dial tells why.
    """
    connection = socket.SocketType(AF_INET6 if ":" in address.host else AF_INET, NONBLOCKING)
    try:
        connection.setsockopt(IPPROTO_TCP, TCP_QUICKACK, 0)
        if source is not None:
            if family(source) != family(address.host):
                raise OSError(errno.EADDRNOTAVAIL, "not of the same family")
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source, 0))
        number = connection.connect_ex(address)
        if number != EINPROGRESS and number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        connection.close()
        raise
    return connection
