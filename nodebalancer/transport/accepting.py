"""What engines do about the clients that they accept, and about those that they cannot accept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.logger import Logger

from nodebalancer.fields import Address
from nodebalancer.transport.engine import Factory

log = Logger()

QUIET_SECONDS: Final = 10.0
"""How often it is said that accepting fails."""


def protocol_for(peer: Address, factory: Factory, admit: Callable[[Address], bool] | None) -> Any:
    """The protocol for a client at ``peer``; None: reset it.

    A fault in ``admit`` or ``factory`` is logged and costs this client only.
    """
    try:
        if admit is None or admit(peer):
            return factory.buildProtocol(peer)
    except Exception:
        log.failure("a client could not be served; it is reset")
    return None


class Shortage:
    """Says that clients cannot be accepted, or not served, for all listeners of an engine together, and not too often.

    Args:
        clock: Monotonic seconds.
    """

    __slots__ = ("_clock", "_faults_quiet_until", "_quiet_until")

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._quiet_until = self._faults_quiet_until = 0.0

    def tell(self, address: Address, error: OSError) -> None:
        """``error`` came from accepting at ``address``."""
        now = self._clock()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET_SECONDS
            log.warn(
                "{address} cannot accept: {error}; trying again every second, and saying so every {seconds:.0f}",
                address=str(address),
                error=error,
                seconds=QUIET_SECONDS,
            )

    def survive(self, address: Address) -> None:
        """A fault of ours keeps us from serving a client of ``address``; for ``except`` blocks."""
        now = self._clock()
        if now >= self._faults_quiet_until:
            self._faults_quiet_until = now + QUIET_SECONDS
            log.failure(
                "a client of {address} could not be served; it is reset; saying so at most every {seconds:.0f} seconds",
                address=str(address),
                seconds=QUIET_SECONDS,
            )
