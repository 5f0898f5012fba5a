"""What a unit forbids is forbidden to a test's program."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nodebalancer.testing.sandbox import Filter, allowed, sets_of_calls, values_of

SETS = {"@default": ["exit"], "@small": ["read", "chown"], "@large": ["@small", "write"], "@owners": ["chown"]}


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["@large"], {"exit", "read", "write", "chown"}),
        (["@large", "~@owners read"], {"exit", "write"}),
        (["@large", "~@owners", "chown pipe"], {"exit", "read", "write", "chown", "pipe"}),
    ],
)
def test_lines_of_a_filter_add_and_take_away_in_their_order(filters: list[str], left: set[str]) -> None:
    assert allowed(filters, SETS) == left


def test_a_key_may_stand_several_times_and_comments_do_not_count() -> None:
    assert values_of("[Service]\nA=1\n# A=2\nA= 3 4\nAB=5\n", "A") == ["1", "3 4"]


def test_the_sets_are_those_of_systemd() -> None:
    assert {"socket", "accept4", "connect"} <= set(sets_of_calls()["@network-io"])


def test_a_rule_that_cannot_be_is_an_error() -> None:
    with pytest.raises(OSError, match="Permission denied"):
        Filter(0x7FFF0000).add(0x7FFF0000, "read")  # the answer to all calls needs no rule


def run(directory: Path, unit: str, code: str) -> subprocess.CompletedProcess[str]:
    (directory / "unit").write_text(unit)
    argv = [sys.executable, "-m", "nodebalancer.testing.sandbox", str(directory / "unit"), sys.executable, "-c", code]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def test_a_call_that_is_not_allowed_ends_the_process(tmp_path: Path) -> None:
    unit = "SystemCallFilter=@system-service\nSystemCallFilter=~@chown\n"
    assert run(tmp_path, unit, "print('here')").stdout == "here\n"
    assert run(tmp_path, unit, "import os; os.chown('.', -1, -1)").returncode == -signal.SIGSYS


def test_address_families_that_are_not_named_are_not_there(tmp_path: Path) -> None:
    look = """
import socket
socket.socket(socket.AF_INET).close()
try:
    socket.socket(socket.AF_INET6)
except OSError as e:
    print(e.strerror)
"""
    done = run(tmp_path, "RestrictAddressFamilies=AF_INET AF_UNIX\n", look)
    assert done.stdout == "Address family not supported by protocol\n"


def test_memory_is_written_or_run(tmp_path: Path) -> None:
    look = """
import mmap
mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE)
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
except OSError as e:
    print(e.strerror)
"""
    assert run(tmp_path, "MemoryDenyWriteExecute=true\n", look).stdout == "Operation not permitted\n"
