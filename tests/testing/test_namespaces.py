"""A network of its own is really apart."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nodebalancer.testing.namespaces import Segment, available, own_network
from nodebalancer.testing.nodes import LOOPBACK, answers, free_port

needs_a_network = pytest.mark.skipif(not available(), reason="this process may not make networks")
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@needs_a_network
def test_what_listens_outside_is_not_there_inside_and_is_there_again_afterwards() -> None:
    with socket.create_server((LOOPBACK, free_port())) as server:
        port = server.getsockname()[1]
        with own_network():
            assert not answers(port)
            with socket.create_server((LOOPBACK, port)):
                assert answers(port)
        assert answers(port)


@needs_a_network
def test_kernel_settings_hold_inside_only() -> None:
    outside = RANGE.read_text()
    with own_network({"net.ipv4.ip_local_port_range": "20000 20007"}):
        assert RANGE.read_text().split() == ["20000", "20007"]
    assert outside == RANGE.read_text()


@needs_a_network
def test_a_test_that_fails_inside_leaves_the_network_behind() -> None:
    outside = RANGE.read_text()
    with pytest.raises(FileNotFoundError), own_network({"net.no.such.setting": "1"}):
        pass
    assert outside == RANGE.read_text()


@needs_a_network
def test_hosts_of_a_segment_reach_each_other_until_a_cable_is_pulled() -> None:
    with Segment() as segment:
        segment.add("one", "192.0.2.1/24")
        segment.add("other", "192.0.2.2/24")
        with segment.on("one"):
            listening = socket.create_server(("192.0.2.1", 80))
        with listening, segment.on("other"):
            socket.create_connection(("192.0.2.1", 80), timeout=5).close()
            segment.unplug("one")
            with pytest.raises(TimeoutError):
                socket.create_connection(("192.0.2.1", 80), timeout=0.05)
