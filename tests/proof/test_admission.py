"""Twelve thousand clients that send half a request, and a machine that is paused: who is served, and who is not cut off."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodebalancer.process.limits import raise_descriptors
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, balancer, free_port, nginx, redis, wait_until

pytestmark = [pytest.mark.proof, pytest.mark.integration]

STALLED = 12_000
"""As many as ``max_connections``, so that all are taken. Each is one descriptor here and one there, since no node is dialled
for it: both processes stay below 20,000, where some machines have their hard limit."""

FRESH = 50
CLIENTS = 600
"""More than one turn of the loop serves."""

PAUSE_SECONDS = 40

HTTP = """\
[nodebalancer www]
listen = 127.0.0.1
max_connections = {limit}

[config www/web]
port = {port}
timeout_request = 300

[nodes www/web]
web = 127.0.0.1:{node}
"""

TCP = """\
[nodebalancer db]
listen = 127.0.0.1

[config db/redis]
port = {port}
protocol = tcp
check = connection
check_interval = 2
check_timeout = 1
check_attempts = 1
timeout_tunnel = {seconds}

[nodes db/redis]
redis = 127.0.0.1:{node}
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def ask(port: int) -> float:
    """Seconds that a fresh client waits for its whole answer."""
    began = time.perf_counter()
    with socket.create_connection((LOOPBACK, port), HANG_SECONDS) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.endswith(b"served")
    return time.perf_counter() - began


def test_a_fresh_client_is_served_within_a_second_while_all_connections_are_stalled(
    tmp_path: Path, stack: ExitStack, tell: Callable[[str], None]
) -> None:
    """R3. Stalled clients come from 48 addresses of loopback."""
    if raise_descriptors(STALLED + 500) < STALLED + 500:
        pytest.skip(f"this machine does not give a process {STALLED + 500} descriptors")
    node, node_port = nginx(tmp_path, 'location / { return 200 "served"; }')
    stack.enter_context(node)
    port = free_port()
    program = stack.enter_context(balancer(tmp_path, HTTP.format(limit=STALLED, port=port, node=node_port), [port]))
    for number in range(STALLED):
        source = f"127.0.1.{number % 48 + 1}"
        client = stack.enter_context(socket.create_connection((LOOPBACK, port), HANG_SECONDS, (source, 0)))
        client.sendall(b"GET / HTTP/1.1\r\nHost: slow\r\n")
    wait_until(lambda: program.descriptors()["socket"] >= STALLED, "all stalled clients to be accepted")
    waits = sorted(ask(port) for _ in range(FRESH))
    tell(
        f"{STALLED} stalled: {FRESH} fresh clients waited {waits[FRESH // 2] * 1000:.1f} ms in the middle and "
        f"{waits[-1] * 1000:.1f} ms at most; memory {program.resident_bytes() / 2**20:.0f} MiB\n"
    )
    assert waits[-1] < 1.0
    assert "Traceback" not in program.output


def test_a_balancer_that_was_stopped_takes_no_node_out_and_cuts_nobody(
    tmp_path: Path, stack: ExitStack, tell: Callable[[str], None]
) -> None:
    """Stopped for far longer than probes and clients may be silent; clients that have sent meanwhile were not silent."""
    node, node_port = redis(tmp_path)
    stack.enter_context(node)
    port = free_port()
    ini = TCP.format(port=port, node=node_port, seconds=PAUSE_SECONDS // 2)
    program = stack.enter_context(balancer(tmp_path, ini, [port]))
    wait_until(lambda: "redis is UP" in program.output, "the first probe")
    clients = [stack.enter_context(socket.create_connection((LOOPBACK, port), HANG_SECONDS)) for _ in range(CLIENTS)]
    for client in clients:
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"
    for _ in range(3):
        program.send(signal.SIGSTOP)
        time.sleep(PAUSE_SECONDS / 2)
        for client in clients:
            client.sendall(b"PING\r\n")
        time.sleep(PAUSE_SECONDS / 2)
        program.send(signal.SIGCONT)
        for client in clients:
            assert client.recv(100) == b"+PONG\r\n"
        time.sleep(3)
    assert re.findall(r"redis is (\w+)", program.output) == ["UP"]
    for client in clients:
        client.sendall(b"PING\r\n")
        assert client.recv(100) == b"+PONG\r\n"
    assert "Traceback" not in program.output
    tell(
        f"stopped three times for {PAUSE_SECONDS} s: no node was taken out, {len(clients)} of {len(clients)} clients stayed\n"
    )
