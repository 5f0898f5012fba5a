"""Our cookie in heads (R16): taken out of what the client sends, and set in what it gets.

What it says, and of which node, is ``balancing.stickiness``. The rules:

* A Cookie field is pairs with ``;`` between them (RFC 6265 5.4), whatever is in quotes. Names are compared byte by byte.
* Nodes never see our cookie. All else in the field stays byte for byte, but for the ``;`` that went with the cookie and blanks
  before a pair that comes first now; a field that had nothing else goes altogether.
* Of several that the client sends the first counts, as the most special path and the oldest come first, and all are
  taken out.
"""

from __future__ import annotations

import re
from typing import Final

COOKIE: Final = b"NB_SRVID"
"""The cookie's name."""

_FIELD = re.compile(rb"(?<=\n)[Cc][Oo][Oo][Kk][Ii][Ee]: ([^\r]*+)\r\n")
_BLANKS = b" \t"


def take_cookie(lines: bytes) -> tuple[bytes, bytes]:
    """Our cookie's value, empty when there is none, and the lines without it.

    Whoever calls asks ``COOKIE in lines`` first: nearly all that do not have it then cost nothing more.

    Args:
        lines: A request line and fields, each ``Name: value`` with its line end: ``RequestHead.lines``.
    """
    value = b""
    pieces = []
    end = 0
    for field in _FIELD.finditer(lines):
        pairs = field[1].split(b";")
        others = []
        for pair in pairs:
            name, equals, its = pair.partition(b"=")
            if equals and name.strip(_BLANKS) == COOKIE:
                value = value or its.strip(_BLANKS)
            else:
                others.append(pair)
        if len(others) < len(pairs):
            rest = b";".join(others).lstrip(_BLANKS)
            pieces += [lines[end : field.start(1)], rest] if rest else [lines[end : field.start()]]
            end = field.end(1) if rest else field.end()
    return value, b"".join((*pieces, lines[end:]))


def set_cookie(value: bytes, *, secure: bool) -> bytes:
    """The field that makes the client send the cookie until it is closed, to every port of the same name.

    Args:
        value: As ``Pool.cookie_to_set`` has it.
        secure: Whether the config is https: then plain http does not get it, nor do requests that other sites make
            (links apart).

    Returns:
        The line with its line end. A response that has it and no Cache-Control is to get ``private``, which is the
        caller's to add.
    """
    return b"Set-Cookie: %b=%b; Path=/; HttpOnly%b\r\n" % (COOKIE, value, b"; Secure; SameSite=Lax" if secure else b"")
