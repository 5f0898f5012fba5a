"""A balancer does all that it does within what ``etc/nodebalancer.service`` leaves it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from nodebalancer.testing.namespaces import available, own_network
from nodebalancer.testing.nodes import (
    HANG_SECONDS,
    LOOPBACK,
    ROOT,
    Program,
    balancer,
    curl,
    free_port,
    nginx,
    run,
    twistd_command,
    twistd_environment,
    wait_until,
)
from nodebalancer.testing.sandbox import values_of

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0 or not available(), reason="needs root and a network of its own"),
]

UNIT = ROOT / "etc/nodebalancer.service"

INI = """\
[service]
state_dir = {directory}/state
access_log = {directory}/access.log

[metrics]
listen = 127.0.0.1:9100

[manhole]
listen = 127.0.0.1:2222
authorized_keys = {directory}/id.pub

[nodebalancer www]
listen = 127.0.0.1, ::1

[config www/plain]
port = 80
check = http_body
check_path = /
check_body = served

[nodes www/plain]
one = localhost:{node}

[config www/secure]
port = 443
protocol = https
stickiness = http_cookie
ssl_cert = {directory}/www.pem
ssl_key = {directory}/www.pem
ssl_cert_dir = {directory}/more

[nodes www/secure]
one = 127.0.0.1:{node}

[config www/raw]
port = 81
protocol = tcp

[nodes www/raw]
one = 127.0.0.1:{node}
"""

BIG_BYTES = 30_000_000
"""More than sockets hold, so that ``splice`` has to wait for either side."""

READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'
"""``ProtectSystem=strict``: only the directory that comes first can be written, by the command that follows."""


def sandbox(directory: Path, unit: Path = UNIT) -> list[str]:
    """A command that runs another one with the unit's calls, capabilities and file system. (What needs no more than another
    user is in ``test_privileges``: the checkout may be where only we can read.)"""
    kept = values_of(unit.read_text(), "CapabilityBoundingSet")[0].lower().removeprefix("cap_")
    capabilities = [f"--{which}=-all,+{kept}" for which in ("bounding-set", "inh-caps")]
    return [
        *("unshare", "--mount", "sh", "-c", READ_ONLY, str(directory)),
        *("prlimit", "--core=0", "setpriv", *capabilities, "--no-new-privs"),
        *(sys.executable, "-m", "nodebalancer.testing.sandbox", str(unit)),
    ]


def status_of(program: Program, name: str) -> str:
    """A line of ``/proc/PID/status``."""
    lines = Path(f"/proc/{program.pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


@pytest.fixture
def notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Systemd's end of ``Type=notify``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "notify"))
        ours.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield ours


@pytest.fixture(params=["epoll", "reactor"])
def program(tmp_path: Path, notify: socket.socket, request: pytest.FixtureRequest) -> Iterator[Program]:
    """A balancer in the sandbox, before a node, with certificates for two names and a shell."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "more").mkdir()
    for file, name in (("www.pem", "www.example"), ("more/shop.pem", "shop.example")):
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(tmp_path / file)
        (tmp_path / file).chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "id"], cwd=tmp_path, check=True)
    with (tmp_path / "big").open("wb") as hole:
        hole.truncate(BIG_BYTES)
    with own_network():
        server = f"location / {{ return 200 served; }} location /big {{ root {tmp_path}; }}"
        node, port = nginx(tmp_path, server, port=free_port())
        ini = INI.format(directory=tmp_path, node=port)
        with (
            node,
            balancer(
                tmp_path,
                ini,
                [80, 81, 443, 2222],
                under=sandbox(tmp_path),
                engine=request.param,
                more=["--or-last-good"],
            ) as running,
        ):
            yield running


