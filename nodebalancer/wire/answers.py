"""The responses that are ours: small plain pages that repeat nothing of what was asked.

Each closes the connection and is not to be stored. The 503 is the stock page of HAProxy, as Linode's is.

An operator may put pages of their own in place of those for errors: ``read_page`` checks them and ``answer`` sends them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import attrs

from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.head import UNTIL_CLOSE, RequestHead, parse_response
from nodebalancer.wire.http1.lines import bad_request

RETRY_AFTER = 10
"""Seconds after which a client of a 503 may try again: the default interval of probes."""

PAGE_BYTES_MAX: Final = 65536
"""Largest file for a page; it is in memory, and whoever sends garbage is sent it. HAProxy takes 16384 at most."""

_TEXTS: dict[int, tuple[str, str]] = {
    200: ("OK", ""),
    308: ("Permanent Redirect", "This is served over HTTPS."),
    400: ("Bad Request", "The request is malformed."),
    405: ("Method Not Allowed", "This method is not served."),
    408: ("Request Timeout", "The request did not arrive in time."),
    414: ("URI Too Long", "The request line is too long."),
    417: ("Expectation Failed", "The expectation cannot be met."),
    431: ("Request Header Fields Too Large", "The request has too many or too long fields."),
    500: ("Internal Server Error", "The request could not be handled."),
    501: ("Not Implemented", "The transfer coding is not supported."),
    502: ("Bad Gateway", "The server sent no valid response."),
    503: ("Service Unavailable", "No server is available to handle this request."),
    504: ("Gateway Timeout", "The server did not respond in time."),
    505: ("HTTP Version Not Supported", "Use HTTP/1.1."),
}
_ALLOW = b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
_NO_STORE = b"Cache-Control: no-store\r\n"
_OWN_FIELDS = {200: _ALLOW, 405: _ALLOW, 503: b"Retry-After: %d\r\n" % RETRY_AFTER}
_PORT = re.compile(rb":[0-9]*\Z")
_PAGE_NAME = re.compile(r"([1-9][0-9]{2})\.(http|html)")
_DATE = re.compile(rb"\r\ndate: [^\r]*", re.IGNORECASE)


@attrs.frozen
class Page:
    """A response of ours without what is said anew each time.

    Attributes:
        status_line: With its line end.
        fields: The lines that describe the body, and what belongs to the status; each with its line end.
        body: Not sent after HEAD.
    """

    status_line: bytes
    fields: bytes
    body: bytes


Pages = Mapping[int, Page]
"""Pages by status."""


def _our_page(status: int, reason: str, sentence: str) -> Page:
    body = f"<html><body><h1>{status} {reason}</h1>\n{sentence}\n</body></html>".encode() if sentence else b""
    return Page(_status_line(status), _html_fields(status, body), body)


def _status_line(status: int) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (status, _TEXTS[status][0].encode())


def _html_fields(status: int, body: bytes) -> bytes:
    kind = b"Content-Type: text/html; charset=utf-8\r\n" if body else b""
    return kind + b"Content-Length: %d\r\n" % len(body) + _NO_STORE + _OWN_FIELDS.get(status, b"")


_OURS: Pages = {status: _our_page(status, *texts) for status, texts in _TEXTS.items()}
NO_PAGES: Final[Pages] = {}
"""Of a config whose errors are answered with ours."""

REPLACEABLE: Final = frozenset(status for status in _TEXTS if status >= 400)
"""Statuses whose page may be the operator's: all errors that we answer with."""


