"""The usual heads, each read whole by one pattern.

Nearly every head in the world is of one shape: HTTP/1.1, written as RFC 9112 recommends, Host first in a request, and of
all the fields that mean something to a proxy at most two, a framing and a Connection that says nothing new. ``REQUEST``
and ``RESPONSE`` match those heads, from the first byte to the empty line, and no others. A match is the whole check, no
loop over lines follows:

* Every byte was matched by a class that has only what may stand there, as in ``lines``.
* A *run* is lines with names that mean nothing here: ``fields`` has those that do, and a look-ahead keeps
  them out in any spelling. In requests nor can a name have anything but letters, digits and ``-``, so that none imitates
  another. So a run may be forwarded as one slice: it is, byte for byte, what writing its lines anew would give.
* Framing and Connection stand between runs and are in none: the one is written anew, the other is ours.

What these do not match is neither refused nor suspect: ``lines`` cuts it into lines, which are read one by one.
Whoever adds a meaning to a field adds its name to the tables in ``fields``, and the run will stop at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from nodebalancer.wire.http1.fields import CLAIM_PREFIX, READ_IN_REQUESTS, READ_IN_RESPONSES
from nodebalancer.wire.http1.lines import FIELDS_MAX, TARGET, TCHAR, TEXT, VALUE

RUN_LINES_MAX: Final = (FIELDS_MAX - 3) // 3
"""Lines of one run: three runs, Host, and what stands between the runs are no more than ``FIELDS_MAX`` in all."""


def _none_of(names: Iterable[bytes], prefixes: Iterable[bytes] = ()) -> bytes:
    """A look-ahead that stops at lines of these fields, and at names that begin with ``prefixes``, in any case.

    The first letter is looked at first and alone, and only then which of its names it may be: that lets most lines
    through at once. An alternation over all names, ignoring case, makes the whole pattern twice as slow.
    """
    rests: dict[bytes, list[bytes]] = {}
    for begins in (*(name + b": " for name in sorted(names)), *prefixes):
        rests.setdefault(begins[:1], []).append(re.escape(begins[1:]))
    letters = {letter: letter + letter.upper() for letter in rests}
    named = b"|".join(b"[%b](?i:%b)" % (letters[letter], b"|".join(rests[letter])) for letter in rests)
    return b"(?!(?=[%b])(?:%b))" % (b"".join(letters.values()), named)


def _head(start: bytes, not_in_run: bytes, name: bytes) -> re.Pattern[bytes]:
    """The pattern of a head: ``start``, and up to three runs of fields, between which framing and Connection may stand."""
    run = b"(?:%b%b: %b\r\n){0,%d}" % (not_in_run, name, VALUE, RUN_LINES_MAX)
    framing = rb"(?:[Cc]ontent-[Ll]ength: (?=[0-9])|[Tt]ransfer-[Ee]ncoding: (?=c))([0-9]{1,18}+|chunked)"
    connection = rb"[Cc]onnection: (?:[Cc]lose|[Kk]eep-[Aa]live)"
    between = b"(?:(?:%b|%b)\r\n(%b))?" % (connection, framing, run)
    return re.compile(b"(%b%b)%b%b(\r\n)?" % (start, run, between, between))


REQUEST: Final = _head(
    rb"(?!CONNECT |TRACE )([A-Z]++) (/" + TARGET + rb"*+) HTTP/1\.1\r\n"
    rb"[Hh]ost: ([A-Za-z0-9\-._~%!$&'()*+;=]++:?+[0-9]{0,5}+)\r\n",
    _none_of(READ_IN_REQUESTS, (CLAIM_PREFIX,)),
    rb"[A-Za-z0-9\-]++",
)
"""Groups: all up to the end of the first run; method; target; Host; framing (digits or ``chunked``) or None; second
run or None; again framing and run. IPv6 addresses as Host are left to the long way. The limits in bytes are the caller's
to check."""

RESPONSE: Final = _head(
    rb"HTTP/1\.1 ([1-9][0-9][0-9]) " + TEXT + rb"*+\r\n", _none_of(READ_IN_RESPONSES), TCHAR + rb"++"
)
"""Groups: all up to the end of the first run; status; then as ``REQUEST``. Date may be in any run."""
