"""A network of its own for a test that changes what the whole machine would feel. Linux, root."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

CLONE_NEWNET = 0x40000000
"""From ``linux/sched.h``; ``os.unshare`` and ``os.setns`` came with Python 3.12."""

LIBC = ctypes.CDLL(None, use_errno=True)

HERE = "/proc/thread-self/ns/net"
"""The network of the calling thread."""


def available() -> bool:
    """Whether this process may make networks: it tries, since containers differ in what they let root do."""
    try:
        with own_network():
            return True
    except (OSError, AttributeError):
        return False


@contextmanager
def own_network(sysctls: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run the block, and every program it starts, in a network that has nothing but loopback.

    It is the calling thread that moves; sockets opened before stay where they are. The network is gone when the
    last program in it has ended.

    Args:
        sysctls: Kernel settings of the network, set before loopback comes up: ``net.ipv4.ip_local_port_range``.

    Raises:
        OSError: We lack the right.
    """
    network = new_network(sysctls)
    try:
        with inside(network):
            yield
    finally:
        os.close(network)


def new_network(sysctls: Mapping[str, str] | None = None) -> int:
    """The descriptor of a new network; see ``own_network``. It is gone when this is closed, too."""
    before = os.open(HERE, os.O_RDONLY)
    try:
        _check(LIBC.unshare(CLONE_NEWNET))
        try:
            for name, value in (sysctls or {}).items():
                Path("/proc/sys", *name.split(".")).write_text(value)
            ip("link set lo up")
            return os.open(HERE, os.O_RDONLY)
        finally:
            _check(LIBC.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


@contextmanager
def inside(network: int) -> Iterator[None]:
    """Run the block, and every program it starts, in ``network``; the calling thread moves."""
    before = os.open(HERE, os.O_RDONLY)
    try:
        _check(LIBC.setns(network, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(LIBC.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


def ip(arguments: str) -> None:
    """Run ``ip`` with ``arguments``, in the network that the calling thread is in.

    Raises:
        subprocess.CalledProcessError: It cannot be done; it has said why.
    """
    subprocess.run(["ip", *arguments.split()], check=True)  # noqa: S603, S607 the tests' own; where ip lies differs


class Segment:
    """Hosts on one Ethernet, each with a network of its own, whose interface is ``eth0``. Use it in a ``with`` statement."""

    def __init__(self) -> None:
        self._hosts: dict[str, int] = {}
        self._switch = new_network()
        with inside(self._switch):
            ip("link add switch type bridge")
            ip("link set switch up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """All is gone with the last program that runs in it."""
        for network in (*self._hosts.values(), self._switch):
            os.close(network)

    def add(self, name: str, *addresses: str) -> None:
        """A host with ``addresses``, each with its prefix: ``192.0.2.1/24``."""
        network = self._hosts[name] = new_network()
        with inside(self._switch):
            ip(f"link add {name} type veth peer name eth0 netns /proc/{os.getpid()}/fd/{network}")
            ip(f"link set {name} master switch up")
        with inside(network):
            for address in addresses:
                ip(f"address add {address} dev eth0")
            ip("link set eth0 up")

    def on(self, name: str) -> AbstractContextManager[None]:
        """``inside`` the network of a host."""
        return inside(self._hosts[name])

    def unplug(self, name: str) -> None:
        """Pull the cable of a host out of the switch."""
        with inside(self._switch):
            ip(f"link set {name} down")


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
