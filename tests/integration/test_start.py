"""A start that cannot be: one clear sentence, exit 1, nothing left behind."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodebalancer.testing.namespaces import available, own_network
from nodebalancer.testing.nodes import (
    LOOPBACK,
    Program,
    answers,
    free_port,
    in_own_state,
    run,
    run_twistd,
    twistd_command,
    twistd_environment,
    wait_until,
)

pytestmark = pytest.mark.integration

INI = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/first]
port = {first}

[nodes www/first]
app = 127.0.0.1:9

[config www/second]
port = {second}

[nodes www/second]
app = 127.0.0.1:9
"""


def settings(directory: Path, **ports: int) -> str:
    file = directory / "nodebalancer.ini"
    file.write_text(in_own_state(directory, INI.format(**ports)))
    return file.name


def nothing_left(directory: Path) -> bool:
    return not [path for path in directory.iterdir() if path.suffix == ".pid"]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server((LOOPBACK, free_port())) as other:
        yield other.getsockname()[1]


@pytest.mark.parametrize("way", ["-n", "--logfile=balancer.log"])
def test_a_taken_port_is_told_at_the_terminal_in_the_foreground_and_as_a_daemon(
    tmp_path: Path, taken: int, way: str
) -> None:
    first = free_port()
    ini = settings(tmp_path, first=first, second=taken)
    done = run_twistd(tmp_path, way, "nodebalancer", "--config", ini)
    assert done.returncode == 1
    [sentence] = [line for line in done.stderr.splitlines() if "cannot listen" in line]
    assert f"[config www/second] port = {taken}" in sentence
    assert f"{LOOPBACK}:{taken}" in sentence
    assert "Traceback" not in done.stdout + done.stderr
    assert nothing_left(tmp_path)
    assert not answers(first)


def test_in_the_foreground_each_reason_is_read_once(tmp_path: Path, taken: int) -> None:
    """By whoever has the log and standard error in one place: a terminal, the journal."""
    argv = twistd_command(
        "-n", "--pidfile=", "nodebalancer", "--config", settings(tmp_path, first=free_port(), second=taken)
    )
    with Program(argv, tmp_path, "balancer", (), twistd_environment()) as program:
        assert program.wait() == 1
        assert program.output.count(f"cannot listen on {LOOPBACK}:{taken}") == 1


def test_a_daemon_that_cannot_start_says_why_in_its_log_too(tmp_path: Path, taken: int) -> None:
    ini = settings(tmp_path, first=free_port(), second=taken)
    run_twistd(tmp_path, "--logfile=balancer.log", "nodebalancer", "--config", ini)
    log = tmp_path / "balancer.log"
    wait_until(lambda: "cannot listen" in log.read_text(), "the log")
    assert "Traceback" not in log.read_text()


def test_an_address_that_is_not_ours_is_told(tmp_path: Path) -> None:
    file = tmp_path / "nodebalancer.ini"
    file.write_text(f"[nodebalancer www]\nlisten = 192.0.2.1\n[config www/web]\nport = {free_port()}\n")
    done = run_twistd(tmp_path, "-n", "nodebalancer", "--config", file.name)
    assert done.returncode == 1
    assert "[config www/web]" in done.stderr
    assert "this machine has no such address; freebind = true listens there all the same" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


WITHOUT_THE_RIGHT = ["setpriv", "--bounding-set=-net_bind_service", "--inh-caps=-net_bind_service"]
"""Runs a command that may not bind ports below 1024, whoever it runs as."""


@pytest.mark.skipif(os.geteuid() != 0 or not available(), reason="needs root and a network of its own")
@pytest.mark.parametrize("way", ["-n", "--logfile=balancer.log"])
def test_a_port_below_1024_needs_a_right_and_who_lacks_it_is_told(tmp_path: Path, way: str) -> None:
    ini = settings(tmp_path, first=free_port(), second=81)
    with own_network({"net.ipv4.ip_unprivileged_port_start": "1024"}):
        done = run(tmp_path, [*WITHOUT_THE_RIGHT, *twistd_command(way, "nodebalancer", "--config", ini)])
    assert done.returncode == 1
    assert "[config www/second] port = 81: cannot listen on 127.0.0.1:81" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert nothing_left(tmp_path)


@pytest.mark.parametrize("way", ["-n", "--logfile=balancer.log"])
def test_settings_that_are_wrong_are_told_before_anything_is_begun(tmp_path: Path, way: str) -> None:
    (tmp_path / "bad.ini").write_text("[nodebalancer www]\nlisten = nowhere\n[config www/a]\nprot = 80\nport = 0\n")
    done = run_twistd(tmp_path, way, "nodebalancer", "--config", "bad.ini")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.split(":")[:2] for line in lines] == [["bad.ini", "2"], ["bad.ini", "4"], ["bad.ini", "5"]]
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.ini"]


def test_a_missing_file_is_one_clear_sentence(tmp_path: Path) -> None:
    done = run_twistd(tmp_path, "-n", "nodebalancer", "--config", "none.ini")
    assert done.returncode == 1
    assert done.stderr == (
        "none.ini: there is no such file; name yours with --config FILE, or try --demo, which needs none\n"
    )
    assert done.stdout == ""


def test_check_tells_what_would_run_and_listens_on_nothing(tmp_path: Path) -> None:
    first = free_port()
    with socket.create_server((LOOPBACK, first)):  # were it to listen, it would fail
        done = run_twistd(tmp_path, "nodebalancer", "--check", "--config", settings(tmp_path, first=first, second=81))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"[config www/first] http on {LOOPBACK}:{first}, roundrobin" in done.stdout
    assert nothing_left(tmp_path)


def test_check_tells_every_problem(tmp_path: Path) -> None:
    (tmp_path / "bad.ini").write_text("[nodebalancer www]\nlisten = nowhere\n[config www/a]\nprot = 80\n")
    done = run_twistd(tmp_path, "nodebalancer", "--check", "--config", "bad.ini")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