def answer(
    status: int,
    *,
    date: bytes,
    method: bytes = b"GET",
    proxy_error: str = "",
    extra: bytes = b"",
    pages: Pages = NO_PAGES,
) -> bytes:
    """A complete response of ours.

    Args:
        status: One of those above; 200 is for OPTIONS with Max-Forwards 0 and has no page, 308 for ``redirect``.
        date: The value of Date.
        method: The request's, as far as it is known: HEAD gets no page.
        proxy_error: A proxy error type of RFC 9209 2.3 (``connection_refused``) when a node is at fault, for Proxy-Status.
        extra: More field lines, each with its line end.
        pages: The operator's, by status, as ``read_page`` made them; ours for all others.
    """
    page = pages.get(status) or _OURS[status]
    cause = b"Proxy-Status: nodebalancer; error=%b\r\n" % proxy_error.encode() if proxy_error else b""
    return b"".join(
        (
            page.status_line,
            b"Date: ",
            date,
            b"\r\n",
            page.fields,
            cause,
            extra,
            b"Connection: close\r\n\r\n",
            b"" if method == b"HEAD" else page.body,
        )
    )


def redirect(request: RequestHead, port: int, *, date: bytes) -> bytes:
    """The way to the same target over HTTPS: a complete 308, which keeps method and body (RFC 9110 15.4.9).

    The host is the request's own, whose every byte was checked when it was read, as was the target's.

    Args:
        request: What was asked, of a config with ``redirect = https``.
        port: Where the https config listens.
        date: The value of Date.

    Raises:
        MessageError: 400 for a request of HTTP/1.0 that names no host: there is nowhere to send it.
    """
    if not request.host:
        raise bad_request("no Host to redirect to, setting redirect, RFC 9110 7.2")
    host = _PORT.sub(b"", request.host)
    authority = host if port == 443 else b"%b:%d" % (host, port)
    target = b"/" if request.target == b"*" else request.target
    return answer(308, date=date, method=request.method, extra=b"Location: https://%b%b\r\n" % (authority, target))


def read_page(name: str, contents: bytes) -> tuple[int, Page]:
    """A page of the operator's: which status it is for, and what is sent.

    ``503.html`` is a body, and gets the head of ours. ``503.http`` is a whole response, as HAProxy's ``errorfile``, and keeps
    its fields: Date, Connection and the body's length are written anew, and Cache-Control, Allow and Retry-After are ours
    where it has none.

    Args:
        name: The file's name, without directory.
        contents: The file.

    Raises:
        ValueError: With what is wrong, in words for the operator.
    """
    match = _PAGE_NAME.fullmatch(name)
    if match is None or int(match[1]) not in REPLACEABLE:
        raise ValueError(
            f"expected STATUS.http or STATUS.html, where STATUS is {', '.join(map(str, sorted(REPLACEABLE)))}"
        )
    if len(contents) > PAGE_BYTES_MAX:
        raise ValueError(f"longer than {PAGE_BYTES_MAX} bytes")
    if not contents:
        raise ValueError("is empty")
    status = int(match[1])
    return status, _from_html(status, contents) if match[2] == "html" else _from_response(status, contents)


def _from_html(status: int, contents: bytes) -> Page:
    try:
        contents.decode()
    except UnicodeDecodeError:
        raise ValueError("is not in UTF-8") from None
    return Page(_status_line(status), _html_fields(status, contents), contents)


def _from_response(status: int, contents: bytes) -> Page:
    try:
        head = parse_response(contents, b"GET")
    except MessageError as e:
        raise ValueError(f"is no HTTP response ({e.rule}); each line of its head ends with CR LF") from None
    if head is None:
        raise ValueError("is no HTTP response: its head does not end with an empty line")
    if head.status != status:
        raise ValueError(f"is a response of status {head.status}; expected {status}")
    body = contents[head.size :]
    if head.length not in (UNTIL_CLOSE, len(body)):
        raise ValueError(f"has a body of {len(body)} bytes, which is not what its fields say")
    line, _, fields = _DATE.sub(b"", head.lines).partition(b"\r\n")
    if head.length == UNTIL_CLOSE:
        fields += b"Content-Length: %d\r\n" % len(body)
    said = b"\r\n" + fields.lower()
    for ours in (_NO_STORE, _OWN_FIELDS.get(status, b"")):
        if ours and b"\r\n" + ours[: ours.index(b":") + 1].lower() not in said:
            fields += ours
    return Page(line + b"\r\n", fields, body)
