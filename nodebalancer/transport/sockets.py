"""Sockets as the engines want them."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from fcntl import ioctl
from termios import FIONREAD, TIOCOUTQ
from typing import Final

from nodebalancer.errors import ListenError
from nodebalancer.fields import Address
from nodebalancer.transport.addresses import family

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


def open_listening(address: Address, *, freebind: bool = False) -> socket.socket:
    """A listening, non-blocking socket; IPv6 ones take no IPv4 clients.

    Args:
        address: Numeric.
        freebind: Whether an address will do that this machine does not have, or not yet.

    Raises:
        OSError: The address cannot be had; the engine makes it a ``ListenError``.
    """
    listening = socket.socket(family(address.host), socket.SOCK_STREAM)
    try:
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if freebind:
            _free(listening)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _free(listening: socket.socket) -> None:
    """Let it be bound to any address.

    Raises:
        OSError: Only Linux can; the numbers mean other things elsewhere.
    """
    if not sys.platform.startswith("linux"):
        raise OSError(errno.ENOPROTOOPT, "freebind")
    listening.setsockopt(*FREEBIND[listening.family], 1)


def adopt_listening(fd: int) -> socket.socket:
    """A non-blocking, close-on-exec duplicate of an inherited listening socket.

    Raises:
        ListenError: ``fd`` is none; for the engine's caller.
    """
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
    listening.setblocking(False)
    return listening


def is_listening(candidate: socket.socket) -> bool:
    """Whether it is a TCP socket that listens."""
    return (
        candidate.family in (socket.AF_INET, socket.AF_INET6)
        and candidate.type == socket.SOCK_STREAM
        and bool(candidate.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )
