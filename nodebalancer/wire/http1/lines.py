"""Cutting a head out of a buffer: from bytes to a start line and field lines of one form.

Here come the heads that ``usual`` does not know. Nearly all of these too are written as RFC 9112 recommends: one
blank after each colon, none at a line's end, no tabs, capitals for the method, a path for the target. For those *one*
compiled pattern is the whole check: it matches the head from its first byte to its empty line, with possessive repeats
only, so that it never goes back over what it has read, and it matches nothing that has a control byte, a bare CR or LF, a
fold, or a name that is not a token. What it does not match goes the long way, which finds the rule that is broken, or
brings the lines into that form.

The limits, for a request (RFC 9112 3, RFC 9110 5.4) and a response:

    request line        8 KiB without its line end      414
    field block        16 KiB with its line ends        431
    fields            100                               431   (counted by the caller)
    response head      64 KiB with its empty line       502

All work is linear in the buffer. The callers ask again with a longer buffer after each piece, and say how much of it was
*seen* before: only what is new is searched for line ends, and where there is none, nothing can have changed but the
lengths. So of a head that comes byte by byte a look costs about a microsecond, and some tens only for each of its lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from nodebalancer.errors import MessageError

REQUEST_LINE_BYTES_MAX = 8192
FIELDS_BYTES_MAX = 16384
FIELDS_MAX = 100
RESPONSE_HEAD_BYTES_MAX = 65536

RequestLines = tuple[bytes, bytes, bool, list[bytes], int]
"""Method, target, whether it is HTTP/1.0, field lines as ``Name: value``, bytes of the head."""
ResponseLines = tuple[bool, bytes, bytes, list[bytes], int]
"""Whether it is HTTP/1.0, three digits of status, reason, field lines as ``Name: value``, bytes of the head."""
Refusal = Callable[[str], MessageError]

END = b"\r\n\r\n"
_CRLF = b"\r\n"
_BLANKS = b" \t"

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
TARGET = rb"[!\"$-~]"  # visible, 7 bits, and no "#": fragments stay with the client
TEXT = rb"[ -~\x80-\xff]"
VALUE = rb"[!-~\x80-\xff]" + TEXT + rb"*+(?<! )"
_FIELDS = rb"((?:" + TCHAR + rb"++: " + VALUE + rb"\r\n)*)\r\n"
_TIDY_FIELDS = re.compile(_FIELDS)

_TIDY_REQUEST = re.compile(rb"([A-Z]++) (/" + TARGET + rb"*+) HTTP/1\.([01])\r\n" + _FIELDS)
_TIDY_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9]) (" + TEXT + rb"*+)\r\n" + _FIELDS)

TOKEN = re.compile(TCHAR + rb"++")
_OPENING = re.compile(TCHAR + rb"{1,31}+(?:\Z|[ ]|" + TCHAR + rb")")
_PATH = re.compile(TARGET + rb"++")
_VERSION = re.compile(rb"HTTP/[0-9]\.[0-9]")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t -~\x80-\xff]*+))?")
_STATUS_LINE_BEGINS = b"HTTP/1."
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_FOLD = re.compile(rb"\r\n[ \t]++")
_FOREIGN = re.compile(rb"""[^ -~]|["\\]""")
_ESCAPES = {byte: f"\\x{byte:02x}" for byte in range(256) if _FOREIGN.match(bytes((byte,)))}


def bad_request(rule: str, status: int = 400) -> MessageError:
    """What to raise for a request head that breaks ``rule``."""
    return MessageError(status, f"request head: {rule}")


def bad_response(rule: str) -> MessageError:
    """What to raise for a response head that breaks ``rule``."""
    return MessageError(502, f"response head: {rule}")


def request_lines(data: bytes) -> RequestLines | None:
    """The head at the beginning of ``data``, cut into lines; None while it is incomplete.

    Raises:
        MessageError: 400, 414, 431 or 505; also for an incomplete head that cannot become a good one.
    """
    if data[-4:] != END and data.find(END) < 0:  # "in" is slower than find
        check_unfinished_request(data, 0)
        return None
    match = _TIDY_REQUEST.match(data)
    if match is None or match.end() > REQUEST_LINE_BYTES_MAX:  # only a head longer than the smaller limit can pass one
        return _untidy_request(data)
    method, target, minor, block = match.groups()
    lines = block.split(_CRLF)
    lines.pop()
    return method, target, minor == b"0", lines, match.end()


