"""Programs that a run starts, each pinned to a core, each ended by its pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import machine

START_SECONDS = 15.0
STOP_SECONDS = 5.0


class StartError(Exception):
    """A program did not come up; the text has the end of what it printed. Caught by ``__main__``, which goes on without it."""


class Program:
    """One program with its workers, a context manager that ends them.

    Args:
        name: For messages and the name of its log file.
        argv: What to run, in the foreground.
        core: The core it stays on.
        directory: Where it runs and its log is written.
        environment: Variables on top of ours.
    """

    def __init__(
        self, name: str, argv: list[str], core: int, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._log = directory / (name.replace("/", "-") + ".log")
        with self._log.open("wb") as log:
            # taskset becomes the program, so the pid is the program's own.
            self._process = subprocess.Popen(
                pinned(core, argv),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def wait_for(self, ports: Iterable[int]) -> None:
        """Return when it accepts connections on all of ``ports``.

        Raises:
            StartError: It ended, or ``START_SECONDS`` have passed.
        """
        until = time.monotonic() + START_SECONDS
        for port in ports:
            while not _accepts(port):
                if self._process.poll() is not None or time.monotonic() > until:
                    raise StartError(f"{self.name} did not start: {self._last_words()}")
                time.sleep(0.02)

    def cpu(self) -> machine.CPU:
        """CPU time so far, of all its processes."""
        return machine.cpu(machine.family(self._process.pid))

    def resident(self) -> int:
        """Resident bytes, of all its processes."""
        return machine.resident(machine.family(self._process.pid))

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to end; after ``STOP_SECONDS`` insist."""
        if not self.alive:
            return
        pids = machine.family(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return " / ".join(lines[-3:]) or "it printed nothing"


def pinned(core: int, argv: list[str]) -> list[str]:
    """``argv``, to be run on one core."""
    return ["taskset", "-c", str(core), *argv]


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
