"""Listening sockets that we were started with (sd_listen_fds(3)), so that a restart refuses nobody.

systemd holds them from before we start until after we have ended: who comes in between waits in the kernel's queue. They
are known by their addresses; the settings say what is listened on, as ever.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from twisted.logger import Logger

from nodebalancer.errors import ListenError
from nodebalancer.fields import Address
from nodebalancer.transport.addresses import address_of
from nodebalancer.transport.engine import Engine, Listener
from nodebalancer.transport.sockets import adopt_listening

log = Logger()

FIRST: Final = 3
"""The first descriptor that systemd passes (SD_LISTEN_FDS_START)."""


def environment() -> Mapping[str, str]:
    """The environment that this process was started with.

    As it is imported, ``twisted.internet.endpoints`` takes ``LISTEN_PID`` and ``LISTEN_FDS`` out of ``os.environ``, for
    endpoints that are not ours.
    """
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:
        return os.environ
    return dict(os.fsdecode(entry).partition("=")[::2] for entry in entries if entry)


class Inherited:
    """Opens listeners, from the sockets that were passed to us where there is one for the address.

    Args:
        engine: Has the listeners.
        environ: Names the descriptors: ``LISTEN_PID`` (who they are for), ``LISTEN_FDS`` (how many), ``LISTEN_FDNAMES``.
        first: The first of them.
    """

    def __init__(self, engine: Engine, environ: Mapping[str, str], first: int = FIRST) -> None:
        self._engine = engine
        self._descriptors: dict[Address, int] = {}
        self._waiting: frozenset[Address] = frozenset()
        for fd, name in _passed(environ, first):
            self._take(fd, name)

    def listen(self, address: Address, factory: Any, *, freebind: bool = False, **options: Any) -> Listener:
        """``Engine.listen``, or ``Engine.adopt`` if a socket for just this address was passed, which is bound already."""
        fd = self._descriptors.get(address)
        if fd is None:
            return self._engine.listen(address, factory, freebind=freebind, **options)
        return self._engine.adopt(fd, factory, **options)

    def close_unused(self, listening: Collection[Address]) -> None:
        """Close the sockets of addresses that are not among ``listening``, once all is listened on that we start with."""
        for address in self._descriptors.keys() - set(listening):
            log.warn(
                "systemd passed a socket that listens on {address}, and no config listens there; it is closed here, but as "
                "long as systemd holds it its clients wait in vain",
                address=str(address),
            )
            os.close(self._descriptors.pop(address))

    def tell_left(self, listening: Collection[Address]) -> None:
        """Warn, once each, of sockets that a reload has left: they are kept, should it come back to them."""
        left = frozenset(self._descriptors.keys() - set(listening))
        for address in sorted(left - self._waiting):
            log.warn(
                "no config listens on {address} any more, but systemd holds its socket, so clients there wait in vain; "
                "take it out of the socket unit",
                address=str(address),
            )
        self._waiting = left

    def _take(self, fd: int, name: str) -> None:
        try:
            with adopt_listening(fd) as copy:
                address = address_of(copy.getsockname())
        except ListenError as e:
            log.warn("descriptor {fd} ({name}): {reason}; it is closed", fd=fd, name=name, reason=e.reason)
            _close(fd)
            return
        os.set_inheritable(fd, False)
        self._descriptors[address] = fd


def _passed(environ: Mapping[str, str], first: int) -> Iterator[tuple[int, str]]:
    """Descriptors that are meant for this process, and their names."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return
    count = environ.get("LISTEN_FDS", "")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    for number in range(int(count) if count.isdecimal() else 0):
        yield first + number, names[number] if number < len(names) and names[number] else "unnamed"


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        log.warn("descriptor {fd} was not open", fd=fd)
