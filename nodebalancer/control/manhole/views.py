"""What runs, as values: a look at the data plane that can be printed, compared and sent elsewhere.

The data plane is a room that we do not know. The protocols here say what we read of it, and ``process`` hands it in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

import attrs

from nodebalancer.balancing.clients import ClientSet
from nodebalancer.balancing.counters import ConfigCounters
from nodebalancer.balancing.member import Member, Status
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Pool
from nodebalancer.balancing.throttle import ClientCounts, Throttle
from nodebalancer.control.manhole.tables import moment, size
from nodebalancer.fields import Address
from nodebalancer.model import Mode, PortConfig


class IClientSide(Protocol):
    """A client's connection."""

    @property
    def peer(self) -> str:
        """The client's address, normalised."""

    @property
    def member(self) -> Member | None:
        """The node it has, if it has one now."""

    @property
    def tried(self) -> Collection[Member]:
        """Nodes that could not be reached for it."""

    @property
    def transport(self) -> Any:
        """Of it ``active_at``: when bytes went in or out last, monotonic seconds."""


class IGate(Protocol):
    """What stands before a NodeBalancer."""

    open: int
    limit: int
    headless: dict[Any, None]
    throttle: Throttle
    counts: ClientCounts


class IEngine(Protocol):
    """Has the time."""

    @property
    def now(self) -> float:
        """Monotonic seconds."""


class ILiveConfig(Protocol):
    """A config as it runs."""

    path: str
    wanted: PortConfig
    pool: Pool
    counters: ConfigCounters
    admitted: ClientSet | None

    @property
    def engine(self) -> IEngine:
        """Has the time."""

    @property
    def gate(self) -> IGate:
        """Its NodeBalancer's."""

    @property
    def connections(self) -> Collection[IClientSide]:
        """Those that are open or still closing, the oldest first."""


class IDataPlane(Protocol):
    """Everything that carries traffic."""

    @property
    def configs(self) -> Mapping[tuple[str, str], ILiveConfig]:
        """Every config at work, by NodeBalancer's and config's name."""

    @property
    def leaving(self) -> Iterable[ILiveConfig]:
        """Configs that were removed and still have connections."""


@attrs.frozen
class NodeView:
    """A node.

    Attributes:
        path: ``www/secure/app-1``.
        status: As it is shown: a node that is rejected is DOWN.
        since: When the status changed last, seconds since the epoch.
        why: Why it is what it is; empty while nothing was seen.
        takes: Whether any client may get it now.
        open: Connections there now.
        total: Connections there ever, by way of picks.
        flaps: Changes of status.
        bytes_in: From clients whose connections have ended there; ``bytes_out``: to them.
    """

    path: str
    address: Address
    mode: Mode
    weight: int
    status: Status
    since: float
    why: str
    takes: bool
    open: int
    total: int
    flaps: int
    bytes_in: int
    bytes_out: int


@attrs.frozen
class ConfigView:
    """A config.

    Attributes:
        path: ``www/secure``.
        protocol: And port: ``https :443``.
        nodes: In the order of the file.
        open: Clients' connections now; ``total``: ever.
        bytes_in: From clients whose connections have ended; ``bytes_out``: to them.
        unserved: Ended connections that were not served.
    """

    path: str
    protocol: str
    nodes: tuple[NodeView, ...]
    open: int
    total: int
    bytes_in: int
    bytes_out: int
    unserved: int


@attrs.frozen
class Line:
    """A row of ``status()``: a NodeBalancer, a config or a node.

    Attributes:
        name: As verbs take it: ``www``, ``www/secure``, ``www/secure/app-1``.
        mode: Of a node; of a config protocol and port.
        weight: Of a node; else empty, as are ``since`` and ``why``.
        status: Of a node; of what has nodes how many are up and down, and how many take clients if not all that are up do.
        bytes_in: Received from clients whose connections have ended; ``bytes_out``: handed to them.
    """

    name: str
    mode: str
    weight: int | str
    status: str
    since: str
    open: int
    total: int
    bytes_in: str
    bytes_out: str
    why: str


@attrs.frozen
class ConnectionView:
    """An open connection.

    Attributes:
        config: ``www/secure``.
        client: Its address.
        node: The name of the node it has; empty: none, or none any more.
        idle: Seconds since bytes went in or out on the client's side.
    """

    config: str
    client: str
    node: str
    idle: float


