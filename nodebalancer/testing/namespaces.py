"""A network of its own for a test that changes what the whole machine would feel. Linux, root."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

CLONE_NEWNET = 0x40000000
"""From ``linux/sched.h``; ``os.unshare`` and ``os.setns`` came with Python 3.12."""


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
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(libc.unshare(CLONE_NEWNET))
        try:
            for name, value in (sysctls or {}).items():
                Path("/proc/sys", *name.split(".")).write_text(value)
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607 where ip lies differs
            yield
        finally:
            _check(libc.setns(before, CLONE_NEWNET))
    finally:
        os.close(before)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
