"""The settings file: from its name to its bytes, and new bytes into its place."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile

from nodebalancer.errors import Problem, SettingsError
from nodebalancer.settings.reading import Loaded, decoded, read


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

    def load(self) -> tuple[str, Loaded]:
        """What it says, and what that asks for.

        Raises:
            SettingsError: With every problem; caught by whoever wanted the settings.
        """
        text = self.text()
        return text, read(text, self.named)

    def replace(self, text: str) -> None:
        """Let it say ``text`` from now on; owner and mode stay, and a symlink goes on leading to it.

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
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        message = "there is no such file; name yours with --config FILE, or try --demo, which needs none"
    except OSError as e:
        message = f"cannot be read: {_why(e)}"
    raise SettingsError((Problem(named or path, message),))


def replace(path: str, data: bytes) -> None:
    """Put ``data`` at ``path`` as a whole or not at all, also when the power fails.

    A file that was there keeps owner and mode; one that we may not write is not replaced either, though its directory would
    let us. A new one is for its owner only.

    Raises:
        OSError: It cannot be done, and what was there is there still.
    """
    directory = os.path.dirname(path)
    try:
        before = os.stat(path)
        os.close(os.open(path, os.O_WRONLY))
    except FileNotFoundError:
        before = None
    fd, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=directory)
    try:
        with open(fd, "wb") as file:
            if before is not None:
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(fd, before.st_uid, before.st_gid)
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


def _sync(directory: str) -> None:
    """Let a rename in ``directory`` survive a loss of power."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
