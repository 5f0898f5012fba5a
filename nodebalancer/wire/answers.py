"""The responses that are ours: small plain pages that repeat nothing of what was asked.

Each closes the connection and is not to be stored. The 503 is the stock page of HAProxy, as Linode's is.
"""

from __future__ import annotations

RETRY_AFTER = 10
"""Seconds after which a client of a 503 may try again: the default interval of probes."""

_TEXTS: dict[int, tuple[str, str]] = {
    200: ("OK", ""),
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
_OWN_FIELDS = {200: _ALLOW, 405: _ALLOW, 503: b"Retry-After: %d\r\n" % RETRY_AFTER}


def _page(status: int, reason: str, sentence: str) -> bytes:
    if not sentence:
        return b""
    return f"<html><body><h1>{status} {reason}</h1>\n{sentence}\n</body></html>".encode()


def _fields(status: int, page: bytes) -> bytes:
    kind = b"Content-Type: text/html; charset=utf-8\r\n" if page else b""
    length = b"Content-Length: %d\r\n" % len(page)
    return kind + length + b"Cache-Control: no-store\r\n" + _OWN_FIELDS.get(status, b"")


_PAGES = {status: _page(status, *texts) for status, texts in _TEXTS.items()}
_FIELDS = {status: _fields(status, page) for status, page in _PAGES.items()}
_STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, reason.encode()) for status, (reason, _) in _TEXTS.items()}


def answer(status: int, *, date: bytes, method: bytes = b"GET", proxy_error: str = "", extra: bytes = b"") -> bytes:
    """A complete response of ours.

    Args:
        status: One of those above; 200 is for OPTIONS with Max-Forwards 0 and has no page.
        date: The value of Date.
        method: The request's, as far as it is known: HEAD gets no page.
        proxy_error: A proxy error type of RFC 9209 2.3 (``connection_refused``) when a node is at fault, for Proxy-Status.
        extra: More field lines, each with its line end.
    """
    cause = b"Proxy-Status: nodebalancer; error=%b\r\n" % proxy_error.encode() if proxy_error else b""
    page = b"" if method == b"HEAD" else _PAGES[status]
    return b"".join(
        (
            _STATUS_LINES[status],
            b"Date: ",
            date,
            b"\r\n",
            _FIELDS[status],
            cause,
            extra,
            b"Connection: close\r\n\r\n",
            page,
        )
    )
