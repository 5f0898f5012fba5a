"""Request and response heads of HTTP/1: from field lines to what a proxy has to know.

Whatever is not plainly one request with one framing is refused, wherever an RFC allows it. The rules:

* A start line is three words between single blanks; HTTP/1.0 and 1.1 only (else 505). CONNECT and TRACE: 405.
  Targets: a path, ``http(s)://authority/path`` (which becomes path and Host), or ``*`` for OPTIONS.
* Exactly one Host, which is a name or address with or without a port; HTTP/1.0 may have none. Where the target names
  an authority as well, both must agree.
* One Content-Length of 1 to 18 digits, or one Transfer-Encoding that is ``chunked``, or neither; the latter not in
  HTTP/1.0. A response may repeat the same Content-Length.
* No fold, control byte, bare CR or LF, blank before a colon, name that is not a token. A response is mended where
  RFC 9112 5 tells a proxy to: folds become a blank, blanks before colons go.
* What concerns one connection only is not among ``lines``: hop-by-hop fields, and what Connection names, except a
  few that nobody may remove (``fields.HONOURED_NEVER``).
* Expect: 100-continue in HTTP/1.1 is kept, others are refused with 417; in HTTP/1.0 Expect is dropped.

A head is read in one of three ways, which differ in nothing but speed:

1. One pattern reads it whole, as nearly every head, and gives it to be forwarded in slices: ``usual``.
2. A request that begins so, and has more to say in its last lines, is read on from there line by line.
3. ``lines``, where the limits are too, cuts it into lines, and ``request`` and ``response`` read them:
   one look-up a field, in a table that has the usual spellings of the usual names, and a call for the few fields that
   are ours to read. A name in no table is looked at more closely once.
"""

from __future__ import annotations

from nodebalancer.wire.http1.fields import CHUNKED, UNTIL_CLOSE
from nodebalancer.wire.http1.lines import FIELDS_BYTES_MAX, FIELDS_MAX, REQUEST_LINE_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX
from nodebalancer.wire.http1.request import RequestHead, parse_request
from nodebalancer.wire.http1.response import ResponseHead, parse_response

__all__ = [
    "CHUNKED",
    "FIELDS_BYTES_MAX",
    "FIELDS_MAX",
    "REQUEST_LINE_BYTES_MAX",
    "RESPONSE_HEAD_BYTES_MAX",
    "UNTIL_CLOSE",
    "RequestHead",
    "ResponseHead",
    "parse_request",
    "parse_response",
]
