"""The terminal we were launched from.

twistd reads our options, forks, gives the daemon /dev/null as standard error and only then lets it bind ports. What goes wrong
there would reach the operator as 98 bytes of a ``repr``, so a duplicate of standard error is kept until we run.

Who sees the log where standard error goes (a terminal, the journal) reads each sentence once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from twisted.logger import Logger

from nodebalancer.process.servicelog.outlets import to_standard_output

log = Logger()


class Launch:
    """What we owe to whoever launched us: plain sentences, and nothing left behind by a start that failed.

    Args:
        twistd: twistd's own options; ``pidfile`` and ``statusPipe`` are looked up when they are needed, since twistd sets
            them late.
        terminal: Descriptor of the launcher's standard error; a duplicate is kept until ``started`` or ``failed``.
    """

    def __init__(self, twistd: Mapping[str, Any], terminal: int = 2) -> None:
        self._twistd = twistd
        self._terminal: int | None = None
        self._is_output_there = _is_output(terminal)  # asked now: twistd puts something of its own in its place
        with contextlib.suppress(OSError):  # launched with standard error closed
            self._terminal = os.dup(terminal)

    def tell(self, sentence: str) -> None:
        """Write a line to the terminal; without effect when it is gone or we have ``started``."""
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                os.write(self._terminal, f"{sentence}\n".encode(errors="backslashreplace"))

    def warn(self, sentence: str) -> None:
        """Tell something that does not keep us from starting, on the terminal and in the log."""
        if not self._is_log_there():
            self.tell(f"warning: {sentence}")
        log.warn("{sentence}", sentence=sentence)

    def started(self) -> None:
        """All went well; the terminal is given back."""
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None

    def failed(self, sentences: Iterable[object]) -> NoReturn:
        """We cannot start: tell why, on the terminal and in the log, and exit with status 1.

        Raises:
            SystemExit: Always; nobody catches it. twistd tidies up after an ``Exception`` only, and would print its traceback; hence
                the pidfile and twistd's launching process are seen to here.
        """
        for sentence in sentences:
            if not self._is_log_there():
                self.tell(str(sentence))
            log.error("{sentence}", sentence=str(sentence))
        self.started()
        self._remove_pidfile()
        self._answer_launcher()
        raise SystemExit(1)

    def _is_log_there(self) -> bool:
        """Whether what the log gets can be read where standard error goes."""
        return self._is_output_there and to_standard_output(self._twistd)

    def _remove_pidfile(self) -> None:
        pidfile = self._twistd.get("pidfile")
        if pidfile:
            with contextlib.suppress(OSError):
                os.unlink(pidfile)

    def _answer_launcher(self) -> None:
        """The launching twistd waits for a status; it prints these words in a sentence of its own and exits 1."""
        pipe = self._twistd.get("statusPipe")
        if pipe is not None:
            with contextlib.suppress(OSError):
                os.write(pipe, b"1 not started, the reasons are above")


def _is_output(terminal: int) -> bool:
    """Whether standard output leads where ``terminal`` does."""
    if sys.stdout is None:
        return False
    try:
        return os.path.sameopenfile(terminal, sys.stdout.fileno())
    except (OSError, ValueError):  # closed, or no descriptor of the system's
        return False


def refuse(sentences: Iterable[object]) -> NoReturn:
    """End the command before anything was begun: the sentences on standard error, status 1, no usage text.

    Raises:
        SystemExit: Always; nobody catches it.
    """
    sys.exit("\n".join(map(str, sentences)))
