"""Listeners that end, and the clients that the kernel still has for them.

A client that has connected to a deferring listener and has not spoken yet is in no queue that could be emptied: once the socket is
closed, its first bytes are answered with a reset. As soon as a listener no longer defers, its client comes with its next bytes, or with its answer when the kernel asks once
more, a second after it asked first. So do clients whose handshake is not done, after a round trip.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from nodebalancer.transport.engine import LAST_CALL_SECONDS
from nodebalancer.transport.epoll.listener import EpollListener

LOOK_SECONDS: Final = 0.2
"""Between two looks at who is still on the way."""

HEADER: Final = struct.Struct("=IHHII")
"""``nlmsghdr`` (netlink(7)): length, type, flags, sequence, port."""

REQUEST: Final = struct.Struct("=BBBxI48x")
"""``inet_diag_req_v2`` (sock_diag(7)): family, protocol, extensions, states, and any socket."""

SOCK_DIAG: Final = 4
"""``NETLINK_SOCK_DIAG``, which Python does not name."""

SOCK_DIAG_BY_FAMILY: Final = 20

DUMP: Final = 0x301
"""``NLM_F_REQUEST | NLM_F_DUMP``."""

DONE: Final = (2, 3)
"""``NLMSG_ERROR`` and ``NLMSG_DONE``: there is no more."""

ARRIVING: Final = 1 << 3
"""``TCP_SYN_RECV``: the handshake is not done, or the listener defers and nothing has come yet."""

PORT_AT: Final = HEADER.size + 4
"""Where the local port is in an answer, in network order: ``inet_diag_msg.id.idiag_sport``."""


class LastCall:
    """Closes the listeners of an engine, those last for which there are clients on the way.

    Args:
        reactor: Has the timer.
        now: Monotonic seconds.
    """

    __slots__ = ("_now", "_reactor", "_until", "_waiting")

    def __init__(self, reactor: Any, now: Callable[[], float]) -> None:
        self._reactor = reactor
        self._now = now
        self._until: dict[EpollListener, float] = {}
        self._waiting = False

    def begin(self, listeners: Iterable[EpollListener]) -> None:
        """``Engine.retire``."""
        until = self._now() + LAST_CALL_SECONDS
        for listener in listeners:
            if listener.call_last():
                self._until.setdefault(listener, until)
            else:
                listener.close()
        self._look()

    def _look(self) -> None:
        """Close those for which nobody is on the way, or has been for too long."""
        now = self._now()
        called = {listener: until for listener, until in self._until.items() if listener.retiring}
        ports = arriving() if called else set()
        self._until = {}
        for listener, until in called.items():
            if now < until and listener.address.port in ports:
                self._until[listener] = until
            else:
                listener.close()
        if self._until and not self._waiting:
            self._waiting = True
            self._reactor.callLater(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._waiting = False
        self._look()


def arriving() -> set[int]:
    """Ports at which the kernel has clients that it does not hand out yet.

    It tells those only, so this takes some 10 ms with 50,000 sockets; reading ``/proc/net/tcp`` takes ten times as long.
    Where it cannot be asked there are none.
    """
    ports: set[int] = set()
    with suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
        for family in (socket.AF_INET, socket.AF_INET6):
            request = REQUEST.pack(family, socket.IPPROTO_TCP, 0, ARRIVING)
            kernel.send(HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, DUMP, 0, 0) + request)
            while _take(kernel.recv(1 << 16), ports):
                pass
    return ports


def _take(answers: bytes, ports: set[int]) -> bool:
    """Add the ports in ``answers``; whether more answers follow."""
    at = 0
    while at < len(answers):
        length, kind, *_ = HEADER.unpack_from(answers, at)
        if kind in DONE:
            return False
        ports.add(int.from_bytes(answers[at + PORT_AT : at + PORT_AT + 2], "big"))
        at += -(-length // 4) * 4
    return True
