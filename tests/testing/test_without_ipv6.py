"""A machine without IPv6 can be had for a test."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import socket
socket.socket(socket.AF_INET).close()
try:
    socket.socket(socket.AF_INET6).close()
except OSError as e:
    print(e.strerror)
else:
    print("IPv6")
"""


def test_the_command_has_no_ipv6_and_everything_else() -> None:
    look = [sys.executable, "-c", LOOK]
    done = subprocess.run(
        [sys.executable, "-m", "nodebalancer.testing.without_ipv6", *look], capture_output=True, text=True, check=True
    )
    assert done.stdout == "Address family not supported by protocol\n"
