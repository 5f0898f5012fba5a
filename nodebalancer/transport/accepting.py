"""Whether a client that the engine has accepted is served, and by which protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from nodebalancer.fields import Address
from nodebalancer.transport.engine import Factory

log = Logger()


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