def ssh(directory: Path, command: str) -> str:
    argv = ["ssh", "-F", "none", "-p", "2222", "-i", str(directory / "id")]
    for option in ("IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=no", "LogLevel=ERROR"):
        argv += ["-o", option]
    argv += ["-o", f"UserKnownHostsFile={directory}/known", f"anna@{LOOPBACK}", command]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def https(directory: Path, name: str) -> str:
    return curl("--cacert", f"{directory}/ca.pem", "--resolve", f"{name}:443:{LOOPBACK}", f"https://{name}/")


def systemd_heard(notify: socket.socket) -> Iterator[str]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield from notify.recv(4096).decode().splitlines()


def test_all_that_a_balancer_does_is_within_what_the_unit_leaves_it(
    tmp_path: Path, notify: socket.socket, program: Program
) -> None:
    """Traffic of each kind, the shell and what it writes, a reload, and an end. A forbidden call would end it."""
    assert status_of(program, "Seccomp") == "2"
    assert int(status_of(program, "CapEff"), 16) == int(status_of(program, "CapBnd"), 16) == 1 << 10
    assert status_of(program, "NoNewPrivs") == "1"
    wait_until(lambda: ssh(tmp_path, "nodes").count("UP") == 3, "good probes of all nodes")
    assert curl(f"http://{LOOPBACK}/") == curl("http://[::1]/") == "served"
    assert [https(tmp_path, name) for name in ("www.example", "shop.example")] == ["served"] * 2
    for port in (80, 81):
        assert curl("-o", "/dev/null", "-w", "%{size_download}", f"http://{LOOPBACK}:{port}/big") == str(BIG_BYTES)
    ssh(tmp_path, "weight www/raw/one 7")
    assert "weight=7" in (tmp_path / "balancer.ini").read_text()
    ini = (tmp_path / "balancer.ini").read_text().replace("port = 81\n", "port = 82\n")
    (tmp_path / "balancer.ini").write_text(ini)
    # What ExecReload= asks first.
    check = twistd_command("nodebalancer", "--config", str(tmp_path / "balancer.ini"), "--check")
    assert run(tmp_path, [*sandbox(tmp_path), *check]).returncode == 0
    program.send(signal.SIGHUP)
    wait_until(lambda: "SIGHUP: reloaded" in program.output, "the reload")
    assert curl(f"http://{LOOPBACK}:82/") == "served"
    assert "nodebalancer_" in curl(f"http://{LOOPBACK}:9100/metrics")
    (tmp_path / "access.log").rename(tmp_path / "access.log.1")
    program.send(signal.SIGUSR1)
    wait_until(lambda: (tmp_path / "access.log").exists(), "the new access log")
    assert '"GET / HTTP/1.1" 200' in (tmp_path / "access.log.1").read_text()
    assert {"cookie.key", "last-good.ini"} <= {path.name for path in (tmp_path / "state").iterdir()}
    assert program.stop() == 0
    assert {"READY=1", "RELOADING=1", "STOPPING=1"} <= set(systemd_heard(notify))
    assert "Traceback" not in program.output
    assert "rror" not in program.output


CALLBACK = """
import cffi
print(cffi.FFI().callback("int(int)", lambda number: number + 1)(3))
"""


def test_openssl_could_not_call_python_were_memory_either_written_or_run(tmp_path: Path) -> None:
    """Why the unit lacks ``MemoryDenyWriteExecute=``; it may have it once this test fails."""
    unit = UNIT.read_text()
    assert values_of(unit, "MemoryDenyWriteExecute") == []
    (tmp_path / "as-it-is").write_text(unit)
    (tmp_path / "stricter").write_text(f"{unit}\n[Service]\nMemoryDenyWriteExecute=true\n")
    done = {
        name: subprocess.run(
            [*sandbox(tmp_path, tmp_path / name), sys.executable, "-c", CALLBACK],
            env=twistd_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        for name in ("as-it-is", "stricter")
    }
    assert done["as-it-is"].stdout == "4\n"
    assert "Cannot allocate write+execute memory" in done["stricter"].stderr
