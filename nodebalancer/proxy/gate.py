"""How many clients a NodeBalancer lets in at once (R3)."""

from __future__ import annotations

from collections.abc import Iterable

from nodebalancer.transport.engine import Listener


class Gate:
    """Counts the open connections of one NodeBalancer over all its ports; pauses its listeners at the limit.

    A client that comes at the limit waits in the kernel's queue and is served when another has left.

    Attributes:
        open: Connections open now; counted by ``LiveConfig``, which calls ``shut`` and ``reopen`` as it meets ``limit``.
        limit: How many may be; at least 1.
        times_full: How often the limit was reached.
    """

    __slots__ = ("_listeners", "limit", "open", "times_full")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.open = 0
        self.times_full = 0
        self._listeners: list[Listener] = []

    def guard(self, listeners: Iterable[Listener], limit: int) -> None:
        """From now on these are the NodeBalancer's listeners and this is its limit."""
        self._listeners = list(listeners)
        self.limit = limit
        for listener in self._listeners:
            if self.open < limit:
                listener.resume()
            else:
                listener.pause()

    def shut(self) -> None:
        """``open`` has reached ``limit``."""
        self.times_full += 1
        for listener in self._listeners:
            listener.pause()

    def reopen(self) -> None:
        """``open`` is below ``limit`` again."""
        for listener in self._listeners:
            listener.resume()