def tidy_lines(data: bytes, start: int) -> tuple[list[bytes], int] | None:
    """The fields from ``start`` to the empty line and where that ends, if they are tidy."""
    match = _TIDY_FIELDS.match(data, start)
    if match is None:
        return None
    lines = match[1].split(_CRLF)
    lines.pop()
    return lines, match.end()


def response_lines(data: bytes) -> ResponseLines | None:
    """The head at the beginning of ``data``, cut into lines; None while it is incomplete.

    Raises:
        MessageError: 502; also for an incomplete head that cannot become a good one.
    """
    if data.find(END) < 0:
        check_unfinished_response(data, 0)
        return None
    match = _TIDY_RESPONSE.match(data)
    if match is None or match.end() > RESPONSE_HEAD_BYTES_MAX:
        return _untidy_response(data)
    minor, status, reason, block = match.groups()
    lines = block.split(_CRLF)
    lines.pop()
    return minor == b"0", status, reason, lines, match.end()


def is_unfinished(data: bytes, seen: int) -> bool:
    """Whether ``data`` has no whole head, as its first ``seen`` bytes had none."""
    return data.find(END, seen - 3 if seen > 3 else 0) < 0


def check_unfinished_request(data: bytes, seen: int) -> None:
    """Whether ``data``, which has no empty line yet, may become a request; its first ``seen`` bytes may.

    Raises:
        MessageError: 400, 414 or 431.
    """
    start = _start(data)
    if len(data) == start or data == b"\r":
        return
    _check_opening(data, start)
    grown = data.find(b"\n", seen) >= 0
    lines = _count_lines(data[start:], bad_request) if grown else 0
    _check_request_limits(data, start, len(data) - data.endswith(b"\r"))
    if lines > FIELDS_MAX + 1:
        raise bad_request(f"over {FIELDS_MAX} fields, RFC 9110 5.4", 431)


def check_unfinished_response(data: bytes, seen: int) -> None:
    """The same of a response.

    Raises:
        MessageError: 502.
    """
    if data[:7] != _STATUS_LINE_BEGINS[: len(data)]:
        raise bad_response("no HTTP/1 status line, RFC 9112 4")
    _count_lines(data[seen - data.endswith(b"\r", 0, seen) :], bad_response)
    _check_response_limit(len(data))


def _start(data: bytes) -> int:
    """Where the request line begins: one empty line before it is skipped (RFC 9112 2.2)."""
    return 2 if data[:2] == _CRLF else 0


def _check_opening(data: bytes, start: int) -> None:
    """Refuse what is no method by its first bytes: TLS, one word, empty lines."""
    if not _OPENING.match(data, start):
        raise bad_request("does not begin with a method, RFC 9112 3")


def _count_lines(data: bytes, bad: Refusal) -> int:
    """The line ends in ``data``, none of which may be a bare LF.

    Of an unfinished head too: who ends lines so will never send the empty line that is waited for.
    """
    lines = data.count(_CRLF)
    if data.count(b"\n") != lines:
        raise bad("bare LF, RFC 9112 2.2")
    return lines


def _check_request_limits(data: bytes, start: int, end: int) -> None:
    """Check the lengths of a head that begins at ``start`` and whose fields go, as far as they are there, to ``end``."""
    line_end = data.find(_CRLF, start, end)
    if line_end < 0:
        line_end = end
    if line_end - start > REQUEST_LINE_BYTES_MAX:
        raise bad_request(f"request line over {REQUEST_LINE_BYTES_MAX} bytes, RFC 9112 3", 414)
    if end - line_end - len(_CRLF) > FIELDS_BYTES_MAX:
        raise bad_request(f"fields over {FIELDS_BYTES_MAX} bytes, RFC 9110 5.4", 431)


