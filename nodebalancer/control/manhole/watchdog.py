"""A statement that takes too long is interrupted, in its own code and nowhere else.

The shell runs in the reactor's thread, so while a statement runs nothing else does. A timer of the kernel (``ITIMER_REAL``,
``SIGALRM``) goes off after ``SECONDS``, and Python calls our handler between two instructions of whatever runs then. When
that is the statement, or a library that it called, the handler raises there. When it is our own code or Twisted's,
called by the statement, that has to come to its end first, or it would be left half done; so the handler has the
statement traced, and what raises then is its next line. The timer goes on until the statement has ended: one that
catches the exception gets another.

What Python cannot interrupt is one call of a C function that does not come back, such as a regular expression that takes for
ever, or a very large power. Nor is it a statement any more once it has planted a callback in the reactor.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

SECONDS: Final = 1.0
"""How long a statement may take."""

AGAIN_SECONDS: Final = 0.02
"""Between two tries to interrupt it."""

FILENAME: Final = "<manhole>"
"""What statements are compiled with; by it their frames are known."""

UNINTERRUPTED: Final = ("nodebalancer", "twisted")
"""Packages whose functions come to their end."""


class Interrupted(BaseException):
    """A statement took too long.

    Raised in the statement by ``Watchdog``; caught by the shell, which says so. No ``Exception``, so that a loop around
    ``try`` and ``except Exception`` ends too.
    """


class Watchdog:
    """Watches over one statement at a time.

    Args:
        seconds: How long one may take.
        set_timer: ``signal.setitimer``.
    """

    def __init__(self, seconds: float = SECONDS, set_timer: Callable[..., object] = signal.setitimer) -> None:
        self._seconds = seconds
        self._set_timer = set_timer

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Interrupt the statement that runs in here when its time is over; only in the main thread.

        Whoever else uses ``SIGALRM`` has it back afterwards.
        """
        handler = signal.signal(signal.SIGALRM, self._bite)
        traced_by = sys.gettrace()
        self._set_timer(signal.ITIMER_REAL, self._seconds, AGAIN_SECONDS)
        try:
            yield
        finally:
            self._set_timer(signal.ITIMER_REAL, 0)
            if sys.gettrace() is not traced_by:
                sys.settrace(traced_by)
            signal.signal(signal.SIGALRM, handler)

    def _bite(self, number: int, frame: FrameType | None) -> None:
        """The time is over while ``frame`` runs.

        Raises:
            Interrupted: It may be interrupted there.
        """
        ours = False
        while frame is not None and frame.f_code.co_filename != FILENAME:
            ours = ours or package(frame) in UNINTERRUPTED
            frame = frame.f_back
        if frame is None:
            return  # it has not begun, or has ended
        if not ours:
            raise Interrupted
        sys.settrace(trace_nothing)
        while frame is not None:
            if frame.f_code.co_filename == FILENAME:
                frame.f_trace = interrupt
            frame = frame.f_back


def package(frame: FrameType) -> str:
    """The package whose code runs in a frame."""
    name: Any = frame.f_globals.get("__name__")
    return str(name).partition(".")[0]


def trace_nothing(frame: FrameType, event: str, argument: Any) -> Any:
    """Functions that are called from now on are not traced, unless the statement has defined them."""
    return interrupt if frame.f_code.co_filename == FILENAME else None


def interrupt(frame: FrameType, event: str, argument: Any) -> Any:
    """A line of the statement is about to run.

    Raises:
        Interrupted: Always.
    """
    raise Interrupted
