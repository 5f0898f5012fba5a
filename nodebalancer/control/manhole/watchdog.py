"""A statement that takes too long is interrupted, in its own code and nowhere else.

The shell runs in the reactor's thread, so while a statement runs nothing else does. A timer of the kernel (``ITIMER_REAL``,
``SIGALRM``) goes off after ``SECONDS``, and Python calls our handler between two instructions of whatever runs then. When
that is the statement, or a library that it called, the handler raises there. When it is our own code or Twisted's,
called by the statement, that has to come to its end first, or it would be left half done; so the handler has the
statement traced, and what raises then is its next line. The timer goes on until the statement has ended.

One that catches the exception could go on for ever all the same: what takes its time stands in a ``try``, so that is where it is
interrupted, again and again. Therefore every loop and every function of a statement is compiled with a look at the clock as
its first line, which raises too once the time is over. There it is outside of each ``try`` that the loop or the function has
in it, so one after the other is left. ``finally`` and ``with`` have their end as ever. Code from elsewhere (imported, or given to
``exec``) has no such looks; once it has caught the exception it is traced, and interrupted at a line where it would not.

What cannot be interrupted is one call of a C function that does not come back, such as a regular expression that takes for
ever, or a very large power; and code from elsewhere with such a loop inside of another ``try``. Nor is it a statement any more
once it has planted a callback in the reactor.
"""

from __future__ import annotations

import ast
import dis
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Final

SECONDS: Final = 1.0
"""How long a statement may take."""

AGAIN_SECONDS: Final = 0.02
"""Between two tries to interrupt it."""

FILENAME: Final = "<manhole>"
"""What statements are compiled with; by it their frames are known."""

UNINTERRUPTED: Final = ("nodebalancer", "twisted")
"""Packages whose functions come to their end."""

LATE: Final = "__late__"
"""What statements know ``Watchdog.late`` by."""

LOOK: Final = f"if {LATE}: raise {LATE}[0]"
"""At the clock: costs some 10 ns. An expression would be shown by the shell."""


class Interrupted(BaseException):
    """A statement took too long.

    Raised in the statement by ``Watchdog`` and ``watched``; caught by the shell, which says so. No ``Exception``, so that a loop
    around ``try`` and ``except Exception`` ends at once.
    """


class Watchdog:
    """Watches over one statement at a time.

    Args:
        seconds: How long one may take.
        set_timer: ``signal.setitimer``.

    Attributes:
        late: What a statement is to raise, once its time is over; empty until then. For its namespace, as ``LATE``.
    """

    def __init__(self, seconds: float = SECONDS, set_timer: Callable[..., object] = signal.setitimer) -> None:
        self.late: list[type[Interrupted]] = []
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
            self.late.clear()
            if sys.gettrace() is not traced_by:
                sys.settrace(traced_by)
            signal.signal(signal.SIGALRM, handler)

    def _bite(self, number: int, frame: FrameType | None) -> None:
        """The time is over while ``frame`` runs.

        Raises:
            Interrupted: It may be interrupted there.
        """
        begun, ours = frame, False
        while frame is not None and not is_statement(frame):
            ours = ours or package(frame) in UNINTERRUPTED
            frame = frame.f_back
        if frame is None:
            return  # it has not begun, or has ended
        caught, self.late[:] = bool(self.late), [Interrupted]
        if ours:
            trace(frame, at_next_line)
            return
        if caught:
            trace(begun, where_nothing_catches)
        raise Interrupted


def watched(statement: str, compiled: Callable[..., CodeType] = compile) -> CodeType:
    """A statement with a look at the clock in each of its loops and functions, to be run while it is watched.

    Args:
        statement: As it was typed; without faults.
        compiled: ``compile``, or what remembers the ``__future__`` of earlier statements.
    """
    tree = ast.Interactive(ast.parse(statement, FILENAME).body)
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor | ast.While | ast.FunctionDef | ast.AsyncFunctionDef):
            look = ast.copy_location(ast.parse(LOOK).body[0], node.body[0])
            node.body.insert(_docstrings(node), ast.fix_missing_locations(look))
    return compiled(tree, FILENAME, "single")


def _docstrings(node: ast.AST) -> int:
    """How many lines have to stay the first: 1 in a function that has a docstring, or 0."""
    return int(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None)


def trace(frame: FrameType | None, by: Callable[[FrameType, str, Any], Any]) -> None:
    """Have ``by`` called at lines of all functions that run, as far as it wants, and of those that are called from now on.

    Python forgets it when it raises.
    """
    sys.settrace(by)
    while frame is not None:
        frame.f_trace = by(frame, "call", None)
        frame = frame.f_back


def at_next_line(frame: FrameType, event: str, argument: Any) -> Any:
    """To be traced by: a line of the statement is about to run.

    Raises:
        Interrupted: Always.
    """
    if event != "call":
        raise Interrupted
    return at_next_line if is_statement(frame) else None


def where_nothing_catches(frame: FrameType, event: str, argument: Any) -> Any:
    """To be traced by: code from elsewhere is about to run a line.

    Raises:
        Interrupted: It gets to the statement, past all that such code could catch it with, or would have to tidy up.
    """
    if is_statement(frame) or package(frame) in UNINTERRUPTED:
        return None
    below: FrameType | None = frame
    while event == "line" and below is not None and package(below) not in UNINTERRUPTED and not catches(below):
        below = below.f_back
        if below is not None and is_statement(below):
            raise Interrupted
    return where_nothing_catches


def is_statement(frame: FrameType) -> bool:
    """Whether what runs is a statement, or a function that one has defined."""
    return frame.f_code.co_filename == FILENAME


def catches(frame: FrameType) -> bool:
    """Whether an exception would be caught where ``frame`` is: it is in a ``try`` or a ``with``."""
    code: Any = dis.Bytecode(frame.f_code)  # typeshed does not know of its entries
    return any(entry.start <= frame.f_lasti < entry.end for entry in code.exception_entries)


def package(frame: FrameType) -> str:
    """The package whose code runs in a frame."""
    name: Any = frame.f_globals.get("__name__")
    return str(name).partition(".")[0]
