"""The settings file: from its name to its bytes, and new bytes into its place."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from typing import Final

from nodebalancer.errors import Problem, SettingsError
from nodebalancer.reading import read_whole
from nodebalancer.settings.reading import Loaded, decoded, read

BYTES_MAX: Final = 1 << 24
"""Of a settings file. A thousand configs with a hundred nodes each have some 5 MB."""


class SettingsFile:
    """One INI file.

    Args:
        path: Where it is, absolute: twistd changes its directory.
        named: What the operator calls it, for messages; default: ``path``.
    """

    def __init__(self, path: str, named: str = "") -> None:
        self.path = path
        self.named = named or path

    def text(self) -> str:
        """What it says.

        Raises:
            SettingsError: It cannot be read, or is no text; caught by whoever wanted the settings.
        """
        return decoded(read_bytes(self.path, self.named), self.named)

    def remains(self) -> str:
        """What can be read of it, however broken; nothing, if it cannot be opened."""
        try:
            return read_bytes(self.path).decode(errors="replace")
        except SettingsError:
            return ""

    def load(self) -> tuple[str, Loaded]:
        """What it says, and what that asks for.

        Raises:
            SettingsError: With every problem; caught by whoever wanted the settings.
        """
        text = self.text()
        return text, read(text, self.named)

    def replace(self, text: str) -> None:
        """Let it say ``text`` from now on; owner, group and mode stay, and a symlink goes on leading to it.

        Raises:
            SettingsError: It cannot be written and is as it was; caught by whoever asked for the change.
        """
        try:
            replace(os.path.realpath(self.path), text.encode())
        except OSError as e:
            message = f"cannot be written: {_why(e)}; nothing was changed"
            raise SettingsError((Problem(self.named, message),)) from None


def read_bytes(path: str, named: str = "") -> bytes:
    """What is in the settings file at ``path``.

    Raises:
        SettingsError: With one problem; caught by whoever wanted the settings.
    """
    try:
        return read_whole(path, BYTES_MAX)[0]
    except FileNotFoundError:
        message = "there is no such file; name yours with --config FILE, or try --demo, which needs none"
    except OSError as e:
        message = f"cannot be read: {_why(e)}"
    except ValueError as e:
        message = str(e)
    raise SettingsError((Problem(named or path, message),))


def replace(path: str, data: bytes) -> None:
    """Put ``data`` at ``path`` as a whole or not at all, also when the power fails.

    A file that was there keeps owner, group and mode; one that we may not write is not replaced either, though its directory
    would let us, nor is what is no file. A new one is for its owner only.

    Raises:
        OSError: It cannot be done, and what was there is there still.
    """
    directory = os.path.dirname(path)
    try:
        before = os.stat(path)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "it is no ordinary file")
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except FileNotFoundError:
        before = None
    fd, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=directory)
    try:
        with open(fd, "wb") as file:
            if before is not None:
                _give(fd, before)
                os.fchmod(fd, stat.S_IMODE(before.st_mode))
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    _sync(directory)


def kept_from_us(path: str) -> str:
    """Why the file at ``path`` cannot be replaced with owner and group as they are; empty if it can, as far as they go."""
    try:
        status, directory = os.stat(path), os.stat(os.path.dirname(os.path.realpath(path)))
    except OSError:
        return ""
    groups = {os.getegid(), *os.getgroups()}
    if directory.st_mode & stat.S_ISGID:
        groups.add(directory.st_gid)
    ours = status.st_uid == os.geteuid() and status.st_gid in groups
    return "" if ours or os.geteuid() == 0 else _not_ours(status)


def _give(fd: int, before: os.stat_result) -> None:
    """Let a new file have owner and group of the one before it.

    Raises:
        OSError: We may not.
    """
    made = os.fstat(fd)
    if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(fd, before.st_uid, before.st_gid)
        except PermissionError:
            raise PermissionError(errno.EPERM, _not_ours(before)) from None


def _not_ours(status: os.stat_result) -> str:
    return (
        f"it belongs to user {status.st_uid} and group {status.st_gid}, which user {os.geteuid()} cannot give a file to"
    )


def _sync(directory: str) -> None:
    """Let a rename in ``directory`` survive a loss of power."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
