"""Host names to numeric addresses, without blocking."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from nodebalancer.transport.addresses import normal_host


def resolve(reactor: Any, name: str) -> Deferred[list[str]]:
    """The numeric addresses of ``name``, IPv4 and IPv6, in the system's order; an empty list when it has none.

    Args:
        reactor: Its thread pool waits for the system's resolver.
        name: A host name; a numeric address is its own answer.
    """
    return deferToThreadPool(reactor, reactor.getThreadPool(), addresses_of, name)


def addresses_of(name: str) -> list[str]:
    """``resolve``, waiting."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the latter for what no name server could be asked
        return []
    return list(dict.fromkeys(normal_host(str(address[0])) for *_, address in found))
