"""Whatever happens to connections, in whatever order: each ends, once, and nothing is left open."""

from __future__ import annotations

import errno
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.model import Protocol
from nodebalancer.testing.balancers import NODES, MemoryBalancer
from nodebalancer.testing.exchanges import CHUNKED, GET, OK, SWITCHING, UPGRADE, post

FROM_CLIENT = [
    GET,
    UPGRADE,
    GET[:20],
    GET[20:],
    post(b"abc"),
    post(b"a", 100_000),
    b"x" * 70_000,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"\x16\x03\x01",
    b"HEAD / HTTP/1.0\r\n\r\n",
]

FROM_NODE = [
    OK,
    OK[:10],
    OK[10:],
    OK[:-2],
    CHUNKED,
    SWITCHING,
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"x" * 70_000,
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
    b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    b"SSH-2.0\r\n",
]

ACTIONS = st.one_of(
    st.tuples(st.just("connect"), st.none()),
    st.tuples(st.just("client send"), st.sampled_from(FROM_CLIENT)),
    st.tuples(st.just("node send"), st.sampled_from(FROM_NODE)),
    st.tuples(st.sampled_from(["client", "node"]), st.sampled_from(["half_close", "close", "reset", "stop", "go"])),
    st.tuples(st.just("dials"), st.sampled_from(["slow", "refused", "blackholed", "healed"])),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.5, 2.0, 11.0, 61.0, 301.0])),
)


def act(lb: MemoryBalancer, kind: str, what: Any) -> None:
    clients, nodes = lb.clients, lb.accepted[0]
    if kind == "connect":
        clients.append(lb.network.client(lb.address))
    elif kind == "advance":
        lb.advance(what)
    elif kind == "dials":
        lb.network.heal(NODES[0])
        if what == "slow":
            lb.network.slow(NODES[0], 1)
        elif what == "blackholed":
            lb.network.blackhole(NODES[0])
        elif what == "refused":
            lb.network.fail(NODES[0], errno.ECONNREFUSED)
    elif peers := clients if kind.startswith("client") else nodes:
        peer = peers[-1]
        if isinstance(what, bytes):
            peer.send(what)
        elif what in ("stop", "go"):
            peer.reading = what == "go"
        else:
            getattr(peer, what)()


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([Protocol.HTTP, Protocol.TCP]),
    st.sampled_from([None, 1000, [1, 50_000]]),
    st.lists(st.tuples(ACTIONS, st.booleans()), min_size=2, max_size=14),
)
def test_every_connection_ends_once_and_leaves_nothing_open(
    protocol: Protocol, pieces: Any, actions: list[tuple[tuple[str, Any], bool]]
) -> None:
    """Outcomes add up, every pick is released, no error is logged, however wildly both sides behave."""
    lb = MemoryBalancer(protocol, pieces=pieces, timeout_tunnel=60)
    act(lb, "connect", None)
    for (kind, what), pump in actions:
        act(lb, kind, what)
        if pump:
            lb.pump()
    for _ in range(8):
        lb.advance(301)
    lb.check_at_rest()
