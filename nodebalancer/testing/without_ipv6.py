"""Runs a command as on a machine whose kernel has no IPv6: ``python -m nodebalancer.testing.without_ipv6 COMMAND …``.

It is what systemd's ``RestrictAddressFamilies=`` does: a seccomp filter that lets ``socket(AF_INET6, …)`` fail with
EAFNOSUPPORT. It needs no right and holds for the command and all it starts. Linux on x86-64 and ARM64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
"""The number of ``socket(2)`` by machine."""

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2

LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
"""Instructions of the classic BPF (``linux/filter.h``)."""

ALLOW = 0x7FFF0000
FAIL = 0x00050000
"""What a filter may answer (``linux/seccomp.h``); the error number is added to FAIL."""


class Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def forbid_ipv6() -> None:
    """Let this process, and what it becomes, have no IPv6 sockets.

    Raises:
        OSError: The kernel does not let us.
        KeyError: Not for this machine.
    """
    instructions = [
        (LOAD_WORD, 0, 0, 0),  # the number of the call
        (JUMP_IF_EQUAL, 0, 3, SOCKET_CALL[platform.machine()]),
        (LOAD_WORD, 0, 0, 16),  # its first argument
        (JUMP_IF_EQUAL, 0, 1, int(socket.AF_INET6)),
        (RETURN, 0, 0, FAIL + errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(len(instructions), code)), 0, 0),
    ):
        if libc.prctl(*call) != 0:
            raise OSError(ctypes.get_errno(), "this kernel takes no filter")


if __name__ == "__main__":
    forbid_ipv6()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 that is its purpose
