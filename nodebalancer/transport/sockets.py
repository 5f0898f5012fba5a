"""Sockets as the engines want them."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from fcntl import ioctl
from termios import FIONREAD, TIOCOUTQ
from typing import Final

from nodebalancer.errors import ListenError
from nodebalancer.fields import Address
from nodebalancer.model import EVERYWHERE
from nodebalancer.transport.addresses import address_of, clash, family, listen_error

BACKLOG: Final = 4096
"""Clients that may wait in the kernel's queue; the kernel cuts it to ``net.core.somaxconn``, 4096 by default."""

RESET: Final = struct.pack("ii", 1, 0)
"""``SO_LINGER`` of no seconds: closing is a reset."""

NO_BYTES: Final = bytes(4)
"""An int that is nothing, for ``ioctl`` to read and write."""

INT: Final = struct.Struct("i")

FREEBIND: Final = {socket.AF_INET: (socket.IPPROTO_IP, 15), socket.AF_INET6: (socket.IPPROTO_IPV6, 78)}
"""``IP_FREEBIND`` (ip(7)) and ``IPV6_FREEBIND`` (``linux/in6.h``), which Python does not name. They need no right."""

NOT_LISTENING: Final = "the inherited descriptor is no listening TCP socket"


def reset(connection: socket.SocketType) -> None:
    """Close a connection with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    connection.close()


def has_input(fd: int) -> bool:
    """Whether the socket ``fd`` has bytes that were not read."""
    return ioctl(fd, FIONREAD, NO_BYTES) != NO_BYTES


def undelivered(fd: int) -> int:
    """Bytes that the socket ``fd`` was given and its peer has not acknowledged; 0 where the system does not say."""
    try:
        count: int = INT.unpack(ioctl(fd, TIOCOUTQ, NO_BYTES))[0]
    except OSError:
        return 0
    return count


def listen_on(address: Address, *, freebind: bool = False, beside: Collection[socket.socket] = ()) -> socket.socket:
    """``open_listening``, for engines.

    Raises:
        ListenError: The address cannot be had; for the engine's caller.
    """
    try:
        return open_listening(address, freebind=freebind, beside=beside)
    except OSError as error:
        raise why_not(address, error, beside) from error


def why_not(address: Address, error: OSError, beside: Collection[socket.socket] = ()) -> ListenError:
    """Why ``address`` cannot be listened on, and whether it is this process itself that is in the way, with another socket than ``beside``."""
    ours = in_the_way(address, beside) if error.errno == errno.EADDRINUSE else None
    return listen_error(error, ours)


def open_listening(
    address: Address, *, freebind: bool = False, beside: Collection[socket.socket] = ()
) -> socket.socket:
    """A listening, non-blocking socket; IPv6 ones take no IPv4 clients.

    Linux lets a wildcard and a specific address of one port listen at once when both have ``SO_REUSEPORT`` and are of one user. They
    have it only for as long as this takes, so that nobody else gets in beside them.

    Args:
        address: Numeric.
        freebind: Whether an address will do that this machine does not have, or not yet.
        beside: Listening sockets of this process that would be in the way, and may stay.

    Raises:
        OSError: The address cannot be had.
    """
    listening = socket.socket(family(address.host), socket.SOCK_STREAM)
    sharing = (*beside, listening) if beside else ()
    try:
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if freebind:
            _free(listening)
        _share(sharing, True)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        _share(sharing, False)
        listening.close()
        raise
    _share(sharing, False)
    return listening


def _share(sockets: Collection[socket.socket], on: bool) -> None:
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, on)


def _free(listening: socket.socket) -> None:
    """Let it be bound to any address.

    Raises:
        OSError: Only Linux can; the numbers mean other things elsewhere.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOPROTOOPT, "freebind")
    listening.setsockopt(*FREEBIND[listening.family], 1)


def adopt_listening(fd: int) -> socket.socket:
    """A non-blocking, close-on-exec duplicate of an inherited listening socket, which defers nothing, whoever had it before.

    Raises:
        ListenError: ``fd`` is none; for the engine's caller.
    """
    listening = _duplicate(fd)
    listening.setblocking(False)
    defer(listening, False)
    return listening


def _duplicate(fd: int) -> socket.socket:
    try:
        copy = os.dup(fd)
    except OSError as error:
        raise ListenError(NOT_LISTENING) from error
    try:
        listening = socket.socket(fileno=copy)
    except OSError as error:
        os.close(copy)
        raise ListenError(NOT_LISTENING) from error
    if not is_listening(listening):
        listening.close()
        raise ListenError(NOT_LISTENING)
    return listening


def is_listening(candidate: socket.socket) -> bool:
    """Whether it is a TCP socket that listens."""
    return (
        candidate.family in (socket.AF_INET, socket.AF_INET6)
        and candidate.type == socket.SOCK_STREAM
        and bool(candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )


def defer(listening: socket.socket, on: bool) -> None:
    """Let the kernel hand clients out when they speak, at the latest after a second; or at once. Only Linux can."""
    if hasattr(socket, "TCP_DEFER_ACCEPT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, on)


def own_listening() -> Iterator[socket.socket]:
    """A duplicate of each TCP socket that this process listens with, closed after its turn. Without ``/proc`` there are none."""
    descriptors: list[str] = []
    with suppress(OSError):
        descriptors = os.listdir("/proc/self/fd")
    for name in descriptors:
        try:
            copy = _duplicate(int(name))
        except ListenError:
            continue
        with copy:
            yield copy


def in_the_way(address: Address, beside: Collection[socket.socket] = ()) -> Address | None:
    """Where this process listens itself, with another socket than ``beside``, so that ``address`` cannot be had; None: nowhere."""
    others = {address_of(one.getsockname()) for one in beside}
    for listening in own_listening():
        taken = address_of(listening.getsockname())
        if taken.port == address.port and taken not in others and (clash(taken, address) or _takes_both(listening)):
            return taken
    return None


def _takes_both(listening: socket.socket) -> bool:
    """Whether it is an IPv6 wildcard that takes IPv4 clients too; none of ours does, but others may have made it."""
    return (
        listening.family == socket.AF_INET6
        and listening.getsockname()[0] in EVERYWHERE
        and not listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    )
