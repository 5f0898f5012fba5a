"""What the kernel says about addresses, in words: who a peer is, and why an address cannot be had.

Shared by the engines that own real sockets.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Final

from nodebalancer.errors import DialError, ListenError
from nodebalancer.fields import Address
from nodebalancer.model import EVERYWHERE

MAPPED: Final = "::ffff:"
"""How the kernel writes the beginning of an IPv4 address on an IPv6 socket."""

OURS: Final = frozenset(
    {
        errno.EMFILE,  # descriptors of this process
        errno.ENFILE,  # descriptors of this machine
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.EADDRNOTAVAIL,  # no source port left, or the source address is not ours
        errno.EADDRINUSE,  # the same, for a bound source
        errno.EAGAIN,  # the routing cache is full
        errno.EACCES,  # this machine's firewall, or a broadcast address
        errno.EPERM,  # the same
        errno.EAFNOSUPPORT,  # no IPv6 here
        errno.EINVAL,  # source and destination do not go together
        errno.ENETDOWN,
    }
)
"""Failures of a dial that are faults of this machine, never a verdict on the node."""

DIAL_PHRASES: Final = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ETIMEDOUT: "timed out",
    errno.EMFILE: "no descriptors left",
    errno.ENFILE: "no descriptors left on this machine",
    errno.EADDRNOTAVAIL: "no source address or port to be had",
    errno.EADDRINUSE: "no source address or port to be had",
    errno.EAFNOSUPPORT: "address family not supported here",
}

LISTEN_PHRASES: Final = {
    errno.EADDRINUSE: "already in use by another program",
    errno.EACCES: "ports below 1024 need the right to bind them (run as root, or CAP_NET_BIND_SERVICE)",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine has no IPv6",
    errno.EMFILE: "no descriptors left",
    errno.ENFILE: "no descriptors left on this machine",
}


def phrase(number: int) -> str:
    """The system's own words for an errno, as part of a sentence: ``no route to host``."""
    words = os.strerror(number)
    return words[:1].lower() + words[1:]


def dial_error(number: int) -> DialError:
    """Why a dial failed and whose fault that was, from the errno of the failed call (or ``SO_ERROR``)."""
    return DialError(
        DIAL_PHRASES.get(number) or phrase(number), ours=number in OURS, timed_out=number == errno.ETIMEDOUT
    )


def listen_error(error: OSError, ours: Address | None = None) -> ListenError:
    """Why an address cannot be listened on.

    Args:
        error: What the system said.
        ours: Where this process listens itself, if that is in the way.
    """
    number = error.errno or 0
    reason = LISTEN_PHRASES.get(number) or (phrase(number) if number > 0 else str(error))
    if ours is not None and number == errno.EADDRINUSE:
        reason = f"already in use by this process itself, which listens on {ours}"
    return ListenError(reason, unsupported=number == errno.EAFNOSUPPORT, absent=number == errno.EADDRNOTAVAIL)


def family(host: str) -> socket.AddressFamily:
    """The address family of a numeric host."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def clash(one: Address, other: Address) -> bool:
    """Whether two addresses cannot be listened on at once: a wildcard takes no IPv4 clients with its IPv6 ones."""
    same_family = (":" in one.host) == (":" in other.host)
    same_host = one.host == other.host or one.host in EVERYWHERE or other.host in EVERYWHERE
    return one.port == other.port and same_family and same_host


def normal_host(host: str) -> str:
    """One spelling per client, whatever socket it came by: ``::ffff:192.0.2.1`` is ``192.0.2.1``, zone ids are cut."""
    if ":" not in host:
        return host
    host = host.partition("%")[0]
    return host[len(MAPPED) :] if host.startswith(MAPPED) and "." in host else host


def address_of(name: Any) -> Address:
    """The ``Address`` in what ``getpeername``, ``getsockname`` or ``accept`` of an IPv4 or IPv6 socket returned."""
    return Address(normal_host(name[0]), name[1])
