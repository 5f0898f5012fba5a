"""Ports below 1024 are bound as root, and traffic is carried as somebody else."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from nodebalancer.testing.namespaces import available, own_network
from nodebalancer.testing.nodes import LOOPBACK, balancer, curl, free_port, nginx, wait_until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0 or not available(), reason="needs root and a network of its own"),
]

INI = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = 80

[nodes www/web]
one = 127.0.0.1:{one}
"""


def users_of(pid: int) -> set[int]:
    """The real, effective, saved and file system user of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Uid:"):
            return set(map(int, line.split()[1:]))
    raise AssertionError(pid)


def test_port_80_is_bound_before_rights_are_given_up(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    with own_network():
        one, port = nginx(tmp_path, "location / { return 200 served; }", port=free_port())
        with one, balancer(tmp_path, INI.format(one=port), [80], "--uid=nobody") as program:
            wait_until(lambda: users_of(program.pid) == {nobody}, "the change of user")
            assert curl(f"http://{LOOPBACK}/") == "served"
            assert program.stop() == 0
