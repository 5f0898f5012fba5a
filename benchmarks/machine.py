"""What the kernel tells about this machine and its processes."""

from __future__ import annotations

import os
import random
import socket
import time
from pathlib import Path

import attrs

PORTS = range(20_000, 32_000)
"""Below the kernel's range for outgoing connections (from 32,768), so that no client sits on a contestant's port."""

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")

_given: set[int] = set()


@attrs.frozen
class Cores:
    """Which core does what; with two cores, clients and nodes share the second one."""

    balancer: int
    clients: int
    nodes: int


@attrs.frozen
class CPU:
    """CPU time of a program so far.

    Attributes:
        nanoseconds: User and system together, from the scheduler's clock, exact.
        user_ticks, system_ticks: The same from the kernel's accounting in steps of 10 ms: good for the share of each.
    """

    nanoseconds: int
    user_ticks: int
    system_ticks: int

    def __sub__(self, other: CPU) -> CPU:
        return CPU(
            self.nanoseconds - other.nanoseconds,
            self.user_ticks - other.user_ticks,
            self.system_ticks - other.system_ticks,
        )


def cores() -> Cores:
    """The first core for the balancer, the second for clients, the third (or else the second) for nodes.

    Raises:
        SystemExit: There is one core only; client and balancer would take turns and no figure would mean anything.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise SystemExit("benchmarks need two cores: one for the balancer, one for clients and nodes")
    return Cores(usable[0], usable[1], usable[2] if len(usable) > 2 else usable[1])


def free_port() -> int:
    """A port of the loopback that nobody listens on and that was not given before."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if port not in _given and probe.connect_ex(("127.0.0.1", port)):
                _given.add(port)
                return port


def family(pid: int) -> list[int]:
    """``pid`` and its living descendants (the workers of a master)."""
    parents = {int(entry): _stat(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()}
    found = [pid]
    for known in found:
        found += [child for child, fields in parents.items() if fields and int(fields[1]) == known]
    return found


def cpu(pids: list[int]) -> CPU:
    """CPU time of these processes together, all their threads included."""
    # The CPU clock of another process: its id is made of the complement of the pid, see clock_getcpuclockid(3).
    nanoseconds = sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids)
    stats = [_stat(pid) for pid in pids]
    return CPU(nanoseconds, sum(int(fields[11]) for fields in stats), sum(int(fields[12]) for fields in stats))


def resident(pids: list[int]) -> int:
    """Resident memory of these processes in bytes; the kernel's socket buffers are not part of it."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * os.sysconf("SC_PAGESIZE")


def processor() -> str:
    """The name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` after the program's name; empty when the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
