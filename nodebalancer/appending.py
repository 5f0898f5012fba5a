"""Files that lines are appended to, as logs are: opened without waiting, and followed when they are moved away."""

from __future__ import annotations

import errno
import os
import stat
from typing import Final

MODE: Final = 0o640
"""Of a file that is made, less what the umask takes away: who was here is not for everybody to read."""


def open_to_append(path: str, uid: int | None = None, gid: int | None = None) -> int:
    """A descriptor of the file, which is made if it is not there; not blocking.

    Args:
        path: Its absolute path.
        uid: Who gets a file that root makes, to be able to open it again later; None: nobody. Then root follows no symlink
            at its path: the directory may be that user's, who could have root write anywhere.
        gid: The same; None: the group stays.

    Raises:
        OSError: It cannot be opened; a fifo that nobody reads is one of these, instead of waiting for a reader.
    """
    given = uid is not None and os.geteuid() == 0
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    try:
        # An existing file keeps its owner.
        fd = os.open(path, flags | os.O_EXCL, MODE)
    except FileExistsError:
        if given and os.path.islink(path):
            raise OSError(errno.ELOOP, "a symbolic link, which root does not follow for another user", path) from None
        return os.open(path, flags | (os.O_NOFOLLOW if given else 0), MODE)
    if given:
        os.fchown(fd, uid, -1 if gid is None else gid)  # type: ignore[arg-type] # it is not None
    return fd


def moved(fd: int, path: str) -> bool:
    """Whether a file that was opened by ``path`` is not to be found there any more: renamed, or removed."""
    here = os.fstat(fd)
    # A device or a pipe can have many names.
    if not stat.S_ISREG(here.st_mode):
        return False
    try:
        return not os.path.samestat(os.stat(path), here)
    except OSError:
        return True
