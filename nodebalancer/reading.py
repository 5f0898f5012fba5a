"""Files that are read whole, as settings, keys and certificates are: ordinary and small, or not read at all.

An ordinary ``open`` could wait at a fifo for ever, with all traffic behind it, or read without end from a device.
"""

from __future__ import annotations

import os
import stat


def read_whole(path: str, most: int) -> tuple[bytes, os.stat_result]:
    """What is in a file, and its status.

    Args:
        path: Its absolute path.
        most: Bytes that it may have.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no ordinary file, or has more in it; with a phrase to put behind its name.
    """
    with open(path, "rb", opener=_open_at_once) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no ordinary file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"has more than {most} bytes")
    return data, status


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
