"""Request heads: from bytes to what a proxy has to know. The rules are in ``head``."""

from __future__ import annotations

import re

from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.fields import (
    CHUNKED,
    CLAIM_PREFIX,
    CLAIMS,
    READ_IN_REQUESTS,
    UNSAID,
    check_encoding,
    dropped,
    framing_of,
    imitates,
    length_of,
    named,
    remove_named,
    settle_upgrade,
    spellings,
)
from nodebalancer.wire.http1.lines import (
    END,
    FIELDS_MAX,
    REQUEST_LINE_BYTES_MAX,
    TOKEN,
    bad_request,
    check_unfinished_request,
    is_unfinished,
    request_lines,
    tidy_lines,
)
from nodebalancer.wire.http1.usual import REQUEST

_SLASH = ord("/")
_NOT_SERVED = frozenset((b"CONNECT", b"TRACE"))
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+;=]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{0,5}+)?")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_ABSOLUTE = re.compile(rb"https?://([^/?]*+)(.*+)", re.IGNORECASE)


class RequestHead:
    """The head of a request, read and found good.

    Attributes:
        method: As sent; a token, never CONNECT or TRACE.
        target: As to be forwarded: begins with ``/``, or is ``*`` (OPTIONS).
        http10: Whether it is HTTP/1.0; if not, it is 1.1.
        host: The Host field as to be forwarded; empty only in HTTP/1.0.
        lines: The request line, Host, and the fields to be forwarded whoever asks, each with its line end; the client's
            order, framing last. The fields below are apart.
        length: The body's framing: bytes (0 when nothing is said), or ``CHUNKED``.
        size: Bytes of the head in the buffer, with an empty line before it; what follows is body.

    Few requests have any of the rest, and so ``plain`` says that there is none of it:
        expects_continue: Whether the client waits for a 100.
        upgrade: The one protocol the client offers to change to, in lower case, or None; never in HTTP/1.0.
        max_forwards: Of OPTIONS: how many proxies may still forward it, or None. 0: the answer is ours.
        forwarded_for: The values of X-Forwarded-For, one a field.
        claims: Other lines by which a client says who it is (``fields.CLAIMS`` and ``X-Forwarded-*``).
        underscored: Lines whose name has an underscore.
        request_id: The one X-Request-ID, if it is of 1 to 64 letters, digits and ``._-``; if not, empty or None.
    """

    __slots__ = ("host", "length", "lines", "method", "size", "target")

    plain: bool = True
    http10: bool = False
    expects_continue: bool = False
    upgrade: bytes | None = None
    max_forwards: int | None = None
    forwarded_for: tuple[bytes, ...] = ()
    claims: tuple[bytes, ...] = ()
    underscored: tuple[bytes, ...] = ()
    request_id: bytes | None = None

    def __init__(self, method: bytes, target: bytes, host: bytes, lines: bytes, length: int, size: int) -> None:
        self.method = method
        self.target = target
        self.host = host
        self.lines = lines
        self.length = length
        self.size = size


class _Reading(RequestHead):
    """A request head that is read line by line."""

    __slots__ = (
        "claims",
        "expects_continue",
        "fields",
        "forwarded_for",
        "http10",
        "max_forwards",
        "options",
        "request_id",
        "underscored",
        "upgrade",
    )

    plain = False

    def __init__(self, method: bytes, target: bytes, http10: bool, size: int) -> None:
        self.method = method
        self.target = target
        self.http10 = http10
        self.size = size
        self.host = b""
        self.length = UNSAID
        self.fields: list[bytes] = []
        self.options: set[bytes] = set()
        self.expects_continue = False
        self.upgrade = None
        self.max_forwards = None
        self.request_id = None
        self.forwarded_for = self.claims = self.underscored = ()

    @staticmethod
    def bad(rule: str) -> MessageError:
        return bad_request(rule)


