"""The shell of a whole balancer, from the OpenSSH client: what it changes, and that traffic goes on meanwhile."""

from __future__ import annotations

import re
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import (
    HANG_SECONDS,
    LOOPBACK,
    Program,
    balancer,
    curl,
    free_port,
    nginx,
    run_twistd,
    wait_until,
)

pytestmark = pytest.mark.integration

INI = """\
[service]
state_dir = {directory}/state

# who may come in
[manhole]
listen = 127.0.0.1:{shell}
authorized_keys = {directory}/keys

[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = {port}
protocol = http
check = none

[nodes www/web]
# the old machine
app-1 = 127.0.0.1:{one} weight=50
app-2 = 127.0.0.1:{other}
"""


class Site:
    """A balancer before two nodes, and its shell."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "anna@example", "-f", "id"]
        subprocess.run(key, cwd=directory, check=True)
        (directory / "keys").write_bytes((directory / "id.pub").read_bytes())
        self.port, self.shell = free_port(), free_port()
        self.nodes = [
            nginx(directory, f'location / {{ return 200 "{name}"; }}', name=name) for name in ("app-1", "app-2")
        ]
        one, other = (port for _, port in self.nodes)
        ini = INI.format(directory=directory, port=self.port, shell=self.shell, one=one, other=other)
        self.program: Program = balancer(directory, ini, [self.port, self.shell])
        self.ini = directory / "balancer.ini"

    def ssh(self, *command: str, typed: str = "", options: tuple[str, ...] = ()) -> tuple[int, str, str]:
        argv = ["ssh", "-F", "none", "-p", str(self.shell), "-i", str(self.directory / "id"), *options]
        for option in ("IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=no", "LogLevel=ERROR"):
            argv += ["-o", option]
        argv += ["-o", f"UserKnownHostsFile={self.directory}/known", f"anna@{LOOPBACK}", *command]
        done = subprocess.run(argv, input=typed, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
        return done.returncode, done.stdout, done.stderr

    def get(self) -> str:
        return curl(f"http://{LOOPBACK}:{self.port}/")

    def close(self) -> None:
        self.program.kill()
        for node, _ in self.nodes:
            node.kill()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    assert "Traceback" not in site.program.output
    site.close()


def test_changes_are_live_at_once_written_into_the_file_and_in_the_log(site: Site) -> None:
    before = site.ini.read_text()
    assert site.ssh("drain www/web/app-1 --wait 30") == (
        0,
        "www/web/app-1: mode drain (was accept), 0 open connections\n",
        "",
    )
    assert {site.get() for _ in range(6)} == {"app-2"}
    assert site.ini.read_text() == before.replace("weight=50", "weight=50 mode=drain")
    assert site.ssh("weight www/web/app-2 300") == (2, "", "weight 300: not between 1 and 255\n")
    assert site.ssh(typed='accept("www/web/app-1")\n') == (
        0,
        "www/web/app-1: mode accept (was drain), 0 open connections\n",
        "",
    )
    assert {site.get() for _ in range(6)} == {"app-1", "app-2"}
    site.ini.write_text(before.replace("weight=50", "weight=49"))
    assert site.ssh("reload") == (0, "reloaded: 1 node changed\n", "")
    status, said, _ = site.ssh("status")
    assert status == 0
    assert re.search(r"^www/web +http :\d+ +2 up / 0 down ", said, re.MULTILINE)
    assert re.search(r"^www/web/app-1 +accept +49  UP ", said, re.MULTILINE)
    assert re.search(r" www/web/app-1 +UP +Unknown +1 ", site.ssh("events")[1])
    assert f'from {LOOPBACK} runs "drain www/web/app-1 --wait 30"' in site.program.output
    assert "the manhole listens on" in site.program.output
    assert "starting on" not in site.program.output  # which Twisted says of it
    assert f'(anna@example) from {LOOPBACK} types "accept(\\x22www/web/app-1\\x22)"' in site.program.output
    assert stat.S_IMODE((site.directory / "state/manhole.key").stat().st_mode) == 0o600


def test_an_endless_loop_stops_traffic_for_a_second_and_no_longer(site: Site) -> None:
    slowest = 0.0
    served = 0
    stop = threading.Event()

    def ask() -> None:
        nonlocal slowest, served
        while not stop.is_set():
            began = time.monotonic()
            assert site.get().startswith("app-")
            slowest = max(slowest, time.monotonic() - began)
            served += 1

    client = threading.Thread(target=ask)
    client.start()
    wait_until(lambda: served > 3, "traffic")
    status, said, _ = site.ssh(typed="while True: pass\n\nwhile True: len(status())\n\nprint('alive')\n")
    before = served
    wait_until(lambda: served > before + 3, "more traffic")
    stop.set()
    client.join()
    assert (status, said.count("interrupted: a statement may take 1 s"), said.splitlines()[-1]) == (0, 2, "alive")
    assert 0.5 < slowest < 5


def test_a_terminal(site: Site) -> None:
    status, said, _ = site.ssh(typed="nodes()\r1 + 1\r\x1b[A\r1/0\rexit()\r", options=("-tt",))
    assert status == 0
    assert said.startswith("help() lists the verbs")
    assert said.count("\n2\n>>> ") == 2
    assert "www/web/app-2" in said
    assert "ZeroDivisionError: division by zero\n>>> " in said


def test_sftp_and_scp_are_refused(site: Site) -> None:
    for command in (["sftp"], ["scp", f"anna@{LOOPBACK}:/etc/hostname", "."]):
        program, *rest = command
        options = ["-F", "none", "-P", str(site.shell), "-i", "id", "-o", "StrictHostKeyChecking=no"]
        options += ["-o", "UserKnownHostsFile=known", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"]
        argv = [program, *options, *(rest or [f"anna@{LOOPBACK}"])]
        done = subprocess.run(
            argv, cwd=site.directory, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
        )
        assert (done.returncode != 0, "subsystem request failed" in done.stderr) == (True, True)
    assert not (site.directory / "hostname").exists()


def test_a_manhole_that_would_let_nobody_in_is_a_problem_with_its_line(tmp_path: Path) -> None:
    ini = tmp_path / "x.ini"
    ini.write_text("[manhole]\nauthorized_keys = keys\n[nodebalancer www]\n")
    done = run_twistd(tmp_path, "nodebalancer", "--config", "x.ini", "--check")
    said = "x.ini:2: [manhole] authorized_keys = keys: keys cannot be read: no such file or directory\n"
    assert (done.returncode, done.stderr.endswith(said)) == (1, True)
    ini.write_text("[manhole]\n[nodebalancer www]\n")
    done = run_twistd(tmp_path, "nodebalancer", "--config", "x.ini", "--check")
    assert (done.returncode, "x.ini:1: [manhole] authorized_keys: needs authorized_keys" in done.stderr) == (1, True)
