"""What the process takes, under the names that all exporters use.

``prometheus_client`` has a collector of these, which lists all descriptors in one go: with 15,000 connections traffic would
stand still for 60 ms. The kernel tells their number since Linux 6.2; before, they are counted some at a time.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ENTRIES_A_TURN: Final = 200
"""Descriptors that are counted at once."""


class ProcessFigures:
    """What this process takes.

    Args:
        proc: What the kernel tells of it; figures that are not there are left out.
    """

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._proc = proc
        self._ticks = os.sysconf("SC_CLK_TCK")

    def cpu_seconds(self) -> float:
        """Processor time used."""
        used = os.times()
        return used.user + used.system

    def memory(self) -> tuple[int, int] | None:
        """Bytes of memory occupied, and of address space."""
        stat = self._stat()
        return (int(stat[21]) * resource.getpagesize(), int(stat[20])) if stat else None

    def started_at(self) -> float | None:
        """When it began, seconds since the epoch."""
        stat = self._stat()
        if not stat:
            return None
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / self._ticks
        return round(time.time() - age, 2)

    def descriptors_max(self) -> float:
        """How many descriptors may be open."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return float("inf") if soft == resource.RLIM_INFINITY else soft

    def descriptors(self) -> Iterator[int | None]:
        """How many descriptors are open: last of all, after a None for each break in which others may have their turn."""
        try:
            told = self.told_descriptors()
            if told:
                yield told
                return
            with os.scandir(self._proc / "fd") as entries:
                count = 0
                for count, _ in enumerate(entries, 1):
                    if count % ENTRIES_A_TURN == 0:
                        yield None
            yield count
        except OSError:
            return

    def told_descriptors(self) -> int:
        """How many the kernel says there are; 0: it does not say.

        Raises:
            OSError: There is no such place.
        """
        return (self._proc / "fd").stat().st_size

    def _stat(self) -> list[bytes]:
        """The fields of proc_pid_stat(5) from the third on; empty: there are none."""
        try:
            return (self._proc / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return []
