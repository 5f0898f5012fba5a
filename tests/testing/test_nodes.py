"""The programs that tests start end with the test."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import (
    LOOPBACK,
    Program,
    answers,
    ended,
    free_port,
    nginx,
    redis,
    run_twistd,
    wait_until,
)


def python(code: str, directory: Path, ports: tuple[int, ...] = ()) -> Program:
    return Program([sys.executable, "-c", code], directory, "program", ports)


def test_free_ports_are_outside_the_range_that_systems_give_out() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) == 20
    assert all(20000 <= port < 32000 for port in ports)


def test_a_port_answers_while_somebody_listens() -> None:
    with socket.create_server((LOOPBACK, free_port())) as server:
        port = server.getsockname()[1]
        assert answers(port)
    assert not answers(port)


def test_waiting_in_vain_fails_with_what_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodebalancer.testing.nodes.HANG_SECONDS", 0)
    with pytest.raises(AssertionError, match="the moon"):
        wait_until(lambda: False, "the moon")


def test_a_program_is_ended_with_its_children_when_the_block_ends(tmp_path: Path) -> None:
    code = "import subprocess, time; subprocess.Popen(['sleep', '1000']); print('up', flush=True); time.sleep(1000)"
    with python(code, tmp_path) as program:
        wait_until(lambda: "up" in program.output, "the program")
        children = program.children()
        assert not ended(program.pid)
        assert len(children) == 1
        program.forget_peak()
        assert program.peak_bytes() >= program.resident_bytes() > 0
        assert program.processor_ticks() >= 0
        assert program.descriptors()["/dev/null"] == 1
    assert not program.running
    wait_until(lambda: ended(children[0]), "the child's end")
    with pytest.raises((AssertionError, FileNotFoundError)):
        program.resident_bytes()


def test_a_program_that_ends_before_it_is_ready_fails_with_its_output(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no licence"):
        python("raise SystemExit('no licence')", tmp_path, (free_port(),))


def test_a_program_can_be_asked_to_end(tmp_path: Path) -> None:
    with python("import time; print('up', flush=True); time.sleep(1000)", tmp_path) as program:
        wait_until(lambda: "up" in program.output, "the program")
        assert program.stop() == -signal.SIGTERM


@pytest.mark.integration
def test_nginx_and_redis_answer_as_soon_as_they_are_started(tmp_path: Path) -> None:
    web, port = nginx(tmp_path, "location / { return 200 hello; }")
    with web:
        asked = subprocess.run(["curl", "-sS", f"http://{LOOPBACK}:{port}/"], capture_output=True, check=True)
        assert asked.stdout == b"hello"
    store, port = redis(tmp_path)
    with store:
        asked = subprocess.run(["redis-cli", "-p", str(port), "PING"], capture_output=True, check=True)
        assert asked.stdout == b"PONG\n"


@pytest.mark.integration
def test_twistd_is_the_one_of_this_python(tmp_path: Path) -> None:
    assert "Twisted daemon" in run_twistd(tmp_path, "--version").stdout
