"""Why a client is served as it is: what would happen to it now, and what has happened when it was not served."""

from __future__ import annotations

import ipaddress
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import attrs

from nodebalancer.balancing.member import Member, Status
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Pool
from nodebalancer.control.manhole.views import IClientSide, ILiveConfig
from nodebalancer.model import Mode

UNSERVED_MAX: Final = 100
"""Connections that are remembered for each config."""

States = tuple[tuple[str, Mode, Status], ...]
"""Nodes and how they were."""


@attrs.frozen
class Unserved:
    """A connection that has ended and was not served.

    Attributes:
        at: When, seconds since the epoch.
        config: ``www/secure``.
        client: Its address.
        outcome: How it ended.
        node: The name of the node that it had at its end; empty: none.
        tried: Names of the nodes that could not be reached for it.
        nodes: All nodes of the config and how they were then.
    """

    at: float
    config: str
    client: str
    outcome: Outcome
    node: str
    tried: tuple[str, ...]
    nodes: States


class UnservedRing:
    """The newest connections that were not served, for each config.

    What it remembers of a config is dropped when the config has left, by ``keep``.

    Args:
        at: The wall clock, seconds since the epoch.
    """

    def __init__(self, at: Callable[[], float] = time.time) -> None:
        self._at = at
        self._kept: dict[str, deque[Unserved]] = {}
        # Of each pool how its nodes were when this was last asked, and when that was in its own count of changes.
        self._states: dict[str, tuple[Pool, int, States]] = {}

    def note(self, config: str, pool: Pool, connection: IClientSide, outcome: Outcome) -> None:
        """A connection has ended by ``outcome``, which is not ``SERVED``."""
        kept = self._kept.get(config)
        if kept is None:
            kept = self._kept[config] = deque(maxlen=UNSERVED_MAX)
        member = connection.member
        kept.append(
            Unserved(
                self._at(),
                config,
                connection.peer,
                outcome,
                "" if member is None else member.node.name,
                tuple(member.node.name for member in connection.tried),
                self._states_of(config, pool),
            )
        )

    def of(self, client: str) -> tuple[Unserved, ...]:
        """Those of a client, the oldest first."""
        found = (each for kept in self._kept.values() for each in kept if each.client == client)
        return tuple(sorted(found, key=lambda each: each.at))

    def keep(self, configs: Iterable[str]) -> None:
        """Forget what was with other configs than these."""
        for gone in self._kept.keys() - set(configs):
            del self._kept[gone]
            del self._states[gone]

    def _states_of(self, config: str, pool: Pool) -> States:
        """Made anew only when something has changed: a thousand nodes for each of a flood of bad requests would be dear."""
        known = self._states.get(config)
        if known is None or known[0] is not pool or known[1] != pool.changes:
            states = tuple((name, member.node.mode, member.status) for name, member in pool.members.items())
            known = self._states[config] = pool, pool.changes, states
        return known[2]


@attrs.frozen
class Prospect:
    """What would happen to a client that connects to a config now. Nothing is counted, and nobody's turn is taken.

    Attributes:
        config: ``www/secure``.
        firewall: What the firewall says; empty: there is none.
        throttle: How many connections it may make at once; empty: as many as it likes.
        cap: How many connections there are, of how many.
        stickiness: Which node it sticks to, and by what; empty: clients are not held.
        fate: What comes of it: the node it would get, or why it gets none.
    """

    config: str
    firewall: str
    throttle: str
    cap: str
    stickiness: str
    fate: str


def client_of(text: str) -> str:
    """An address in the one spelling that is used everywhere.

    Raises:
        ValueError: It is none; with a sentence.
    """
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise ValueError(f"{text!r} is no IP address such as 203.0.113.7 or 2001:db8::1") from None
    return str(getattr(address, "ipv4_mapped", None) or address)


def prospect(live: ILiveConfig, client: str, cookie: bytes) -> Prospect:
    """What would happen to ``client`` in this config, if it came with ``cookie`` as its ``NB_SRVID`` (empty: none)."""
    now = live.engine.now
    gate, pool = live.gate, live.pool
    firewalled = live.admitted is not None and client not in live.admitted
    left = gate.throttle.left(client, now) if gate.throttle.rate else None
    mine = gate.counts.open(client) if gate.counts.limit else 0
    full_for_client = gate.counts.limit and mine >= gate.counts.limit
    full = gate.open >= gate.limit and not gate.headless
    held, member = pool.foresee(client, now, cookie)
    if firewalled:
        fate = "refused by the firewall"
    elif left == 0:
        fate = "refused by the throttle"
    elif full_for_client:
        fate = "refused: too many connections of this client"
    elif full:
        fate = "waits until another connection ends"
    elif live.wanted.redirect.value != "none":
        fate = "is sent to https"
    else:
        fate = "no node can take it" if member is None else f"gets {member.node.name}"
    return Prospect(
        live.path,
        "" if live.admitted is None else "refuses" if firewalled else "lets in",
        "" if left is None else f"{left} of {gate.throttle.burst}",
        f"{gate.open} of {gate.limit}" + (f", {mine} of {gate.counts.limit} its own" if gate.counts.limit else ""),
        _stickiness(live, held),
        fate,
    )


def _stickiness(live: ILiveConfig, held: Member | None) -> str:
    how = live.wanted.stickiness.value
    if how == "none":
        return ""
    return f"{how}: {'no node yet' if held is None else held.node.name}"
