"""A TCP port of the control side that follows a setting: the shell's, the metrics'."""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from nodebalancer.errors import Problem
from nodebalancer.fields import Address
from nodebalancer.transport.sockets import why_not

log = Logger()

Place = tuple[Address | None, Any]
"""Where to listen as it was asked for, and a port of the reactor that does."""

NOWHERE: Final[Place] = None, None


class Port:
    """The port that ``[SECTION] listen`` asks for, or none; for a follower, whose verbs these are.

    Args:
        reactor: Where it listens, by ``listenTCP``.
        section: ``manhole``.
        what: Who listens there, for the log: ``the manhole``.
    """

    def __init__(self, reactor: Any, section: str, what: str) -> None:
        self._reactor = reactor
        self._section = section
        self._what = what
        self._now = self._then = NOWHERE

    @property
    def address(self) -> Address | None:
        """Where it listens; None: nowhere."""
        port = self._now[1]
        return None if port is None else Address(port.getHost().host, port.getHost().port)

    def prepare(self, wanted: Address | None, factory: Any) -> tuple[Problem, ...]:
        """Bind, unless that is bound already; nobody is let in by a new port before ``commit``.

        Args:
            wanted: Where to listen; None: nowhere.
            factory: Makes the protocols.
        """
        if wanted == self._now[0]:
            self._then = self._now
            return ()
        self._then = NOWHERE
        if wanted is None:
            return ()
        try:
            port = self._reactor.listenTCP(wanted.port, factory, interface=wanted.host)
        except CannotListenError as e:
            message = f"cannot listen on {wanted}: {why_not(wanted, e.socketError).reason}"
            return (Problem(f"[{self._section}] listen = {wanted}", message, (self._section, "listen")),)
        port.stopReading()
        self._then = wanted, port
        return ()

    def commit(self) -> None:
        """Let clients in there, and nowhere else."""
        before, self._now = self._now, self._then
        if self._now is not before:
            if before[1] is not None:
                before[1].stopListening()
            if self._now[1] is not None:
                self._now[1].startReading()
                log.info("{what} listens on {address}", what=self._what, address=str(self.address))

    def abandon(self) -> None:
        """Close what was bound."""
        if self._then is not self._now and self._then[1] is not None:
            self._then[1].stopListening()
        self._then = self._now

    def stop(self) -> None:
        """Listen no more; who is in stays."""
        if self._now[1] is not None:
            self._now[1].stopListening()
        self._now = self._then = NOWHERE
