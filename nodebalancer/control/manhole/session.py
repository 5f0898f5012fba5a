"""A session: one shell or one command, in a channel of an SSH connection."""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from twisted.conch.error import ConchError
from twisted.conch.ssh import channel, common, connection
from twisted.conch.ssh.session import parseRequest_pty_req, parseRequest_window_change
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from nodebalancer.control.manhole.shell import Pipe, Shell, Terminal, terminal_over, usage
from nodebalancer.control.manhole.verbs import Verbs, form, run_command
from nodebalancer.wire.http1.lines import escaped

if TYPE_CHECKING:
    from nodebalancer.control.manhole.ssh import User

log = Logger()

INPUT_BYTES_MAX: Final = 1 << 20
"""What may wait for its turn; between two lines traffic has its own."""

OUTPUT_BYTES_MAX: Final = 4 << 20
"""What a client may leave unread."""


class QuietLogger(Logger):
    """For conch, which tells the log of all that clients do, some of it as an error. We have our own lines; of conch's only
    faults are kept.
    """

    def emit(self, level: Any, format: str | None = None, **values: Any) -> None:  # noqa: A002 Twisted's name
        failure = values.get("log_failure")
        if failure is not None and not failure.check(ConchError):
            super().emit(level, format, **values)


class Session(channel.SSHChannel):
    """One shell, or one command.

    Attributes:
        user: Whose it is.
        busy: Whether a command runs, which is not idle however long it takes.
    """

    name = b"session"
    conn: Any  # ssh.Channels
    _log = QuietLogger()

    def __init__(self, user: User, window: int, packet: int) -> None:
        super().__init__(remoteWindow=window, remoteMaxPacket=packet)
        self.user = user
        self._started = False
        self._terminal = False
        self._front: Pipe | Terminal | None = None
        self._reader: Any = None
        self._command: Deferred[Any] | None = None
        # Pieces that end with a line, each of which has a turn of the reactor; None is the end.
        self._input: deque[bytes | None] = deque()
        self._input_bytes = 0
        self._feeding = False
        user.door.sessions.add(self)

    @property
    def busy(self) -> bool:
        return self._command is not None

    # What the client asks for.

    def request_pty_req(self, data: bytes) -> bool:
        parseRequest_pty_req(data)
        self._terminal = True
        return True

    def request_window_change(self, data: bytes) -> bool:
        rows, columns, *_ = parseRequest_window_change(data)
        if isinstance(self._front, Terminal):
            self._front.resized(columns, rows)
        return True

    def request_shell(self, data: bytes) -> bool:
        return self._start(self._open_shell)

    def request_exec(self, data: bytes) -> bool:
        return self._start(self._run, common.getNS(data)[0])

    def requestReceived(self, requestType: bytes, data: bytes) -> Any:
        """What we know; no subsystem, no environment, no agent, no X11, no signal."""
        if requestType in (b"pty-req", b"window-change", b"shell", b"exec"):
            return super().requestReceived(requestType, data)
        if requestType != b"env":  # which clients send unasked
            self.user.note(f"is refused {escaped(requestType)}")
        return False

    def _start(self, run: Any, *arguments: Any) -> bool:
        """Once the client has been told that it may."""
        if self._started:
            return False
        self._started = True
        self.user.door.clock.callLater(0, run, *arguments)
        return True

    # A command.

    def _run(self, command: bytes) -> None:
        user = self.user
        user.note(f'runs "{escaped(command)}"')
        verbs = Verbs(user.door.subject, user.who, form)
        self._command = Deferred.fromCoroutine(run_command(verbs, command.decode(errors="backslashreplace")))
        self._command.addCallbacks(self._answered, lambda failure: failure.trap(CancelledError))

    def _answered(self, answer: tuple[int, str, str]) -> None:
        status, said, complaint = answer
        self._command = None
        self.user.note(f"is answered with exit status {status}")
        if said:
            self.write(f"{said}\n".encode(errors="backslashreplace"))
        if complaint:
            text = f"{complaint}\n".encode(errors="backslashreplace")
            self.writeExtended(connection.EXTENDED_DATA_STDERR, text)
        self.end(status)

    # A shell.

    def _open_shell(self) -> None:
        user, door = self.user, self.user.door
        user.note("opens a shell")
        shell = Shell(Verbs(door.subject, user.who, usage), door.subject.objects, self._show, self.end, door.watchdog)

        def push(line: bytes) -> bool:
            user.note(f'types "{escaped(line)}"')
            return shell.push(line.decode(errors="backslashreplace"))

        if self._terminal:
            self._front = Terminal(push, shell.forget, self.end)
            self._reader = terminal_over(self.write, self._front)
        else:
            self._front = self._reader = Pipe(push, self.write)
        self._take([])

    def _show(self, text: str) -> None:
        assert self._front is not None
        if self.localClosed:
            raise BrokenPipeError("the session has ended")
        self._front.show(text)

    def _feed(self) -> None:
        """Give the shell its next line; the one after that is for another turn of the reactor."""
        piece = self._input.popleft() if self._input else b""
        try:
            if piece is None:
                self._finish()
            elif self._reader is not None and not self.closing:
                self._input_bytes -= len(piece)
                self._reader.dataReceived(piece)
        except Exception:
            log.failure("a manhole shell failed")
            self.end(1)
        self._feeding = bool(self._input)
        if self._feeding:
            self.user.door.clock.callLater(0, self._feed)

    def _finish(self) -> None:
        """The client sends no more; a command goes on all the same."""
        if isinstance(self._front, Pipe):
            self._front.finished()
        if self._front is not None:
            self.end()

    def dataReceived(self, data: bytes) -> None:
        self.conn.transport.touch()
        self._input_bytes += len(data)
        if self._input_bytes > INPUT_BYTES_MAX:
            self.conn.transport.part("it sends faster than its lines can be run")
            return
        self._take(data.replace(b"\r", b"\n").splitlines(keepends=True))

    def eofReceived(self) -> None:
        self._take([None])

    def _take(self, pieces: list[Any]) -> None:
        self._input.extend(pieces)
        if not self._feeding and self._front is not None:
            self._feeding = True
            self.user.door.clock.callLater(0, self._feed)

    # Its end.

    def end(self, status: int = 0) -> None:
        """Say how it ended, and close."""
        if not self.closing:
            if isinstance(self._front, Terminal):
                self._front.restore()
            self.conn.sendRequest(self, b"exit-status", struct.pack(">L", status))
            self.conn.sendEOF(self)
            self.loseConnection()

    def closeReceived(self) -> None:
        """The client reads no more."""
        self.buf, self.extBuf = b"", []
        self.loseConnection()

    def closed(self) -> None:
        self.user.door.sessions.discard(self)
        self._input.clear()
        if self._command is not None:
            self._command.cancel()

    def openFailed(self, reason: Any) -> None:
        """We open none."""

    def write(self, data: bytes) -> None:
        if len(self.buf) + len(data) > OUTPUT_BYTES_MAX + max(self.remoteWindowLeft, 0):
            self.conn.transport.does_not_read()
            self.localClosed = True
            return
        super().write(data)
