"""Response heads: from field lines to what a proxy has to know. The rules are in ``http1_head``."""

from __future__ import annotations

from nodebalancer.wire.http1_fields import (
    CHUNKED,
    UNSAID,
    UNTIL_CLOSE,
    Head,
    check_encoding,
    length_of,
    remove_named,
    settle_upgrade,
    spellings,
)
from nodebalancer.wire.http1_lines import bad_response, response_lines


class ResponseHead(Head):
    """The head of a response, read and found good.

    Attributes:
        status: 100 to 999.
        http10: Whether it is HTTP/1.0; if not, it is 1.1.
        reason: The reason phrase; may be empty.
        fields: The lines to be forwarded, as ``Name: value``, in the node's order; Content-Length last, and never
            Transfer-Encoding, which depends on the client.
        length: The body's framing: bytes, ``CHUNKED`` or ``UNTIL_CLOSE``; 0 for responses that never have a body.
        upgrade: The one protocol that Upgrade names, in lower case, or None; never in HTTP/1.0.
        dated: Whether it has a Date.
        options: What Connection names, in lower case, other than "close" and "keep-alive" alone.
        size: Bytes of the head in the buffer; what follows is body.
    """

    __slots__ = ("dated", "reason", "status")

    def __init__(self, status: int, reason: bytes, http10: bool, size: int) -> None:
        self.status = status
        self.reason = reason
        self.http10 = http10
        self.size = size
        self.fields: list[bytes] = []
        self.length = UNSAID
        self.upgrade: bytes | None = None
        self.dated = False
        self.options: set[bytes] = set()

    bad = staticmethod(bad_response)


def parse_response(data: bytes, method: bytes) -> ResponseHead | None:
    """The response head that ``data`` begins with, or None while it is incomplete: ask again with the longer buffer.

    Args:
        data: What the node has sent.
        method: The request's: there is no body after HEAD.

    Raises:
        MessageError: 502, as soon as it is certain. Nothing else is ever raised.
    """
    cut = response_lines(data)
    if cut is None:
        return None
    http10, status, reason, lines, size = cut
    head = ResponseHead(int(status), reason, http10, size)
    keep = head.fields.append
    for line in lines:
        name, _, value = line.partition(b": ")
        read = _READERS.get(name, _unusual)
        if read is None:
            keep(line)
        else:
            read(head, line, value)
    _finish(head, method)
    return head


def _unusual(head: ResponseHead, line: bytes, value: bytes) -> None:
    """A field whose name is in no table as it is spelt."""
    if read := _READERS.get(line.partition(b":")[0].lower()):
        read(head, line, value)
    else:
        head.fields.append(line)


def _finish(head: ResponseHead, method: bytes) -> None:
    """What can be said only once all fields are known."""
    if head.options:
        remove_named(head)
    if head.upgrade is not None:
        settle_upgrade(head)
    if head.status < 200 or head.status == 204:
        head.length = 0
        return
    if head.length >= 0:
        head.fields.append(b"Content-Length: %d" % head.length)
    if head.status == 304 or method == b"HEAD":
        head.length = 0
    elif head.length == UNSAID:
        head.length = UNTIL_CLOSE


def _content_length(head: ResponseHead, line: bytes, value: bytes) -> None:
    before = head.length
    head.length = length_of(head, value)
    if before not in (UNSAID, head.length):
        raise bad_response("different Content-Length, RFC 9112 6.3")


def _transfer_encoding(head: ResponseHead, line: bytes, value: bytes) -> None:
    check_encoding(head)
    if value.lower() != b"chunked":
        raise bad_response("Transfer-Encoding is not chunked, RFC 9112 6.1")
    head.length = CHUNKED


def _date(head: ResponseHead, line: bytes, value: bytes) -> None:
    head.dated = True
    head.fields.append(line)


_READERS = spellings(
    {b"Content-Length": _content_length, b"Transfer-Encoding": _transfer_encoding, b"Date": _date},
    plain=b"Accept-Ranges Access-Control-Allow-Credentials Access-Control-Allow-Headers Access-Control-Allow-Methods "
    b"Access-Control-Allow-Origin Access-Control-Expose-Headers Access-Control-Max-Age Age Allow Alt-Svc Cache-Control "
    b"Content-Disposition Content-Encoding Content-Language Content-Location Content-Range Content-Security-Policy "
    b"Content-Type ETag Expires Last-Modified Link Location Pragma Referrer-Policy Retry-After Sec-WebSocket-Accept "
    b"Sec-WebSocket-Extensions Sec-WebSocket-Protocol Server Server-Timing Set-Cookie Strict-Transport-Security Vary "
    b"Via WWW-Authenticate X-Content-Type-Options X-Frame-Options X-Powered-By X-Request-ID X-XSS-Protection".split(),
)
