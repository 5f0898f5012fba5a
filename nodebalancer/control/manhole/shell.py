"""The Python shell: statements, and the two ways to type them, at a terminal or through a pipe."""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from codeop import CommandCompiler
from collections.abc import Callable, Coroutine, Mapping
from contextlib import contextmanager, suppress
from types import CodeType
from typing import Any, Final

from twisted.conch import recvline
from twisted.conch.insults import insults
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from nodebalancer.control.manhole.verbs import Verbs, sentences
from nodebalancer.control.manhole.watchdog import FILENAME, LATE, SECONDS, Interrupted, Watchdog, watched
from nodebalancer.errors import NodeBalancerError

BANNER: Final = "help() lists the verbs; anything else is Python, in the process that carries the traffic.\n"

LINE_BYTES_MAX: Final = 65_536

PROMPTS: Final = (b">>> ", b"... ")

CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""What a terminal would obey, as it is shown instead."""

CTRL_C, CTRL_D, CTRL_L = b"\x03", b"\x04", b"\x0c"

Write = Callable[[str], None]


class Shell:
    """Runs statements in a namespace of its own.

    Args:
        verbs: Are in the namespace, and answer at once where they can.
        objects: What else is.
        write: Takes output; what it raises ends the statement.
        leave: Called when a statement wants to leave.
        watchdog: Ends statements that take too long.
    """

    def __init__(
        self,
        verbs: Verbs,
        objects: Mapping[str, Any],
        write: Write,
        leave: Callable[[], None],
        watchdog: Watchdog,
    ) -> None:
        self.namespace: dict[str, Any] = {"__name__": "__manhole__", **objects, "exit": _exit, "quit": _exit}
        self.namespace[LATE] = watchdog.late
        self.namespace |= {name: at_once(verb) for name, verb in verbs.all().items()}
        self._write = write
        self._leave = leave
        self._watchdog = watchdog
        self._compile = CommandCompiler()
        self._lines: list[str] = []

    def push(self, line: str) -> bool:
        """The next line; whether the statement goes on after it. A whole one is run."""
        self._lines.append(line)
        statement = "\n".join(self._lines)
        try:
            code = self._compile(statement, FILENAME, "single")
            if code is not None:
                code = watched(statement, self._compile.compiler)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as e:
            self._tell("".join(traceback.format_exception_only(e)))
        else:
            if code is None:
                return True
            self._run(code)
        self._lines = []
        return False

    def forget(self) -> None:
        """The lines of a statement that is not whole."""
        self._lines = []

    def write(self, text: str) -> int:
        """Print; what would steer a terminal is shown instead. Part of what ``sys.stdout`` is for a statement."""
        if text:
            self._write(text.translate(CONTROLS))
        return len(text)

    def flush(self) -> None:
        """Part of the same."""

    def _run(self, code: CodeType) -> None:
        try:
            with self._in_place(), self._watchdog.watching():
                exec(code, self.namespace)  # noqa: S102 which is what a shell is for
        except Interrupted:
            self._tell(f"interrupted: a statement may take {SECONDS:g} s, traffic waits for it\n")
        except SystemExit:
            self._leave()
        except NodeBalancerError as e:
            self._tell(f"{sentences(e)}\n")
        except BaseException as e:  # whatever it is, it was only a statement
            below = e.__traceback__.tb_next if e.__traceback__ is not None else None
            self._tell("".join(traceback.format_exception(type(e), e, below)))

    @contextmanager
    def _in_place(self) -> Any:
        """Be standard output, and show what expressions amount to."""
        before = sys.stdout, sys.displayhook
        sys.stdout, sys.displayhook = self, self._display
        try:
            yield
        finally:
            sys.stdout, sys.displayhook = before

    def _display(self, value: object) -> None:
        if value is None:
            return
        self.namespace["_"] = value
        if isinstance(value, Deferred) and not value.called:
            self.write("this takes some time; the answer will be printed\n")
            value.addBoth(self._display_late)
        else:
            self.write(f"{value!r}\n")

    def _tell(self, text: str) -> None:
        """Print what no statement waits for; there may be nobody any more."""
        with suppress(OSError):
            self.write(text)

    def _display_late(self, result: object) -> None:
        if not isinstance(result, Failure):
            self._tell(f"{result!r}\n")
        elif isinstance(result.value, NodeBalancerError):
            self._tell(f"{sentences(result.value)}\n")
        elif not result.check(CancelledError):
            self._tell(result.getTraceback())


def at_once(verb: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """``verb`` as a function that answers with its result, or with a Deferred when there is none yet."""

    @functools.wraps(verb)
    def call(*arguments: Any, **options: Any) -> Any:
        deferred = Deferred.fromCoroutine(verb(*arguments, **options))
        if not deferred.called:
            return deferred
        results: list[Any] = []
        deferred.addBoth(results.append)
        [result] = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    return call


def usage(name: str, verb: Callable[..., Any]) -> str:
    """How a verb is called in the shell: ``drain(node, wait=0)``."""
    parameters = inspect.signature(verb).parameters.values()
    return f"{name}({', '.join(p.name if p.default is p.empty else f'{p.name}={p.default!r}' for p in parameters)})"


def _exit() -> None:
    """Leave the shell; Python's own function would close the standard input of the process."""
    raise SystemExit


