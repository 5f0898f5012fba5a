"""Runs a command within the system calls that a systemd unit allows: ``python -m nodebalancer.testing.sandbox UNIT COMMAND …``.

The filters of ``SystemCallFilter=``, ``RestrictAddressFamilies=`` and ``MemoryDenyWriteExecute=`` are made as systemd makes
them, with its names of sets and its libseccomp. One thing is stricter: a call that is not allowed ends the process, so that
no test overlooks one. Nothing needs a right, and it holds for the command and all it starts. Linux with systemd installed; it need not run.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

ALLOW: Final = 0x7FFF0000
END_PROCESS: Final = 0x80000000
FAIL: Final = 0x00050000
"""Answers of a filter (``seccomp.h`` of libseccomp); the error number is added to FAIL."""

EQUAL, MASKED_EQUAL = 4, 7
"""How an argument is compared."""

FAMILIES_END: Final = 46
"""One more than the last address family (``AF_MAX`` of ``linux/socket.h``)."""

SHM_EXEC: Final = 0o100000


class Argument(ctypes.Structure):
    """``struct scmp_arg_cmp``: argument number ``position``; with MASKED_EQUAL its bits ``first`` have to be ``second``."""

    _fields_ = [
        ("position", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


class Filter:
    """A seccomp filter in the making.

    Args:
        otherwise: What it answers to calls that no rule is about.
    """

    def __init__(self, otherwise: int) -> None:
        self._library = ctypes.CDLL("libseccomp.so.2")
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(self._library.seccomp_init(ctypes.c_uint32(otherwise)))

    def add(self, answer: int, call: str, *arguments: Argument) -> None:
        """Answer so to ``call`` if all of ``arguments`` hold. A call that this machine does not have is left out.

        Raises:
            OSError: There is no such rule.
        """
        number = self._library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:
            compared = (Argument * len(arguments))(*arguments)
            self._check(
                self._library.seccomp_rule_add_array(
                    self._context, ctypes.c_uint32(answer), number, len(arguments), compared
                )
            )

    def load(self) -> None:
        """Let it hold, for this process and what it becomes.

        Raises:
            OSError: The kernel takes no filter.
        """
        self._check(self._library.seccomp_load(self._context))

    def _check(self, result: int) -> None:
        if result != 0:
            raise OSError(-result, os.strerror(-result))


def values_of(unit: str, key: str) -> list[str]:
    """What the text of a unit gives ``key``, line by line."""
    lines = (line.partition("=") for line in unit.splitlines())
    return [value.strip() for name, _, value in lines if name == key]


def sets_of_calls() -> dict[str, list[str]]:
    """Systemd's sets of calls by name, with their comments left out; a set may name others."""
    argv = ["systemd-analyze", "syscall-filter", "--no-pager"]
    listed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout  # noqa: S603 not from outside
    sets: dict[str, list[str]] = {}
    for line in listed.splitlines():
        word = line.strip()
        if word.startswith("@") and word == line:
            sets[word] = members = []
        elif word and not word.startswith("#"):
            members.append(word)
    return sets


def allowed(filters: Iterable[str], sets: Mapping[str, list[str]]) -> set[str]:
    """The calls that lines of ``SystemCallFilter=`` leave, the first of which allows.

    Raises:
        KeyError: There is no such set.
    """
    calls = _flat(["@default"], sets)
    for line in filters:
        named = _flat(line.removeprefix("~").split(), sets)
        calls = calls - named if line.startswith("~") else calls | named
    return calls


def _flat(names: Iterable[str], sets: Mapping[str, list[str]]) -> set[str]:
    flat: set[str] = set()
    for name in names:
        flat |= _flat(sets[name], sets) if name.startswith("@") else {name}
    return flat


def enter(unit: str) -> None:
    """Be held to what the text of a unit says, from now on.

    Raises:
        OSError: The kernel does not let us, or there is no libseccomp.
    """
    if families := " ".join(values_of(unit, "RestrictAddressFamilies")).split():
        _restrict(families)
    if values_of(unit, "MemoryDenyWriteExecute") == ["true"]:
        _deny_writing_code()
    if filters := values_of(unit, "SystemCallFilter"):
        calls = Filter(END_PROCESS)
        for call in allowed(filters, sets_of_calls()):
            calls.add(ALLOW, call)
        calls.load()


def _restrict(families: Iterable[str]) -> None:
    kept = {int(getattr(socket, name)) for name in families}
    sockets = Filter(ALLOW)
    for family in set(range(FAMILIES_END)) - kept:
        sockets.add(FAIL + errno.EAFNOSUPPORT, "socket", Argument(0, EQUAL, family))
    sockets.load()


def _deny_writing_code() -> None:
    both = mmap.PROT_WRITE | mmap.PROT_EXEC
    memory = Filter(ALLOW)
    for call, position, bits in (
        ("mmap", 2, both),
        ("mprotect", 2, mmap.PROT_EXEC),
        ("pkey_mprotect", 2, mmap.PROT_EXEC),
        ("shmat", 2, SHM_EXEC),
    ):
        memory.add(FAIL + errno.EPERM, call, Argument(position, MASKED_EQUAL, bits, bits))
    memory.load()


if __name__ == "__main__":
    enter(Path(sys.argv[1]).read_text())
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 that is its purpose
