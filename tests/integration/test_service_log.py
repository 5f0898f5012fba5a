"""The service log of a real twistd: where it goes, how it looks, and that nobody can forge it, stop it or stop us with it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import re
import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from nodebalancer.testing.nodes import (
    LOOPBACK,
    Program,
    answers,
    balancer,
    curl,
    ended,
    free_port,
    in_own_state,
    nginx,
    run_twistd,
    twistd_command,
    twistd_environment,
    wait_until,
)

pytestmark = pytest.mark.integration

INI = """\
[service]
log_format = {format}
log_level = {level}

[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = {port}
check = none

[nodes www/web]
one = 127.0.0.1:{node}
"""

TEXT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[[\w.]+#(?:debug|info|warn|error|critical)\] [\x20-\x7e]+")


def ini(port: int, *, format: str = "text", level: str = "info", node: int = 9) -> str:  # noqa: A002 the key's name
    return INI.format(port=port, format=format, level=level, node=node)


def levels(lines: str) -> set[str]:
    return {json.loads(line)["level"] for line in lines.splitlines()}


def test_text_goes_to_standard_output_a_line_an_event(tmp_path: Path) -> None:
    with balancer(tmp_path, ini(port := free_port()), [port]) as program:
        assert program.stop() == 0
        lines = [line for line in program.output.splitlines() if not line.startswith("warning: ")]
    assert [line for line in lines if not TEXT.fullmatch(line)] == []
    assert any(f"listening on {LOOPBACK}:{port} for [config www/web]" in line for line in lines)


def test_json_goes_to_a_file_that_was_named_and_has_its_fields(tmp_path: Path) -> None:
    file = tmp_path / "service.log"
    settings = ini(port := free_port(), format="json")
    with balancer(tmp_path, settings, [port], f"--logfile={file}") as program:
        assert program.stop() == 0
        assert [line for line in program.output.splitlines() if not line.startswith("warning: ")] == []
    said = [json.loads(line) for line in file.read_text().splitlines()]
    [listening] = [one for one in said if one["message"].startswith("listening on")]
    assert listening["namespace"] == "nodebalancer.process.single"
    assert (listening["level"], listening["config"]) == ("info", "www/web")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", listening["time"])
    assert levels(file.read_text()) >= {"info"}


def test_format_and_level_change_with_a_reload(tmp_path: Path) -> None:
    port = free_port()
    with balancer(tmp_path, ini(port, level="warn"), [port]) as program:
        ini_file = tmp_path / "balancer.ini"
        assert "#info]" not in program.output
        before = len(program.output)
        ini_file.write_text(in_own_state(tmp_path, ini(port, format="json")))
        program.send(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: reloaded" in program.output, "the reload")
        assert levels(program.output[before:]) == {"info"}
        assert program.stop() == 0


HOSTILE = [
    b'GET /"\\ HTTP/9.9\r\n\r\n',
    b"GET / \x1b[2J\x1b[31mHTTP/1.1\r\n\r\n",
    b"GET /a\n2026-01-01T00:00:00+0000 [nodebalancer.process.single#info] forged\nHTTP/1.1\r\n\r\n",
    b'GET /x", "level": "critical", "forged": "yes HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n',
    "GET /\u2028\u202e\u0085\u00e4 HTTP/1.1\r\n\r\n".encode(),
    b"GET / HTTP/1.1\r\nHost: a\r\nBad\x00Name: \xff\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_hostile_client_forges_no_line_and_talks_to_no_terminal(tmp_path: Path, form: str) -> None:
    with balancer(tmp_path, ini(port := free_port(), format=form, level="debug"), [port]) as program:
        for request in HOSTILE:
            with socket.create_connection((LOOPBACK, port), 10) as client, contextlib.suppress(ConnectionError):
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                while client.recv(1000):
                    pass
        assert program.stop() == 0
        lines = [line for line in program.output.split("\n") if line and not line.startswith("warning: ")]
    assert sum("refused a request" in line for line in lines) == len(HOSTILE)
    assert "".join(lines).isascii()
    assert "".join(lines).isprintable()
    if form == "text":
        assert [line for line in lines if not TEXT.fullmatch(line)] == []
    else:
        said = [json.loads(line) for line in lines]
        assert [one for one in said if "forged" in one or one["level"] not in ("debug", "info", "warn")] == []


def test_the_journal_gets_priorities_and_no_time(tmp_path: Path) -> None:
    file = tmp_path / "balancer.ini"
    file.write_text(in_own_state(tmp_path, ini(port := free_port())))
    there, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with there, ours:
        status = os.fstat(ours.fileno())
        argv = twistd_command("-n", "--pidfile=", "nodebalancer", "--config", str(file))
        environment = {**twistd_environment(), "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        with subprocess.Popen(
            argv, cwd=tmp_path, env=environment, stdout=ours.fileno(), stderr=subprocess.DEVNULL
        ) as program:
            wait_until(lambda: answers(port), "the start")
            program.terminate()
            assert program.wait(30) == 0
        ours.close()
        told = b"".join(iter(lambda: there.recv(100_000), b"")).decode()
    assert [line for line in told.splitlines() if not re.match(r"<[2-7]>\[[\w.]+#\w+\] ", line)] == []
    assert f"<6>[nodebalancer.process.single#info] listening on {LOOPBACK}:{port}" in told


def test_a_moved_file_is_left_with_sigusr1_and_a_file_is_never_rotated_by_us(tmp_path: Path) -> None:
    file = tmp_path / "service.log"
    file.write_bytes(b"x" * 2_000_000 + b"\n")  # twistd would rotate it now
    with balancer(tmp_path, ini(port := free_port()), [port], f"--logfile={file}") as program:
        assert file.stat().st_size > 2_000_000
        file.rename(tmp_path / "service.log.old")
        program.send(signal.SIGUSR1)
        wait_until(lambda: file.exists() and "SIGUSR1: logs are opened anew" in file.read_text(), "the new file")
        assert program.stop() == 0
    assert "SIGTERM: stopping" in file.read_text()
    assert "SIGTERM" not in (tmp_path / "service.log.old").read_text()
    assert sorted(path.name for path in tmp_path.glob("service.log*")) == ["service.log", "service.log.old"]


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that everybody may look into, other than that of pytest."""
    with TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_daemon_with_pidfile_logfile_and_user_is_as_people_expect(open_directory: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    (open_directory / "run").mkdir()
    os.chown(open_directory / "run", nobody.pw_uid, nobody.pw_gid)
    pidfile, log = open_directory / "run/nodebalancer.pid", open_directory / "service.log"
    file = open_directory / "balancer.ini"
    file.write_text(in_own_state(open_directory, ini(port := free_port())))
    options = [f"--pidfile={pidfile}", f"--logfile={log}", "--uid=nobody", "--gid=nogroup"]
    done = run_twistd(open_directory, *options, "nodebalancer", "--config", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    pid = int(pidfile.read_text())
    try:
        wait_until(lambda: answers(port), "the daemon")
        assert os.stat(f"/proc/{pid}").st_uid == nobody.pw_uid
        assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (nobody.pw_uid, 0o640)
        # What logrotate does: the directory is root's, the new file is not.
        log.rename(open_directory / "service.log.1")
        log.touch(0o640)
        os.chown(log, nobody.pw_uid, nobody.pw_gid)
        os.kill(pid, signal.SIGUSR1)
        wait_until(lambda: "SIGUSR1" in log.read_text(), "the new file")
        # And where that was forgotten, it goes on as it was and says so.
        log.rename(open_directory / "service.log.2")
        os.kill(pid, signal.SIGUSR1)
        told = f"the log {log} cannot be opened anew: permission denied; going on with the old file"
        wait_until(lambda: told in (open_directory / "service.log.2").read_text(), "the sentence")
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: ended(pid), "the end")
    assert not pidfile.exists()
    assert "Traceback" not in (open_directory / "service.log.2").read_text()


def test_a_log_that_nobody_reads_costs_lines_and_no_request(tmp_path: Path) -> None:
    """A pipe of two pages, full after some thirty lines; all that is logged after that is counted and told in the end."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2 * select.PIPE_BUF)
    one, node = nginx(tmp_path, "location / { return 200 served; }")
    file = tmp_path / "balancer.ini"
    file.write_text(in_own_state(tmp_path, ini(port := free_port(), node=node)))
    argv = twistd_command("-n", "--pidfile=", f"--logfile=/dev/fd/{writer}", "nodebalancer", "--config", str(file))
    with one, Program(argv, tmp_path, "balancer", [port], twistd_environment(), [writer]) as program:
        os.close(writer)
        for _ in range(50):
            for request in HOSTILE:
                with socket.create_connection((LOOPBACK, port), 10) as client, contextlib.suppress(ConnectionError):
                    client.sendall(request)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(1000)
            assert curl(f"http://{LOOPBACK}:{port}/") == "served"
        first = os.read(reader, 100_000)
        assert select.PIPE_BUF < len(first) <= 2 * select.PIPE_BUF
        assert program.stop() == 0
        with os.fdopen(reader, "rb") as pipe:
            told = (first + pipe.read()).decode()
    assert [line for line in told.splitlines() if not TEXT.fullmatch(line)] == []
    assert re.search(r"#warn\] [1-9]\d* events are missing here, they could not be written: nobody reads it", told)
    assert "SIGTERM: stopping" in told


def test_a_full_disk_costs_lines_and_no_request(tmp_path: Path) -> None:
    log = tmp_path / "service.log"
    log.symlink_to("/dev/full")
    one, node = nginx(tmp_path, "location / { return 200 served; }")
    with one, balancer(tmp_path, ini(port := free_port(), node=node), [port], f"--logfile={log}") as program:
        assert curl(f"http://{LOOPBACK}:{port}/") == "served"
        log.unlink()
        program.send(signal.SIGUSR1)
        wait_until(lambda: log.exists() and "SIGUSR1" in log.read_text(), "the new file")
        assert curl(f"http://{LOOPBACK}:{port}/") == "served"
        assert program.stop() == 0
    first, *_ = log.read_text().splitlines()
    assert re.search(r"[1-9]\d* events are missing here, they could not be written: no space left on device", first)
