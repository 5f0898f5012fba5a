"""What the connections of a config share."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher

from nodebalancer.model import Protocol
from nodebalancer.proxy.live import HTTPDate
from nodebalancer.testing.balancers import NODES, MemoryBalancer
from nodebalancer.testing.exchanges import CHUNKED, GET


def test_a_dead_node_under_load_does_not_fill_the_log() -> None:
    """One line for each node in ten seconds, however many clients come."""
    lines: list[LogEvent] = []
    observer = cast(ILogObserver, lines.append)
    lb = MemoryBalancer(Protocol.TCP, 2)
    lb.network.fail(NODES[0], errno.ECONNREFUSED)
    globalLogPublisher.addObserver(observer)
    try:
        for _ in range(20):
            lb.client(b"x")
        first = [line for line in lines if line.get("name") == "n1"]
        assert len(first) == 1
        assert formatEvent(first[0]) == "[nodes www/main] n1 (10.0.0.1:8080) cannot be reached: connection refused"
        lb.advance(11)
        for _ in range(20):
            lb.client(b"x")
        assert len([line for line in lines if line.get("name") == "n1"]) == 2
    finally:
        globalLogPublisher.removeObserver(observer)


def lines_of(lb: MemoryBalancer, happen: Callable[[], object]) -> list[str]:
    """What is logged while something happens."""
    lines: list[LogEvent] = []
    observer = cast(ILogObserver, lines.append)
    globalLogPublisher.addObserver(observer)
    try:
        happen()
    finally:
        globalLogPublisher.removeObserver(observer)
    return [formatEvent(line) for line in lines if line.get("path") == lb.live.path]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL])
def test_a_fault_of_ours_says_that_the_node_is_not_to_blame(number: int) -> None:
    lb = MemoryBalancer(Protocol.TCP, 1)
    lb.network.fail(NODES[0], number)
    (line,) = lines_of(lb, lambda: lb.client(b"x"))
    assert "a fault of this machine, not the node's" in line


@pytest.mark.parametrize("sent", [b"SSH-2.0\r\n", CHUNKED + b"what?\r\n"])
def test_a_node_that_speaks_no_http_is_named_and_counted(sent: bytes) -> None:
    """A 502 at 3 a.m.: the log says which node broke which rule."""
    lb = MemoryBalancer(Protocol.HTTP, 1)
    lb.client(GET)
    lb.node().send(sent)
    (line,) = lines_of(lb, lb.pump)
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
