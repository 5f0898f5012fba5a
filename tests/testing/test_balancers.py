"""The balancer in the memory network is a real one."""

from __future__ import annotations

import pytest

from nodebalancer.model import Protocol
from nodebalancer.testing.balancers import NODES, MemoryBalancer


def test_clients_and_nodes_are_the_tests_own() -> None:
    lb = MemoryBalancer(Protocol.TCP, 2)
    clients = [lb.client(b"a"), lb.client(b"b")]
    assert [bytes(lb.node(number).received) for number in (1, 2)] == [b"a", b"b"]
    assert lb.outcomes == {}
    for client in clients:
        client.reset()
    lb.advance(1)
    assert lb.outcomes == {"client_left": 2}
    lb.check_at_rest()


def test_what_is_still_open_is_not_at_rest() -> None:
    """A check that cannot fail would be worth nothing."""
    lb = MemoryBalancer(Protocol.TCP)
    lb.client(b"a")
    with pytest.raises(AssertionError):
        lb.check_at_rest()


def test_bytes_may_come_in_pieces() -> None:
    lb = MemoryBalancer(Protocol.TCP, pieces=1)
    lb.client(b"abc")
    assert lb.node().received == b"abc"


def test_nodes_are_at_known_addresses() -> None:
    lb = MemoryBalancer(Protocol.HTTP, 3)
    assert [member.node.address for member in lb.live.pool.members.values()] == list(NODES[:3])