def _check_response_limit(size: int) -> None:
    if size > RESPONSE_HEAD_BYTES_MAX:
        raise bad_response(f"over {RESPONSE_HEAD_BYTES_MAX} bytes, RFC 9110 5.4")


def _untidy_request(data: bytes) -> RequestLines:
    start = _start(data)
    _check_opening(data, start)
    end = data.find(END, start) + len(_CRLF)
    _check_request_limits(data, start, end)
    head = data[start:end]
    _check_bytes(head, bad_request)
    line, _, block = head.partition(_CRLF)
    method, target, http10 = _request_line(line)
    return method, target, http10, _tidied(block, bad_request), end + len(_CRLF)


def _untidy_response(data: bytes) -> ResponseLines:
    end = data.find(END) + len(_CRLF)
    _check_response_limit(end + len(_CRLF))
    head = data[:end]
    _check_bytes(head, bad_response)
    line, _, block = head.partition(_CRLF)
    match = _STATUS_LINE.fullmatch(line)
    if not match:
        raise bad_response("status line, RFC 9112 4")
    minor, status, reason = match.groups(b"")
    block = b"\r\n".join(_without_blank_before_colon(line) for line in _unfolded(block).split(_CRLF))
    return minor == b"0", status, reason, _tidied(block, bad_response), end + len(_CRLF)


def _check_bytes(head: bytes, bad: Refusal) -> None:
    """Refuse control bytes in a whole head, other than tabs and those that end its lines."""
    if head.count(b"\r") != _count_lines(head, bad):
        raise bad("bare CR, RFC 9112 2.2")
    if _CONTROL.search(head):
        raise bad("control byte, RFC 9110 5.5")


def _request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    """Method, target and whether it is HTTP/1.0; only single blanks may separate them (RFC 9112 3)."""
    parts = line.split(b" ")
    if len(parts) != 3:
        raise bad_request("request line is not three words, RFC 9112 3")
    method, target, version = parts
    if not TOKEN.fullmatch(method):
        raise bad_request("method, RFC 9110 9.1")
    if not _PATH.fullmatch(target):
        raise bad_request("target, RFC 9112 3.2")
    if not _VERSION.fullmatch(version):
        raise bad_request("HTTP version, RFC 9112 2.3")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise bad_request("HTTP version is not 1.0 or 1.1, RFC 9110 15.6.6", 505)
    return method, target, version == b"HTTP/1.0"


def _tidied(block: bytes, bad: Refusal) -> list[bytes]:
    """The lines of ``block``, which has no foreign bytes, as ``Name: value`` with nothing around the value."""
    lines = block.split(_CRLF)
    lines.pop()
    return [_tidied_line(line, bad) for line in lines]


def _tidied_line(line: bytes, bad: Refusal) -> bytes:
    name, colon, value = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        raise bad("folded line, RFC 9112 5.2")
    if not colon:
        raise bad("line without a colon, RFC 9112 5")
    if name[-1:] in (b" ", b"\t"):
        raise bad("blank before the colon, RFC 9112 5.1")
    if not TOKEN.fullmatch(name):
        raise bad("field name, RFC 9110 5.1")
    return name + b": " + value.strip(_BLANKS)


def _unfolded(block: bytes) -> bytes:
    """``block`` with each fold as one blank; a fold before the first field would belong to the status line."""
    if block[:1] in (b" ", b"\t"):
        raise bad_response("blank before the first field, RFC 9112 2.2")
    return _FOLD.sub(b" ", block)


def _without_blank_before_colon(line: bytes) -> bytes:
    """``line`` as a proxy has to mend it in a response (RFC 9112 5.1)."""
    name, colon, value = line.partition(b":")
    return name.rstrip(_BLANKS) + colon + value if colon else line


def escaped(data: bytes) -> str:
    r"""Foreign bytes as they stand in logs: those outside 0x20 to 0x7e, and ``"`` and ``\``, as ``\xNN``."""
    text = data.decode("latin-1")
    # Looking first is twice as fast for what has none, and a table ten times as fast as a pattern for what is nothing else.
    return text if _FOREIGN.search(data) is None else text.translate(_ESCAPES)
