"""Response heads: from bytes to what a proxy has to know. The rules are in ``head``."""

from __future__ import annotations

import re

from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.fields import (
    CHUNKED,
    UNSAID,
    UNTIL_CLOSE,
    check_encoding,
    framing_of,
    length_of,
    remove_named,
    settle_upgrade,
    spellings,
)
from nodebalancer.wire.http1.lines import (
    RESPONSE_HEAD_BYTES_MAX,
    bad_response,
    check_unfinished_response,
    is_unfinished,
    response_lines,
)
from nodebalancer.wire.http1.usual import RESPONSE

_DATE = re.compile(rb"\r\ndate: ", re.IGNORECASE)


class ResponseHead:
    """The head of a response, read and found good.

    Attributes:
        status: 100 to 999.
        lines: The status line and the fields to be forwarded, each with its line end; the node's order, Content-Length
            last. Never Transfer-Encoding, which depends on the client.
        length: The body's framing: bytes, ``CHUNKED`` or ``UNTIL_CLOSE``; 0 for responses that never have a body.
        upgrade: The one protocol that Upgrade names, in lower case, or None; never in HTTP/1.0.
        size: Bytes of the head in the buffer; what follows is body.
    """

    __slots__ = ("length", "lines", "size", "status")

    upgrade: bytes | None = None

    def __init__(self, status: int, lines: bytes, length: int, size: int) -> None:
        self.status = status
        self.lines = lines
        self.length = length
        self.size = size

    @property
    def dated(self) -> bool:
        """Whether it has a Date."""
        return self.lines.find(b"\r\nDate: ") > 0 or _DATE.search(self.lines) is not None


class _Reading(ResponseHead):
    """A response head that is read line by line."""

    __slots__ = ("fields", "http10", "options", "upgrade")

    def __init__(self, status: int, lines: bytes, http10: bool, size: int) -> None:
        self.status = status
        self.lines = lines
        self.http10 = http10
        self.size = size
        self.length = UNSAID
        self.fields: list[bytes] = []
        self.upgrade = None
        self.options: set[bytes] = set()

    @staticmethod
    def bad(rule: str) -> MessageError:
        return bad_response(rule)


def parse_response(data: bytes, method: bytes, seen: int = 0) -> ResponseHead | None:
    """The response head that ``data`` begins with, or None while it is incomplete: ask again with the longer buffer.

    Args:
        data: What the node has sent.
        method: The request's: there is no body after HEAD.
        seen: The length of ``data`` when it was last found incomplete. Saves time and changes nothing else.

    Raises:
        MessageError: 502, as soon as it is certain. Nothing else is ever raised.
    """
    if seen and is_unfinished(data, seen):
        check_unfinished_response(data, seen)
        return None
    head = _usual(data) or _by_lines(data)
    if head is not None:
        _settle_framing(head, method)
    return head


def _usual(data: bytes) -> ResponseHead | None:
    """The head, if it is one of ``usual``'s."""
    match = RESPONSE.match(data)
    if match is None or match.lastindex != RESPONSE.groups or match.end() > RESPONSE_HEAD_BYTES_MAX:
        return None
    begin, status, framing, more, framing_too, rest, _ = match.groups(b"")
    if framing and framing_too:
        return None
    return ResponseHead(int(status), begin + more + rest, framing_of(framing or framing_too), match.end())


def _by_lines(data: bytes) -> ResponseHead | None:
    """The head, however it is written."""
    cut = response_lines(data)
    if cut is None:
        return None
    http10, status, reason, lines, size = cut
    # Always HTTP/1.1: the version is the sender's own, and that is us (RFC 9110 2.5).
    head = _Reading(int(status), b"HTTP/1.1 %b %b\r\n" % (status, reason), http10, size)
    keep = head.fields.append
    for line in lines:
        name, _, value = line.partition(b": ")
        read = READERS.get(name, _unlisted)
        if read is None:
            keep(line)
        else:
            read(head, line, value)
    if head.options:
        remove_named(head)
    if head.upgrade is not None:
        settle_upgrade(head)
    head.lines += b"\r\n".join((*head.fields, b""))
    return head


def _settle_framing(head: ResponseHead, method: bytes) -> None:
    """What the framing means for this status and this method (RFC 9112 6.3)."""
    if head.status < 200 or head.status == 204:
        head.length = 0
        return
    if head.length >= 0:
        head.lines += b"Content-Length: %d\r\n" % head.length
    if head.status == 304 or method == b"HEAD":
        head.length = 0
    elif head.length == UNSAID:
        head.length = UNTIL_CLOSE


def _unlisted(head: _Reading, line: bytes, value: bytes) -> None:
    """A field whose name is in no table as it is spelt."""
    if read := READERS.get(line.partition(b":")[0].lower()):
        read(head, line, value)
    else:
        head.fields.append(line)


def _content_length(head: _Reading, line: bytes, value: bytes) -> None:
    before = head.length
    head.length = length_of(head, value)
    if before not in (UNSAID, head.length):
        raise bad_response("different Content-Length, RFC 9112 6.3")


def _transfer_encoding(head: _Reading, line: bytes, value: bytes) -> None:
    check_encoding(head)
    if value.lower() != b"chunked":
        raise bad_response("Transfer-Encoding is not chunked, RFC 9112 6.1")
    head.length = CHUNKED


READERS = spellings(
    {b"Content-Length": _content_length, b"Transfer-Encoding": _transfer_encoding},
    plain=b"Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods "
    b"Access-Control-Allow-Origin Access-Control-Expose-Headers Access-Control-Max-Age Age Allow Alt-Svc Cache-Control "
    b"Content-Disposition Content-Encoding Content-Language Content-Location Content-Range Content-Security-Policy "
    b"Content-Type Date ETag Expires Last-Modified Link Location Pragma Referrer-Policy Retry-After Sec-WebSocket-Accept "
    b"Sec-WebSocket-Extensions Sec-WebSocket-Protocol Server Server-Timing Set-Cookie Strict-Transport-Security Vary "
    b"Via WWW-Authenticate X-Content-Type-Options X-Frame-Options X-Powered-By X-Request-ID X-XSS-Protection".split(),
)
