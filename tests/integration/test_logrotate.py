"""etc/logrotate with logrotate itself, and a balancer that runs meanwhile."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import (
    ROOT,
    Program,
    free_port,
    in_own_state,
    twistd_command,
    twistd_environment,
    wait_until,
)

pytestmark = pytest.mark.integration

INI = "[nodebalancer www]\nlisten = 127.0.0.1\n[config www/web]\nport = {port}\ncheck = none\n[nodes www/web]\none = 127.0.0.1:9\n"


class Rotation:
    """``etc/logrotate`` for files in ``directory``, as the user that we are. logrotate runs with commands of ours first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.logs = directory / "log"
        self.logs.mkdir(mode=0o755)
        self.pidfile = directory / "nodebalancer.pid"
        text = (ROOT / "etc/logrotate").read_text()
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        for there, here in (
            ("/var/log/nodebalancer", str(self.logs)),
            ("/run/nodebalancer/nodebalancer.pid", str(self.pidfile)),
            ("-u nodebalancer", f"-u {user}"),
            ("su nodebalancer nodebalancer", f"su {user} {group}"),
        ):
            assert there in text
            text = text.replace(there, here)
        self.rules = directory / "logrotate.conf"
        self.rules.write_text(text)
        self.rules.chmod(0o644)
        (directory / "bin").mkdir()
        self.asked = directory / "asked"
        command = directory / "bin/systemctl"
        command.write_text(f'#!/bin/sh\necho "$@" >>{self.asked}\n')
        command.chmod(0o755)

    def run(self, *options: str) -> str:
        path = f"{self.directory}/bin:{os.environ['PATH']}:/usr/sbin"
        done = subprocess.run(
            ["logrotate", *options, "--state", str(self.directory / "state"), str(self.rules)],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


def test_logrotate_understands_it(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path)
    (rotation.logs / "access.log").write_text("a line\n")
    told = rotation.run("--debug")
    assert "error" not in told
    assert re.search(r"rotating pattern: \S+/log/\*\.log +after 1 days \(14 rotations\)", told)
    assert f"considering log {rotation.logs}/access.log" in told


def test_nothing_to_rotate_is_no_error_and_bothers_nobody(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path)
    rotation.run("--force")
    (rotation.logs / "service.log").touch()
    rotation.run("--force")
    assert [path.name for path in rotation.logs.iterdir()] == ["service.log"]
    assert not rotation.asked.exists()


def test_under_systemd_the_unit_gets_the_signal_once_for_all_files(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path)
    for name in ("access.log", "service.log"):
        (rotation.logs / name).write_text("a line\n")
    rotation.run("--force")
    assert rotation.asked.read_text() == "kill -s USR1 nodebalancer\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_pid_file_that_was_left_behind_hits_nobody_else(tmp_path: Path) -> None:
    rotation = Rotation(tmp_path)
    (rotation.logs / "service.log").write_text("a line\n")
    with subprocess.Popen(["sleep", "60"], user="nobody") as other:
        rotation.pidfile.write_text(str(other.pid))
        rotation.run("--force")
        assert other.poll() is None
        other.kill()
    assert rotation.asked.read_text() == "kill -s USR1 nodebalancer\n"


def test_no_line_is_lost_while_the_log_is_rotated(tmp_path: Path) -> None:
    """Reloads write a line each as fast as they can be asked for, while logrotate takes one file after the other away."""
    rotation = Rotation(tmp_path)
    log = rotation.logs / "service.log"
    file = tmp_path / "balancer.ini"
    file.write_text(in_own_state(tmp_path, INI.format(port=(port := free_port()))))
    options = ["-n", f"--pidfile={rotation.pidfile}", f"--logfile={log}"]
    argv = twistd_command(*options, "nodebalancer", "--config", str(file))
    with Program(argv, tmp_path, "balancer", [port], twistd_environment()) as program:
        wait_until(lambda: "listening on" in log.read_text(), "the start")
        rotated = threading.Event()

        def rotate() -> None:
            for _ in range(3):
                rotation.run("--force")
                wait_until(lambda: "SIGUSR1: logs are opened anew" in log.read_text(), "the new file")
            rotated.set()

        thread = threading.Thread(target=rotate)
        thread.start()
        # Each reload gives the node another name, so that every line is another.
        count = 0
        while not rotated.is_set() or count < 30:
            count += 1
            file.write_text(re.sub(r"(?m)^one.* = ", f"one-{count} = ", file.read_text()))
            program.send(signal.SIGHUP)
            wait_until(lambda: reloads(rotation.logs) == count, f"reload {count}")  # noqa: B023 waited for here
        thread.join()
        assert program.stop() == 0
    assert reloads(rotation.logs) == count
    assert "SIGTERM: stopping" in log.read_text()
    assert sorted(path.name for path in rotation.logs.iterdir()) == [
        "service.log",
        "service.log.1",
        "service.log.2.gz",
        "service.log.3.gz",
    ]
    assert log.stat().st_mode & 0o777 == 0o640


def everything(logs: Path) -> str:
    """All lines of all files, as far as they can be read: one that is just renamed or compressed may be missing or double."""
    read = subprocess.run(f"zcat -f {logs}/service.log*", shell=True, capture_output=True, text=True, check=False)
    return read.stdout


def reloads(logs: Path) -> int:
    return everything(logs).count("SIGHUP: reloaded")
