"""Hundreds of clients that do not read: each costs its two bounded buffers at most."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nodebalancer.process.limits import CONNECTION_BYTES
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer, free_port, nginx, wait_until

pytestmark = [pytest.mark.proof, pytest.mark.integration]

CLIENTS = 300

INI = """\
[nodebalancer www]
listen = 127.0.0.1
max_connections = 1000

[config www/web]
port = {port}
protocol = {protocol}

[nodes www/web]
one = 127.0.0.1:{one}
"""


def come_to_rest(program: Program) -> None:
    """Return when the program has used next to no processor time for a second: it waits for somebody."""
    seen = -1

    def rests() -> bool:
        nonlocal seen
        before, seen = seen, program.processor_ticks()
        time.sleep(1)
        return seen - before <= 1  # the coarse tick of the deadlines goes on

    wait_until(rests, f"{program.pid} to have nothing to do")


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_what_check_says_of_memory_holds(tmp_path: Path, protocol: str, tell: Callable[[str], None]) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(2**30)
    node, one = nginx(tmp_path, f"root {tmp_path}; sendfile on;")
    port = free_port()
    with node, balancer(tmp_path, INI.format(port=port, protocol=protocol, one=one), [port]) as program:
        before = program.resident_bytes()
        program.forget_peak()
        clients = [socket.create_connection((LOOPBACK, port), HANG_SECONDS) for _ in range(CLIENTS)]
        try:
            for client in clients:
                client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            for client in clients:
                assert client.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
            come_to_rest(program)
            growth = program.peak_bytes() - before
        finally:
            for client in clients:
                client.close()
    tell(f"{protocol}: {CLIENTS} clients that do not read cost {growth / CLIENTS / 1024:.1f} KiB each")
    assert growth < CLIENTS * CONNECTION_BYTES
