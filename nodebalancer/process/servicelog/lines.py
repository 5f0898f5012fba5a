r"""The formats of the service log: events of ``twisted.logger`` as lines.

Foreign bytes are escaped by whoever logs them (``wire.http1.lines.escaped``). Whatever else gets into an event, a character
that is not printable (a newline, an escape, one that turns the direction of writing) leaves here as ``\xNN`` or ``\uNNNN``, in
both formats: nobody can end a line, begin one or talk to a terminal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from twisted.logger import LogEvent, LogLevel, formatEvent, formatTime

from nodebalancer.model import ServiceLogFormat

Lines = Callable[[LogEvent, bool], list[str]]
"""Lines of an event, without their ends; whether they have to tell the time. None for an event that says nothing."""

_NOT_OURS: Final = frozenset(
    {"time", "level", "namespace", "message", "traceback", "system", "isError", "format", "why"}
)
"""Names that a field of an event does not have in JSON: those of the object itself, and what ``twisted.python.log`` adds."""


def text(event: LogEvent, timed: bool) -> list[str]:
    """As twisted's own text, ``TIME [ORIGIN#LEVEL] MESSAGE``; only a traceback has more lines, each after a tab."""
    message = formatEvent(event)
    traceback = _traceback(event)
    if not message and not traceback:
        return []
    stamp = f"{formatTime(event.get('log_time'))} " if timed else ""
    first = f"{stamp}[{printable(_origin(event))}#{_level(event)}] {printable(message)}"
    return [first, *(f"\t{printable(line)}" for line in traceback.split("\n") if line)]


def json_text(event: LogEvent, timed: bool = True) -> list[str]:
    """One object: ``time``, ``level``, ``namespace``, ``message``, the event's own fields, and ``traceback`` if it has one."""
    message = formatEvent(event)
    traceback = _traceback(event)
    if not message and not traceback:
        return []
    said: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"]).astimezone().isoformat(timespec="milliseconds"),
        "level": _level(event),
        "namespace": printable(_origin(event)),
        "message": printable(message),
    }
    for name, value in event.items():
        if name in _NOT_OURS or name.startswith("log_") or value == message:
            continue
        if isinstance(value, str | int | float | None):
            said[name] = _simple(value)
    if traceback:
        said["traceback"] = "\n".join(map(printable, traceback.split("\n")))
    return [json.dumps(said, ensure_ascii=False)]


FORMATS: Final[Mapping[ServiceLogFormat, Lines]] = {ServiceLogFormat.TEXT: text, ServiceLogFormat.JSON: json_text}


def printable(said: str) -> str:
    """``said`` with every character that is not printable escaped."""
    return said if said.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in said)


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _simple(value: Any) -> Any:
    """What JSON has a word for."""
    if isinstance(value, str):
        return printable(value)
    return value if value is None or math.isfinite(value) else str(value)


def _level(event: LogEvent) -> str:
    level: str = event.get("log_level", LogLevel.info).name
    return level


def _origin(event: LogEvent) -> str:
    """The file whose event it is; of an old-style one the system that its sender named."""
    system = event.get("log_system", "-")
    return str(event.get("log_namespace", "-") if system in (None, "-") else system)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    try:
        return str(failure.getTraceback())
    except Exception as e:
        return f"no traceback can be made of this failure: {e!r}"
