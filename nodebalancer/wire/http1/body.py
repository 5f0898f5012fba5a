"""Chunked bodies (RFC 9112 7.1): read to the payload alone, and written anew.

The rules: a size is 1 to 15 hex digits; extensions are checked and dropped, 4 KiB of them a body; every line, and
every chunk's data, ends with CRLF; trailers are fields, 16 KiB and 100 lines of them, and dropped. Anything else is
400. Bodies that have a length or go on until end of file need no reader.

State is bounded: never more than the beginning of one line is kept. Work is linear in the input (but for a line that
comes byte by byte: its beginning, at most 16 KiB, is copied each time), and a piece that lies within one chunk comes out
as the very object that went in.
"""

from __future__ import annotations

import re
from typing import Final

from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.lines import FIELDS_BYTES_MAX, FIELDS_MAX

EXTENSION_BYTES_MAX: Final = 4096
"""Extensions of all chunks of one body."""
LAST_CHUNK: Final = b"0\r\n\r\n"
"""The end of a chunked body, without trailers."""

_SIZE, _DATA_END, _TRAILER = range(3)
_KEPT_BYTES_MAX = (15 + EXTENSION_BYTES_MAX + 1, 1, FIELDS_BYTES_MAX - 1)
"""Longest beginning of each of these lines, without its LF, that may still become a good one."""
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb"\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*\""
_EXTENSION = rb"[ \t]*+;[ \t]*+" + _TOKEN + rb"(?:[ \t]*+=[ \t]*+(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?"
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15}+)((?:" + _EXTENSION + rb")*)\r\n")
_TRAILER_LINE = re.compile(_TOKEN + rb":[\t -~\x80-\xff]*+\r\n")


def chunk(payload: bytes) -> bytes:
    """``payload``, which is not empty, as one chunk."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


class ChunkedReader:
    """Reads one chunked body, in pieces of any size.

    Attributes:
        done: Whether the body has been read to its end, trailers included; then ``feed`` is not called any more.
        rest: What followed the end in the last piece, once done.
    """

    __slots__ = ("_expected", "_extension_bytes", "_kept", "_left", "_trailer_bytes", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._left = 0  # bytes of the chunk's data still to come; when there are none, a line is expected:
        self._expected = _SIZE
        self._kept = b""  # the beginning of that line
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self._trailers = 0

    def feed(self, data: bytes) -> bytes:
        """The payload in ``data``, the next piece of the body; may be empty.

        Raises:
            MessageError: 400; the body cannot be read on.
        """
        if self._left > len(data):
            self._left -= len(data)
            return data
        pieces = []
        position = 0
        while position < len(data) and not self.done:
            if self._left:
                pieces.append(data[position : position + self._left])
                position += len(pieces[-1])
                self._left -= len(pieces[-1])
            else:
                position = self._read_line(data, position)
        if self.done:
            self.rest = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_line(self, data: bytes, position: int) -> int:
        """Read what ``data`` has of the line expected at ``position``, and say where it ends."""
        end = data.find(b"\n", position) + 1
        if not end:
            self._keep(data[position:])
            return len(data)
        line = self._kept + data[position:end]
        self._kept = b""
        if self._expected == _SIZE:
            self._take_size(line)
        elif self._expected == _TRAILER:
            self._take_trailer(line)
        elif line == b"\r\n":
            self._expected = _SIZE
        else:
            raise _bad("chunk data without CRLF, RFC 9112 7.1")
        return end

    def _keep(self, part: bytes) -> None:
        self._kept += part
        if len(self._kept) > _KEPT_BYTES_MAX[self._expected]:
            raise _bad("line too long, RFC 9112 7.1")
        if self._expected == _DATA_END and self._kept != b"\r":
            raise _bad("chunk data without CRLF, RFC 9112 7.1")

    def _take_size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if not match:
            raise _bad("chunk size or extension, RFC 9112 7.1")
        self._extension_bytes += len(match[2])
        if self._extension_bytes > EXTENSION_BYTES_MAX:
            raise _bad(f"chunk extensions over {EXTENSION_BYTES_MAX} bytes, RFC 9112 7.1.1")
        self._left = int(match[1], 16)
        self._expected = _DATA_END if self._left else _TRAILER

    def _take_trailer(self, line: bytes) -> None:
        if line == b"\r\n":
            self.done = True
            return
        if not _TRAILER_LINE.fullmatch(line):
            raise _bad("trailer, RFC 9112 7.1.2")
        self._trailers += 1
        self._trailer_bytes += len(line)
        if self._trailers > FIELDS_MAX or self._trailer_bytes > FIELDS_BYTES_MAX:
            raise _bad(f"trailers over {FIELDS_MAX} fields or {FIELDS_BYTES_MAX} bytes, RFC 9110 6.5.1")


def _bad(rule: str) -> MessageError:
    return MessageError(400, f"chunked body: {rule}")
