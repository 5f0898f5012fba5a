"""A client that does not read stops its node, and costs us next to no memory."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer, free_port, nginx, wait_until

pytestmark = pytest.mark.integration

INI = """\
[nodebalancer www]
listen = 127.0.0.1
max_connections = 100

[config www/web]
port = {port}
protocol = {protocol}

[nodes www/web]
one = 127.0.0.1:{one}
"""

CLIENTS = 10
FILE_BYTES = 100_000_000
"""A file with holes, so it takes no room on the disk; all clients together ask for a gigabyte."""

GROWTH_BYTES = 10_000_000
"""Ten clients at their worst may have 64 KiB each way; the interpreter takes what it takes."""


def come_to_rest(program: Program) -> None:
    """Return when the program has used next to no processor time for half a second: it waits for somebody."""
    seen = -1

    def rests() -> bool:
        nonlocal seen
        before, seen = seen, program.processor_ticks()
        time.sleep(0.5)
        return seen - before <= 1  # the coarse tick of the deadlines goes on

    wait_until(rests, f"{program.pid} to have nothing to do")


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_clients_that_do_not_read_do_not_fill_our_memory(tmp_path: Path, protocol: str) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(FILE_BYTES)
    one, one_port = nginx(tmp_path, f"root {tmp_path}; sendfile on;")
    port = free_port()
    with one, balancer(tmp_path, INI.format(port=port, protocol=protocol, one=one_port), [port]) as program:
        before = program.resident_bytes()
        clients = [socket.create_connection((LOOPBACK, port), HANG_SECONDS) for _ in range(CLIENTS)]
        try:
            for client in clients:
                client.sendall(b"GET /big HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            for client in clients:
                assert client.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
            come_to_rest(program)
            assert program.resident_bytes() - before < GROWTH_BYTES
        finally:
            for client in clients:
                client.close()
