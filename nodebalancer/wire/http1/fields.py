"""Fields: what a name means to a proxy, and what is the same in requests and responses.

A name comes in any case; the sets here are lower case. Tables of readers have the usual spellings as they stand on the
wire, so that a common name is known by one look-up without lowering it first. A *reader* takes a head that is being
read, the field's line as it would be forwarded, and its value; it keeps the line, keeps what it says, or refuses it.

``READ_IN_REQUESTS`` and ``READ_IN_RESPONSES`` name all that any reader looks for, in every head: ``usual`` passes
on everything else unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, Protocol, TypeVar

from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.lines import TOKEN

R_ = TypeVar("R_", bound="Reading")

CHUNKED: Final = -1
"""Framing: the body comes in chunks."""
UNTIL_CLOSE: Final = -2
"""Framing, of responses only: the body goes on until end of file."""
UNSAID: Final = -3
"""No field has said a framing yet; never seen outside the parsers."""

_USUAL_CONNECTION = frozenset((b"close", b"keep-alive", b"Keep-Alive", b"Close"))
HOP_BY_HOP = (
    b"Keep-Alive",
    b"Proxy-Connection",
    b"TE",
    b"Trailer",
    b"Proxy-Authenticate",
    b"Proxy-Authorization",
    b"HTTP2-Settings",
)
"""Fields that concern one connection only and are always removed (RFC 9110 7.6.1). Connection, Upgrade and
Transfer-Encoding do so too, but are read first."""

CLAIMS = frozenset((b"forwarded", b"x-real-ip"))
"""What a client may say about who it is, beside ``X-Forwarded-*``: believed from trusted proxies only."""

CLAIM_PREFIX = b"x-forwarded"

HONOURED_NEVER = frozenset((b"content-length", b"transfer-encoding", b"cookie", b"expect", b"date"))
"""Fields that stay although a Connection field names them: framing is ours to decide, and a client that removes what
an application relies on is up to no good. Host, X-Request-ID and the ``CLAIMS`` need no entry, they are kept apart from the
others."""

READ_IN_RESPONSES = frozenset(
    (b"connection", b"content-length", b"transfer-encoding", b"upgrade", *(name.lower() for name in HOP_BY_HOP))
)
"""Fields of a response that are not simply passed on. (Date is; only its absence matters.)"""

READ_IN_REQUESTS = READ_IN_RESPONSES | CLAIMS | {b"expect", b"host", b"max-forwards", b"x-request-id"}
"""The same of a request; as well as all that begins with ``CLAIM_PREFIX`` or has an underscore."""

_DASHED = bytes(byte if bytes((byte,)).isalnum() else ord("-") for byte in range(256))


def imitates(name: bytes) -> bool:
    """Whether ``name`` (a token, any case) is another field's for a node that does not tell ``_`` or ``.`` from ``-``.

    CGI, WSGI and their kin fold such bytes together, so ``X_Forwarded_For`` or ``Content.Length`` may count as the
    field that we wrote ourselves.
    """
    dashed = name.lower().translate(_DASHED)
    return dashed in READ_IN_REQUESTS or dashed.startswith(CLAIM_PREFIX)


class Reading(Protocol):
    """What requests and responses have in common while they are read line by line.

    Attributes:
        fields: The lines to be forwarded, so far.
        options: What Connection names, in lower case, other than "close" and "keep-alive" alone.

    The others are those of the finished heads: see ``RequestHead`` and ``ResponseHead``.
    """

    fields: list[bytes]
    http10: bool
    length: int
    options: set[bytes]
    upgrade: bytes | None

    @staticmethod
    def bad(rule: str) -> MessageError:
        """What to raise when this head breaks ``rule``."""


Reader = Callable[[R_, bytes, bytes], None]


def spellings(names: Mapping[bytes, Reader[R_]], plain: Iterable[bytes]) -> dict[bytes, Reader[R_] | None]:
    """A table of readers by name, as it stands and in lower case, which is how nearly all programs write it.

    Args:
        names: The fields that are read; hop-by-hop ones are added.
        plain: Fields that are only passed on, with None for a reader. Being named here saves a field some time and
            changes nothing else.
    """
    readers = {**dict.fromkeys(plain), **_HOP_READERS, **names}
    return {spelt: reader for name, reader in readers.items() for spelt in (name, name.lower())}


def remove_named(head: Reading) -> None:
    """Remove the fields that Connection names, once all are read."""
    head.options -= HONOURED_NEVER
    head.fields = [line for line in head.fields if not named(line, head.options)]


def named(line: bytes, names: set[bytes]) -> bool:
    """Whether the field of ``line`` is one of ``names``."""
    return line.partition(b":")[0].lower() in names


def settle_upgrade(head: Reading) -> None:
    """Upgrade counts in HTTP/1.1, when Connection says so, and when it is one protocol (RFC 9110 7.8)."""
    if head.http10 or not head.upgrade or b"upgrade" not in head.options:
        head.upgrade = None


def framing_of(value: bytes) -> int:
    """What 1 to 18 digits, ``chunked``, or nothing say of the body."""
    if not value:
        return UNSAID
    return CHUNKED if value == b"chunked" else int(value)


def length_of(head: Reading, value: bytes) -> int:
    """What a Content-Length says, if it may stand in ``head`` as far as that is read. Raises MessageError."""
    if head.length == CHUNKED:
        raise head.bad("Content-Length and Transfer-Encoding, RFC 9112 6.1")
    if not value.isdigit() or len(value) > 18:
        raise head.bad("Content-Length, RFC 9112 6.3")
    return int(value)


def check_encoding(head: Reading) -> None:
    """Whether a Transfer-Encoding may stand in ``head`` as far as that is read. Raises MessageError."""
    if head.length == CHUNKED:
        raise head.bad("two Transfer-Encoding, RFC 9112 6.1")
    if head.length != UNSAID:
        raise head.bad("Content-Length and Transfer-Encoding, RFC 9112 6.1")
    if head.http10:
        raise head.bad("Transfer-Encoding in HTTP/1.0, RFC 9112 6.1")


def dropped(head: Reading, line: bytes, value: bytes) -> None:
    """Read a field of one connection only, or one that is always ours."""


def _connection(head: Reading, line: bytes, value: bytes) -> None:
    if value not in _USUAL_CONNECTION:
        head.options |= {option.strip(b" \t").lower() for option in value.split(b",")}


def _upgrade(head: Reading, line: bytes, value: bytes) -> None:
    one = head.upgrade is None and TOKEN.fullmatch(value)
    head.upgrade = value.lower() if one else b""


_HOP_READERS: dict[bytes, Reader[Reading]] = {
    b"Connection": _connection,
    b"Upgrade": _upgrade,
    **dict.fromkeys(HOP_BY_HOP, dropped),
}
