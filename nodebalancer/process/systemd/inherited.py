"""Listening sockets that we were started with (sd_listen_fds(3)), so that a restart refuses nobody.

systemd holds them from before we start until after we have ended: who comes in between waits in the kernel's queue. They
are known by their addresses; the settings say what is listened on, as ever.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs
from twisted.logger import Logger

from nodebalancer.errors import ListenError
from nodebalancer.fields import Address
from nodebalancer.transport.addresses import address_of
from nodebalancer.transport.engine import Engine, Listener
from nodebalancer.transport.sockets import adopt_listening

log = Logger()

FIRST: Final = 3
"""The first descriptor that systemd passes (SD_LISTEN_FDS_START)."""

SHOWN: Final = 8
"""Of descriptors with one fault."""


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


@attrs.frozen
class Passed:
    """What we were started with.

    Attributes:
        sockets: Descriptors of listening sockets, by their addresses.
        faults: What else was announced, in sentences. It is left alone: a descriptor that nobody has passed may be ours.
    """

    sockets: Mapping[Address, int] = MappingProxyType({})
    faults: tuple[str, ...] = ()


def passed(environ: Mapping[str, str], first: int = FIRST) -> Passed:
    """What ``environ`` says that we were started with; to be asked before we open anything ourselves.

    Args:
        environ: Has ``LISTEN_PID`` (who the descriptors are for), ``LISTEN_FDS`` (how many), ``LISTEN_FDNAMES``.
        first: The first of them.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return Passed()
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    sockets: dict[Address, int] = {}
    faults = []
    closed = []
    end = min(first + int(count[:9]), os.sysconf("SC_OPEN_MAX"))
    for fd, name in zip_longest(range(first, end), names):
        if fd is None:
            break
        try:
            os.fstat(fd)
            address = _address(fd)
        except OSError:
            closed.append(fd)
        except ListenError as e:
            faults.append(f"descriptor {fd} ({name or 'unnamed'}): {e.reason}; it is left alone")
        else:
            sockets.setdefault(address, fd)
            os.set_inheritable(fd, False)
    if closed:
        some = ", ".join(map(str, closed[:SHOWN]))
        faults.append(
            f"LISTEN_FDS = {count} counts descriptors that are not open: {some}{', …' * (len(closed) > SHOWN)}"
        )
    return Passed(sockets, tuple(faults))


def _address(fd: int) -> Address:
    with adopt_listening(fd) as copy:
        return address_of(copy.getsockname())


class Inherited:
    """Opens listeners, from the sockets that were passed to us where there is one for the address.

    Args:
        engine: Has the listeners.
        passed: What was passed.
    """

    def __init__(self, engine: Engine, passed: Passed) -> None:
        self._engine = engine
        self._descriptors = dict(passed.sockets)
        self._waiting: frozenset[Address] = frozenset()
        for fault in passed.faults:
            log.warn("{fault}", fault=fault)

    def listen(
        self,
        address: Address,
        factory: Any,
        *,
        freebind: bool = False,
        beside: Collection[Listener] = (),
        **options: Any,
    ) -> Listener:
        """``Engine.listen``, or ``Engine.adopt`` if a socket for just this address was passed, which is bound already."""
        fd = self._descriptors.get(address)
        if fd is None:
            return self._engine.listen(address, factory, freebind=freebind, beside=beside, **options)
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