def parse_request(data: bytes, seen: int = 0) -> RequestHead | None:
    """The request head that ``data`` begins with, or None while it is incomplete: ask again with the longer buffer.

    Args:
        data: What the client has sent.
        seen: The length of ``data`` when it was last found incomplete. Saves time and changes nothing else.

    Raises:
        MessageError: 400, 405, 414, 417, 431, 501 or 505, as soon as it is certain. Nothing else is ever raised.
    """
    if seen and is_unfinished(data, seen):
        check_unfinished_request(data, seen)
        return None
    head = None
    if data[-4:] == END or data.find(END) >= 0:  # what comes byte by byte is matched once, not at every byte
        head = _usual(data)
    if head is None:
        head = _by_lines(data)
    if head is None:
        return None
    if head.length == UNSAID:
        head.length = 0
    else:
        _write_framing(head)
    return head


def _usual(data: bytes) -> RequestHead | None:
    """The head, if it is one of ``usual``'s, or begins as one."""
    match = REQUEST.match(data)
    if match is None or match.end() > REQUEST_LINE_BYTES_MAX:  # the smallest limit: none other can be passed either
        return None
    begin, method, target, host, framing, more, framing_too, rest, _ = match.groups(b"")
    if framing and framing_too:
        return None
    length = framing_of(framing or framing_too)
    if match.lastindex != REQUEST.groups:
        head = _Reading(method, target, False, 0)
        head.host, head.lines, head.length = host, begin + more + rest, length
        return _read_rest(head, data, match.end())
    return RequestHead(method, target, host, begin + more + rest, length, match.end())


def _read_rest(head: _Reading, data: bytes, start: int) -> RequestHead | None:
    """``head``, which is usual up to ``start``, with the lines that follow: the marks of proxies before us come last.

    None, and nothing refused, where it has to be read again from the beginning.
    """
    cut = tidy_lines(data, start)
    if cut is None:
        return None
    lines, head.size = cut
    if head.size > REQUEST_LINE_BYTES_MAX or data.count(b"\r\n", 0, head.size) > FIELDS_MAX + 2:
        return None
    _read_lines(head, lines)
    if not head.options <= READ_IN_REQUESTS:  # Connection may name what was passed over
        return None
    _settle_connection(head)
    head.lines += b"\r\n".join((*head.fields, b""))
    return head


def _by_lines(data: bytes) -> RequestHead | None:
    """The head, however it is written."""
    cut = request_lines(data)
    if cut is None:
        return None
    method, target, http10, lines, size = cut
    if len(lines) > FIELDS_MAX:
        raise bad_request(f"over {FIELDS_MAX} fields, RFC 9110 5.4", 431)
    head = _Reading(method, target, http10, size)
    _read_lines(head, lines)
    _finish(head)
    return head


def _read_lines(head: _Reading, lines: list[bytes]) -> None:
    keep = head.fields.append
    for line in lines:
        name, _, value = line.partition(b": ")
        read = READERS.get(name, _unlisted)
        if read is None:
            keep(line)
        else:
            read(head, line, value)


def _write_framing(head: RequestHead) -> None:
    if head.length == CHUNKED:
        head.lines += b"Transfer-Encoding: chunked\r\n"
    else:
        head.lines += b"Content-Length: %d\r\n" % head.length


def _unlisted(head: _Reading, line: bytes, value: bytes) -> None:
    """A field whose name is in no table as it is spelt."""
    name = line.partition(b":")[0]
    lower = name.lower()
    if read := READERS.get(lower):
        read(head, line, value)
    elif lower in CLAIMS or lower.startswith(CLAIM_PREFIX):
        head.claims += (line,)
    elif b"_" in name:
        head.underscored += (line,)
    elif name.replace(b"-", b"").isalnum() or not imitates(name):
        head.fields.append(line)


def _finish(head: _Reading) -> None:
    """What can be said only once all fields are known."""
    if head.method.upper() in _NOT_SERVED:  # another method by the letter, but not for every node
        raise bad_request("CONNECT and TRACE are not served, RFC 9110 9.3", 405)
    if not head.host and not head.http10:
        raise bad_request("no Host, RFC 9112 3.2")
    if head.target[0] != _SLASH:
        _check_other_target(head)
    _settle_connection(head)
    host = b"Host: %b\r\n" % head.host if head.host else b""
    begin = b"%b %b HTTP/1.%d\r\n%b" % (head.method, head.target, not head.http10, host)
    head.lines = begin + b"\r\n".join((*head.fields, b""))


