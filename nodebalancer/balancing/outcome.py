"""How connections end: the one vocabulary of access log, metrics and counters."""

from __future__ import annotations

import enum


class Outcome(enum.IntEnum):
    """How a connection ended; exactly one for each client's connection.

    A pick is released with an outcome too: the connection's own, or ``CONNECT_FAILED`` or ``OVERLOADED`` when another
    node was tried after it. The value is the index in the counters' lists.
    """

    SERVED = 0
    """The client got everything that the node had to say."""
    NO_NODE = 1
    """No node could be picked: the config has none that takes clients."""
    CONNECT_FAILED = 2
    """No node that was tried could be reached."""
    OVERLOADED = 3
    """This machine could not dial a node: no descriptor, source port or memory left. The node is not to blame."""
    TIMED_OUT = 4
    """The node was silent, or did not read, for longer than ``timeout_server``."""
    SERVER_ERROR = 5
    """The node's response was no HTTP, broke off in its head, or was a 5xx other than 501 and 505."""
    CUT_SHORT = 6
    """The node broke off in the middle of a response, or of a tcp connection."""
    IDLE = 7
    """Nobody sent anything on a tunnel for longer than ``timeout_tunnel`` (``timeout_half_closed``)."""
    CLIENT_LEFT = 8
    """The client broke off, or closed before its request was whole."""
    CLIENT_ERROR = 9
    """The client sent what is no request, or one that is refused by rule."""
    CLIENT_TIMED_OUT = 10
    """The client did not send, or did not read, for longer than it may."""
    REFUSED = 11
    """The client had to make way for another before its request was whole, because there are too many."""
    STOPPED = 12
    """The service ended before the connection did."""
    HANDSHAKE_FAILED = 13
    """The client and we could not agree on TLS, or it was too slow, or did not speak TLS at all."""

    @property
    def word(self) -> str:
        """The access log's field and the metric's label: ``connect_failed``."""
        return self.name.lower()


def no_outcomes() -> list[int]:
    """A count of nothing yet for each outcome."""
    return [0] * len(Outcome)