def look_at(plane: IDataPlane) -> tuple[ConfigView, ...]:
    """Every config and its nodes, those that are leaving last."""
    return tuple(map(view_of, (*plane.configs.values(), *plane.leaving)))


def view_of(live: ILiveConfig) -> ConfigView:
    """A config and its nodes."""
    counters, wanted = live.counters, live.wanted
    takers = live.pool.takers()
    return ConfigView(
        live.path,
        f"{wanted.protocol.value} :{wanted.port}",
        tuple(node_view(live.path, member, member in takers) for member in live.pool.members.values()),
        counters.open,
        counters.total,
        counters.bytes_in,
        counters.bytes_out,
        sum(counters.outcomes) - counters.outcomes[Outcome.SERVED],
    )


def node_view(config: str, member: Member, takes: bool) -> NodeView:
    """A node of the config whose path is ``config``."""
    node = member.node
    # A probe may find it well all the same, and why it was as it was before says nothing about now.
    why = "mode reject" if node.mode is Mode.REJECT else member.reason
    return NodeView(
        f"{config}/{node.name}",
        node.address,
        node.mode,
        node.weight,
        member.shown,
        member.since,
        why,
        takes,
        member.open,
        member.picks,
        member.flaps,
        member.bytes_in,
        member.bytes_out,
    )


def connections_of(plane: IDataPlane, of: str, limit: int) -> tuple[tuple[ConnectionView, ...], int]:
    """The oldest connections, at most ``limit``, and how many there are.

    Args:
        plane: Whose.
        of: Only those of this NodeBalancer, config, node (``www``, ``www/secure``, ``www/secure/app-1``) or client.
        limit: To look at more costs more, and traffic waits meanwhile.
    """
    found = _connections(plane, of)
    first = tuple(islice(found, limit))
    return first, len(first) + sum(1 for _ in found)


def _connections(plane: IDataPlane, of: str) -> Iterator[ConnectionView]:
    for live in (*plane.configs.values(), *plane.leaving):
        now = live.engine.now
        for connection in live.connections:
            node = "" if connection.member is None else connection.member.node.name
            path = f"{live.path}/{node}"
            if of == connection.peer or within(path, of):
                yield ConnectionView(live.path, connection.peer, node, now - connection.transport.active_at)


def health(nodes: Iterable[NodeView]) -> str:
    """``2 up / 1 down``, how many are unknown when there are some, and how many take clients when it is none or fewer than are up."""
    seen = list(nodes)
    counts = Counter(node.status for node in seen)
    unknown = f" / {counts[Status.UNKNOWN]} unknown" if counts[Status.UNKNOWN] else ""
    takers = sum(node.takes for node in seen)
    few = f", {takers} of {len(seen)} take clients" if seen and takers < max(counts[Status.UP], 1) else ""
    return f"{counts[Status.UP]} up / {counts[Status.DOWN]} down{unknown}{few}"


def status_lines(configs: Collection[ConfigView]) -> Iterator[Line]:
    """A line for each NodeBalancer, followed by those of its configs and their nodes."""
    owners = dict.fromkeys(view.path.partition("/")[0] for view in configs)
    for owner in owners:
        ours = [view for view in configs if within(view.path, owner)]
        yield Line(
            owner,
            "",
            "",
            health(node for view in ours for node in view.nodes),
            "",
            sum(view.open for view in ours),
            sum(view.total for view in ours),
            size(sum(view.bytes_in for view in ours)),
            size(sum(view.bytes_out for view in ours)),
            "",
        )
        for view in ours:
            yield from config_lines(view)


def config_lines(view: ConfigView) -> Iterator[Line]:
    """A line for a config, followed by those of its nodes."""
    total_in, total_out = size(view.bytes_in), size(view.bytes_out)
    why = f"{view.unserved} not served" if view.unserved else ""
    yield Line(view.path, view.protocol, "", health(view.nodes), "", view.open, view.total, total_in, total_out, why)
    for node in view.nodes:
        status, since = node.status.value, moment(node.since)
        node_in, node_out = size(node.bytes_in), size(node.bytes_out)
        mode = node.mode.value
        yield Line(node.path, mode, node.weight, status, since, node.open, node.total, node_in, node_out, node.why)


def within(path: str, of: str) -> bool:
    """Whether ``path`` is ``of`` or below it; everything is below the empty one."""
    return not of or f"{path}/".startswith(f"{of.rstrip('/')}/")
