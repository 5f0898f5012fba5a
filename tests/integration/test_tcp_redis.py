"""TCP as a user has it: redis behind, its own clients in front."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer, free_port, redis

pytestmark = pytest.mark.integration

INI = """\
[nodebalancer db]
listen = 127.0.0.1
max_connections = 100

[config db/redis]
port = {port}
protocol = tcp

[nodes db/redis]
dead = 127.0.0.1:{dead}
store = 127.0.0.1:{store}
"""


def ini(port: int, store: int) -> str:
    return INI.format(port=port, store=store, dead=free_port())


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where redis answers through the balancer, which has a dead node too."""
    directory = tmp_path_factory.mktemp("redis")
    port = free_port()
    store, store_port = redis(directory)
    with store, balancer(directory, ini(port, store_port), [port]):
        yield str(port)


def test_its_client_speaks_with_redis(port: str) -> None:
    def cli(*arguments: str) -> str:
        return subprocess.run(
            ["redis-cli", "-p", port, *arguments], capture_output=True, text=True, check=True, timeout=HANG_SECONDS
        ).stdout

    assert cli("SET", "colour", "green") == "OK\n"
    assert cli("GET", "colour") == "green\n"


def test_its_benchmark_runs_through(port: str) -> None:
    done = subprocess.run(
        ["redis-benchmark", "-p", port, "-q", "-n", "2000", "-c", "20", "-t", "set,get,lrange_100"],
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_SECONDS,
    )
    assert done.stdout.count("requests per second") >= 3
    assert "Error" not in done.stdout + done.stderr


def test_a_client_that_has_said_all_still_gets_the_whole_answer(tmp_path: Path) -> None:
    """The node is Python's own web server: nginx by itself cuts the answer to a client that has half-closed."""
    content = os.urandom(5_000_000)
    (tmp_path / "big").write_bytes(content)
    port, node = free_port(), free_port()
    serve = [sys.executable, "-m", "http.server", "--bind", LOOPBACK, str(node)]
    with (
        Program(serve, tmp_path, "web", [node]),
        balancer(tmp_path, ini(port, node), [port]),
        socket.create_connection((LOOPBACK, port), HANG_SECONDS) as client,
    ):
        client.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(1 << 20), b""))
    assert answer.partition(b"\r\n\r\n")[2] == content