class Pipe:
    """Statements come through a pipe: no prompt, no echo.

    Args:
        push: ``Shell.push``, with the audit before it.
        write: Takes output.
    """

    def __init__(self, push: Callable[[bytes], bool], write: Callable[[bytes], None]) -> None:
        self._push = push
        self._write = write
        self._line = b""

    def dataReceived(self, data: bytes) -> None:
        """More of a line, or its end.

        Raises:
            ValueError: It is too long.
        """
        self._line += data
        if len(self._line) > LINE_BYTES_MAX:
            raise ValueError("a line is too long")
        if self._line.endswith((b"\n", b"\r")):
            line, self._line = self._line.rstrip(b"\r\n"), b""
            self._push(line)

    def finished(self) -> None:
        """No more comes: what is there is whole."""
        if self._line:
            self.dataReceived(b"\n")
        self._push(b"")

    def show(self, text: str) -> None:
        """Print."""
        self._write(text.encode(errors="backslashreplace"))


class Terminal(recvline.HistoricRecvLine):
    """Statements are typed at a terminal: prompt, editing, history.

    Args:
        push: ``Shell.push``, with the audit before it.
        forget: ``Shell.forget``.
        leave: Called when whoever types wants to leave.
    """

    ps = PROMPTS

    def __init__(self, push: Callable[[bytes], bool], forget: Callable[[], None], leave: Callable[[], None]) -> None:
        self._push = push
        self._forget = forget
        self._leave = leave
        self._running = False

    def show(self, text: str) -> None:
        """Print, in the midst of a statement or between two: what is typed moves below."""
        data = text.encode(errors="backslashreplace")
        if self._running:
            self.terminal.write(data)
        else:
            self.terminal.write(b"\r")
            self.terminal.eraseLine()
            self.terminal.write(data)
            self.drawInputLine()
            self.lineBufferIndex = len(self.lineBuffer)

    def restore(self) -> None:
        """Leave the terminal as it was."""
        self.terminal.resetModes([insults.modes.IRM])

    def resized(self, width: int, height: int) -> None:
        """The terminal has another size; what was on it stays."""
        self.width, self.height = width, height

    def connectionMade(self) -> None:
        super().connectionMade()
        self.keyHandlers |= {
            CTRL_C: self.handle_INT,
            CTRL_D: self.handle_EOF,
            CTRL_L: self.handle_FF,
            b"\x01": self.handle_HOME,
            b"\x05": self.handle_END,
            b"\x7f": self.handle_BACKSPACE,
        }

    def initializeScreen(self) -> None:
        """What was on it stays."""
        self.terminal.write(BANNER.encode())
        self.terminal.write(self.ps[self.pn])
        self.setInsertMode()

    def keystrokeReceived(self, keyID: Any, modifier: Any) -> None:
        """Keys that mean nothing are passed over, and what would make a line too long."""
        handler = self.keyHandlers.get(keyID)
        if handler is not None:
            handler()
        elif keyID in self._printableChars and len(self.lineBuffer) < LINE_BYTES_MAX:
            self.characterReceived(keyID, False)

    def lineReceived(self, line: bytes) -> None:
        self._running = True
        try:
            self.pn = int(self._push(line))
        finally:
            self._running = False
        self.terminal.write(self.ps[self.pn])

    def handle_INT(self) -> None:
        """Begin anew."""
        self.pn = 0
        self.lineBuffer = []
        self.lineBufferIndex = 0
        self._forget()
        self.terminal.nextLine()
        self.terminal.write(self.ps[0])

    def handle_EOF(self) -> None:
        if not self.lineBuffer:
            self.terminal.nextLine()
            self._leave()

    def handle_FF(self) -> None:
        self.terminal.eraseDisplay()
        self.terminal.cursorHome()
        self.drawInputLine()


def terminal_over(write: Callable[[bytes], None], terminal: Terminal) -> insults.ServerProtocol:
    """What reads keys for ``terminal`` and steers the one at the other end, through ``write``."""
    server = insults.ServerProtocol(lambda: terminal)
    server.makeConnection(_Wire(write))
    return server


class _Wire:
    """All that insults wants of a transport."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write

    def loseConnection(self) -> None:
        """Part of it; a shell is left by ``leave``."""
