"""What the connections of a config share."""

from __future__ import annotations

import errno
from typing import cast

import pytest
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from nodebalancer.model import Protocol
from nodebalancer.proxy.live import HTTPDate
from nodebalancer.testing.balancers import NODES, MemoryBalancer


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
        assert first[0]["log_format"].format(**first[0]) == (
            "[nodes www/main] n1 (10.0.0.1:8080) cannot be reached: connection refused"
        )
        lb.advance(11)
        for _ in range(20):
            lb.client(b"x")
        assert len([line for line in lines if line.get("name") == "n1"]) == 2
    finally:
        globalLogPublisher.removeObserver(observer)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EADDRNOTAVAIL])
def test_a_fault_of_ours_says_that_the_node_is_not_to_blame(number: int, logged_errors: object) -> None:
    lb = MemoryBalancer(Protocol.TCP, 1)
    lb.network.fail(NODES[0], number)
    lb.client(b"x")
    (event,) = logged_errors()  # type: ignore[operator]
    assert "not to blame" in event["log_format"]


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
