"""What the connections of a config share."""

from __future__ import annotations

import errno

import pytest

from nodebalancer.model import Protocol
from nodebalancer.proxy.live import HTTPDate
from nodebalancer.testing.balancers import NODES, MemoryBalancer
from nodebalancer.testing.exchanges import CHUNKED, GET
from nodebalancer.testing.logs import logged


def test_a_dead_node_under_load_does_not_fill_the_log() -> None:
    """One line for each node in ten seconds, however many clients come."""
    lb = MemoryBalancer(Protocol.TCP, 2, check_passive=False)
    lb.network.fail(NODES[0], errno.ECONNREFUSED)
    with logged("[nodes www/main] n1") as lines:
        for _ in range(20):
            lb.client(b"x")
        assert lines == ["[nodes www/main] n1 (10.0.0.1:8080) cannot be reached: connection refused"]
        lb.advance(11)
        for _ in range(20):
            lb.client(b"x")
        assert len(lines) == 2


def test_a_failure_that_takes_the_node_out_is_told_by_its_status_alone() -> None:
    lb = MemoryBalancer(Protocol.TCP, 2)
    lb.network.fail(NODES[0], errno.ECONNREFUSED)
    with logged() as lines:
        for _ in range(20):
            lb.client(b"x")
    assert lb.live.pool.members["n1"].reason == "a connection failed: connection refused"
    assert lines == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL])
def test_a_fault_of_ours_says_that_the_node_is_not_to_blame(number: int) -> None:
    lb = MemoryBalancer(Protocol.TCP, 1)
    lb.network.fail(NODES[0], number)
    with logged() as lines:
        lb.client(b"x")
    (line,) = lines
    assert "a fault of this machine, not the node's" in line


@pytest.mark.parametrize("sent", [b"SSH-2.0\r\n", CHUNKED + b"what?\r\n"])
def test_a_node_that_speaks_no_http_is_named_and_counted(sent: bytes) -> None:
    """A 502 at 3 a.m.: the log says which node broke which rule."""
    lb = MemoryBalancer(Protocol.HTTP, 1)
    lb.client(GET)
    lb.node().send(sent)
    with logged() as lines:
        lb.pump()
    (line,) = lines
    assert line.startswith("[nodes www/main] n1 (10.0.0.1:8080) answered what is no HTTP response (")
    assert "RFC 9112" in line
    assert sum(lb.live.counters.refused_by_rule.values()) == 1


def test_the_date_is_formatted_once_a_second() -> None:
    """RFC 9110 5.6.7, and cheap."""
    wall = 784111777.9
    date = HTTPDate(lambda: wall)
    first = date()
    assert first == b"Sun, 06 Nov 1994 08:49:37 GMT"
    wall = 784111777.99
    assert date() is first
    wall = 784111778.0
    assert date() == b"Sun, 06 Nov 1994 08:49:38 GMT"
