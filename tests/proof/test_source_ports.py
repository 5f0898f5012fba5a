"""Connections to nodes leave no source port behind."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from pathlib import Path

import pytest

from nodebalancer.testing.namespaces import available, own_network
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, balancer, free_port, nginx

pytestmark = [
    pytest.mark.proof,
    pytest.mark.integration,
    pytest.mark.skipif(not available(), reason="needs the right to make a network"),
]

EIGHT_PORTS = {"net.ipv4.ip_local_port_range": "32000 32007"}
REQUESTS = 500

INI = """\
[nodebalancer www]
listen = 127.0.0.1
max_connections = 100

[config www/web]
port = {port}

[nodes www/web]
one = 127.0.0.1:{one}
"""


def status(port: int, source: int) -> int:
    """Ask for ``/`` from a port outside of the eight, which are for the balancer alone."""
    client = http.client.HTTPConnection(LOOPBACK, port, timeout=HANG_SECONDS, source_address=(LOOPBACK, source))
    client.request("GET", "/")
    answer = client.getresponse()
    answer.read()
    client.close()
    return answer.status


def waiting(port: int) -> int:
    """Connections to ``port`` whose source port is held in TIME_WAIT on our side."""
    fields = (line.split() for line in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:])
    return sum(field[2].endswith(f":{port:04X}") and field[3] == "06" for field in fields)


def test_five_hundred_requests_in_a_row_fit_into_eight_source_ports(
    tmp_path: Path, tell: Callable[[str], None]
) -> None:
    with own_network(EIGHT_PORTS):
        node, one = nginx(tmp_path, "location / { return 200 served; }")
        port = free_port()
        with node, balancer(tmp_path, INI.format(port=port, one=one), [port]):
            before = waiting(one)  # the look whether the node answers
            statuses = [status(port, 10000 + number) for number in range(REQUESTS)]
            left = waiting(one) - before
    tell(f"{statuses.count(200)} of {REQUESTS} served with 8 source ports, {left} left in TIME_WAIT")
    assert statuses == [200] * REQUESTS
    assert left <= 0
