"""A host without IPv6."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import Program, free_port, in_own_state, run, twistd_command, twistd_environment
from nodebalancer.testing.without_ipv6 import SOCKET_CALL

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(platform.machine() not in SOCKET_CALL, reason="no such filter for this machine"),
]


def command(directory: Path, listen: str, port: int) -> list[str]:
    """Ourselves on such a host."""
    file = directory / "nodebalancer.ini"
    ini = (
        f"[nodebalancer www]\nlisten = {listen}\nmax_connections = 100\n"
        f"[config www/web]\nport = {port}\n[nodes www/web]\na = 127.0.0.1:9\n"
    )
    file.write_text(in_own_state(directory, ini))
    twistd = twistd_command("-n", "--pidfile=", "nodebalancer", "--config", str(file))
    return [sys.executable, "-m", "nodebalancer.testing.without_ipv6", *twistd]


def test_everything_else_listens_and_a_warning_says_what_does_not(tmp_path: Path) -> None:
    port = free_port()
    argv = command(tmp_path, "0.0.0.0, ::", port)
    with Program(argv, tmp_path, "balancer", [port], twistd_environment()) as program:
        assert program.stop() == 0
        [warning] = [line for line in program.output.splitlines() if f"[::]:{port}" in line]
        assert "going on without it" in warning
        assert f"listening on 0.0.0.0:{port} for [config www/web], 1 node\n" in program.output


def test_where_ipv6_is_all_that_is_wanted_the_start_fails(tmp_path: Path) -> None:
    port = free_port()
    done = run(tmp_path, command(tmp_path, "::", port))
    assert done.returncode == 1
    assert f"[config www/web] port = {port}: cannot listen on [::]:{port}" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
