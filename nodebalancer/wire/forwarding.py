"""Heads as they leave us: nothing that was not read, and all that is ours to say written anew.

Towards nodes (R8, R9, RFC 9110 7.6):

* Host is the client's; X-Forwarded-Proto is ours.
* X-Forwarded-For is the client's address. From a trusted proxy it is that proxy's list, in one line, and then the
  proxy's address; what else a client claims about itself is kept from trusted proxies and dropped from all others.
* An X-Request-ID that is one, whoever sent it: the client's, or else the one that was made for this request.
* Fields with ``_`` in their name are dropped, kept or refused, as the config says; those that a node may take for a field of
  ours are dropped even where the others are kept.
* ``Connection: close``, or the one upgrade that the config allows.

Towards clients: a Date where there is none, ``Connection: close``, and framing that the client's version knows. No Via
in either direction, which departs from RFC 9110 7.6.3: nodes would stop compressing, and the balancer is to be unseen.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable

from nodebalancer.fields import Network
from nodebalancer.model import Underscores
from nodebalancer.wire.http1.fields import imitates
from nodebalancer.wire.http1.head import CHUNKED, RequestHead, ResponseHead
from nodebalancer.wire.http1.lines import bad_request

_CLIENTS_REMEMBERED = 1024
"""How many clients' addresses a config remembers as trusted or not; looking one up costs as much as a whole head."""
_CLOSE = b"Connection: close\r\n\r\n"


class Forwarding:
    """How one config forwards heads. Made once for a config; does not change.

    Args:
        proto: What clients speak with us: ``b"http"`` or ``b"https"``.
        underscores: What happens to request fields with an underscore in their name.
        upgrades: Protocols that may be upgraded to, in lower case.
        trusted: Networks of proxies in front of us.
    """

    __slots__ = ("_ending", "_proto", "_trusts", "_underscores", "_upgrades")

    def __init__(
        self,
        *,
        proto: bytes,
        underscores: Underscores,
        upgrades: frozenset[bytes],
        trusted: tuple[Network, ...] = (),
    ) -> None:
        self._proto = b"X-Forwarded-Proto: " + proto
        self._ending = self._proto + b"\r\n" + _CLOSE
        self._underscores = underscores
        self._upgrades = upgrades
        self._trusts = _membership(trusted)

    def request(self, head: RequestHead, client: str, new_id: bytes = b"") -> bytes:
        """The whole head for the node, with its empty line.

        Args:
            head: The client's; not OPTIONS with ``max_forwards`` 0, which is not forwarded.
            client: The numeric address of the client, without zone.
            new_id: The X-Request-ID for a request that has no good one of its own; empty: none.

        Raises:
            MessageError: 400 for a name with an underscore, where the config refuses those.
        """
        if head.plain and not new_id:
            return b"%bX-Forwarded-For: %b\r\n%b" % (head.lines, client.encode(), self._ending)
        lines: list[bytes] = []
        forwarded_for = client.encode()
        if (head.claims or head.forwarded_for) and self._trusts(client):
            lines += head.claims
            forwarded_for = b", ".join((*filter(None, head.forwarded_for), forwarded_for))
        if head.underscored:
            lines += self._underscored(head)
        if head.max_forwards is not None:
            lines.append(b"Max-Forwards: %d" % (head.max_forwards - 1))
        if request_id := head.request_id or new_id:
            lines.append(b"X-Request-ID: " + request_id)
        lines += (b"X-Forwarded-For: " + forwarded_for, self._upgrade_ending(head) if head.upgrade else self._ending)
        return head.lines + b"\r\n".join(lines)

    def upgrading(self, head: RequestHead) -> bool:
        """Whether this request is forwarded with its Upgrade: never with a body, whose end would not be the tunnel's begin."""
        return head.upgrade in self._upgrades and head.length == 0

    def response(self, head: ResponseHead, request: RequestHead, date: Callable[[], bytes]) -> bytes:
        """The whole head of a final response for the client, with its empty line.

        A client of HTTP/1.0 gets no Transfer-Encoding: chunks are taken off, and the end of file ends the body.

        Args:
            head: The node's; not a 1xx.
            request: What it answers.
            date: The value of Date; asked if the node has sent none.
        """
        lines = head.lines
        if head.length == CHUNKED and not request.http10:
            lines += b"Transfer-Encoding: chunked\r\n"
        if not head.dated:
            lines += b"Date: %b\r\n" % date()
        return lines + _CLOSE

    def interim(self, head: ResponseHead) -> bytes:
        """The whole head of a 1xx other than 101, for a client that is not of HTTP/1.0."""
        return head.lines + b"\r\n"

    def switching(self, head: ResponseHead) -> bytes:
        """The whole head of a 101 whose ``upgrade`` is what was asked for."""
        return head.lines + _upgrade(head.upgrade)

    def _upgrade_ending(self, head: RequestHead) -> bytes:
        return self._proto + b"\r\n" + _upgrade(head.upgrade) if self.upgrading(head) else self._ending

    def _underscored(self, head: RequestHead) -> list[bytes]:
        if self._underscores is Underscores.REJECT:
            raise bad_request("underscore in a field name, setting underscores")
        if self._underscores is Underscores.DROP:
            return []
        return [line for line in head.underscored if not imitates(line.partition(b":")[0])]


def _upgrade(protocol: bytes | None) -> bytes:
    return b"Connection: upgrade\r\nUpgrade: %b\r\n\r\n" % (protocol or b"")


def _membership(networks: tuple[Network, ...]) -> Callable[[str], bool]:
    """A test whether an address is in one of ``networks``."""

    def contains(client: str) -> bool:
        address = ipaddress.ip_address(client)
        return any(address in network for network in networks)

    return functools.lru_cache(_CLIENTS_REMEMBERED)(contains) if networks else lambda client: False