def _settle_connection(head: _Reading) -> None:
    """What Connection says, once all fields are known."""
    if head.options:
        remove_named(head)
        head.underscored = tuple(line for line in head.underscored if not named(line, head.options))
    if head.upgrade is not None:
        settle_upgrade(head)


def _check_other_target(head: _Reading) -> None:
    """A target that is no path: ``*``, or an absolute one, which is taken apart (RFC 9112 3.2.2, 3.2.4)."""
    if head.method == b"OPTIONS" and head.target == b"*":
        return
    match = _ABSOLUTE.fullmatch(head.target)
    if not match or not _HOST.fullmatch(match[1]):
        raise bad_request("target, RFC 9112 3.2")
    if head.host and head.host.lower() != match[1].lower():
        raise bad_request("Host is not the target's, RFC 9112 3.2.2")
    head.host, path = match.groups()
    head.target = path if path[:1] == b"/" else b"/" + path
    if head.method == b"OPTIONS" and not path:
        head.target = b"*"


def _host(head: _Reading, line: bytes, value: bytes) -> None:
    if head.host:
        raise bad_request("two Host, RFC 9112 3.2")
    if not _HOST.fullmatch(value):
        raise bad_request("Host, RFC 9112 3.2")
    head.host = value


def _content_length(head: _Reading, line: bytes, value: bytes) -> None:
    if head.length >= 0:
        raise bad_request("two Content-Length, RFC 9112 6.3")
    head.length = length_of(head, value)


def _transfer_encoding(head: _Reading, line: bytes, value: bytes) -> None:
    check_encoding(head)
    if value.lower() != b"chunked":
        status = 501 if TOKEN.fullmatch(value) else 400
        raise bad_request("Transfer-Encoding is not chunked, RFC 9112 6.1", status)
    head.length = CHUNKED


def _expect(head: _Reading, line: bytes, value: bytes) -> None:
    if head.http10:
        return
    if value.lower() != b"100-continue":
        raise bad_request("Expect is not 100-continue, RFC 9110 10.1.1", 417)
    if not head.expects_continue:
        head.fields.append(b"Expect: 100-continue")
    head.expects_continue = True


def _max_forwards(head: _Reading, line: bytes, value: bytes) -> None:
    if head.method != b"OPTIONS":
        head.fields.append(line)
        return
    if head.max_forwards is not None or not value.isdigit() or len(value) > 18:
        raise bad_request("Max-Forwards, RFC 9110 7.6.2")
    head.max_forwards = int(value)


def _request_id(head: _Reading, line: bytes, value: bytes) -> None:
    head.request_id = value if head.request_id is None and _REQUEST_ID.fullmatch(value) else b""


def _forwarded_for(head: _Reading, line: bytes, value: bytes) -> None:
    head.forwarded_for += (value,)


READERS = spellings(
    {
        b"Host": _host,
        b"Content-Length": _content_length,
        b"Transfer-Encoding": _transfer_encoding,
        b"Expect": _expect,
        b"Max-Forwards": _max_forwards,
        b"X-Forwarded-For": _forwarded_for,
        b"X-Forwarded-Proto": dropped,
        b"X-Request-ID": _request_id,
    },
    plain=b"Accept Accept-Charset Accept-Encoding Accept-Language Access-Control-Request-Headers "
    b"Access-Control-Request-Method Authorization Cache-Control Content-Encoding Content-Language Content-Type Cookie "
    b"Date DNT From If-Match If-Modified-Since If-None-Match If-Range If-Unmodified-Since Origin Pragma Priority Range "
    b"Referer Sec-CH-UA Sec-CH-UA-Mobile Sec-CH-UA-Platform Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site "
    b"Sec-Fetch-User Sec-GPC Sec-WebSocket-Extensions Sec-WebSocket-Key Sec-WebSocket-Protocol Sec-WebSocket-Version "
    b"Upgrade-Insecure-Requests User-Agent Via X-Requested-With".split(),
)
