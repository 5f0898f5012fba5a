"""Ports below 1024 are bound as root, and traffic is carried as somebody else."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme

from nodebalancer.testing.namespaces import available, own_network
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
    wait_until,
)

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


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that everybody may look into, other than that of pytest."""
    with TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_port_80_is_bound_before_rights_are_given_up(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    with own_network():
        one, port = nginx(tmp_path, "location / { return 200 served; }", port=free_port())
        with one, balancer(tmp_path, INI.format(one=port), [80], "--uid=nobody") as program:
            wait_until(lambda: users_of(program.pid) == {nobody}, "the change of user")
            assert curl(f"http://{LOOPBACK}/") == "served"
            assert program.stop() == 0


def test_a_daemon_has_the_user_group_pidfile_and_log_that_twistd_was_told(open_directory: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    own = open_directory / "own"
    own.mkdir()
    os.chown(own, nobody.pw_uid, nobody.pw_gid)
    file, pidfile, log = open_directory / "balancer.ini", own / "balancer.pid", own / "balancer.log"
    with own_network():
        one, port = nginx(open_directory, "location / { return 200 served; }", port=free_port())
        access = own / "access.log"
        ini = INI.format(one=port) + f"\n[service]\naccess_log = {access}\n"
        file.write_text(in_own_state(open_directory, ini))
        options = [f"--pidfile={pidfile}", f"--logfile={log}", "--uid=nobody", "--gid=nogroup"]
        with one:
            done = run_twistd(open_directory, *options, "nodebalancer", "--config", str(file))
            assert done.returncode == 0, done.stderr
            pid = int(pidfile.read_text())
            try:
                wait_until(lambda: users_of(pid) == {nobody.pw_uid}, "the change of user")
                status = Path(f"/proc/{pid}/status").read_text()
                assert f"\nGid:\t{nobody.pw_gid}\t" in status
                assert f"\nGroups:\t{nobody.pw_gid} \n" in status
                assert curl(f"http://{LOOPBACK}/") == "served"
                for one_log in (log, access):
                    assert (one_log.stat().st_uid, one_log.stat().st_mode & 0o007) == (nobody.pw_uid, 0)
            finally:
                os.kill(pid, signal.SIGTERM)
                wait_until(lambda: ended(pid), "the end")
    assert "listening on 127.0.0.1:80" in log.read_text()
    assert not pidfile.exists()


SECURE = """\
[service]
state_dir = {directory}/state

[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = 80
check = none

[nodes www/web]
one = 127.0.0.1:{one}

[config www/secure]
port = 443
protocol = https
check = none
stickiness = http_cookie
ssl_cert = {directory}/www.pem
ssl_key = {directory}/www.key

[nodes www/secure]
one = 127.0.0.1:{one}
"""


CHANGING = """\
[nodebalancer www]
listen = {listen}

[config www/web]
port = {port}
protocol = {protocol}
check = none

[nodes www/web]
one = 127.0.0.1:{one}
"""


def test_no_reload_loses_a_port_that_could_not_be_bound_again(open_directory: Path) -> None:
    def reload(program: Program, **values: object) -> str:
        ini = CHANGING.format(**{"listen": LOOPBACK, "port": 81, "protocol": "tcp", "one": node, **values})
        (open_directory / "balancer.ini").write_text(ini)
        before = len(program.output)
        program.send(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: " in program.output[before:], "the reload")
        return program.output[before:]

    with own_network({"net.ipv4.ip_unprivileged_port_start": "1024"}):
        one, node = nginx(open_directory, "location / { return 200 served; }", port=free_port())
        high = CHANGING.format(listen="0.0.0.0", port=8081, protocol="http", one=node).replace("www", "other")
        low = CHANGING.format(listen=LOOPBACK, port=81, protocol="tcp", one=node)
        with one, balancer(open_directory, low + high, [81], "--uid=nobody", "--gid=nogroup") as program:
            wait_until(lambda: "listening on" in program.output, "the start")
            assert "SIGHUP: reloaded" in reload(program, protocol="http")
            assert curl(f"http://{LOOPBACK}:81/") == "served"
            told = reload(program, listen="0.0.0.0")
            assert "cannot listen on 0.0.0.0:81: ports below 1024 need the right" in told
            assert "nothing was changed, what ran goes on" in told
            assert curl(f"http://{LOOPBACK}:81/") == "served"
            # Above 1024 a wildcard that root has bound makes way.
            assert "SIGHUP: reloaded" in reload(program, listen="0.0.0.0", port=8081)
            assert "SIGHUP: reloaded" in reload(program, port=8081)
            assert curl(f"http://{LOOPBACK}:8081/") == "served"
            assert program.stop() == 0


def test_what_was_bound_and_read_as_root_stays_and_what_a_reload_cannot_do_is_told(open_directory: Path) -> None:
    made = trustme.CA().issue_cert("www.example")
    made.private_key_pem.write_to_path(str(open_directory / "www.key"))
    made.cert_chain_pems[0].write_to_path(str(open_directory / "www.pem"))
    (open_directory / "www.key").chmod(0o600)
    file = open_directory / "balancer.ini"

    def reload(program: Program, ini: str) -> str:
        file.write_text(ini)
        before = len(program.output)
        program.send(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: " in program.output[before:], "the reload")
        return program.output[before:]

    with own_network({"net.ipv4.ip_unprivileged_port_start": "1024"}):
        one, port = nginx(open_directory, "location / { return 200 served; }", port=free_port())
        ini = SECURE.format(directory=open_directory, one=port)
        with one, balancer(open_directory, ini, [80, 443], "--uid=nobody") as program:
            wait_until(lambda: "listening on" in program.output, "the start")
            assert "ports below 1024 cannot be bound by user" in program.output
            assert f"[config www/secure] ssl_key = {open_directory}/www.key: cannot be read by user" in program.output
            assert f"{file} cannot be written by user" in program.output
            # The key of the certificate and that of the cookies stay in use.
            told = reload(program, ini.replace("one = ", "other = "))
            assert "SIGHUP: reloaded" in told
            assert "ssl_key" in told
            assert curl("-k", f"https://{LOOPBACK}/") == "served"
            told = reload(program, ini.replace("port = 80\n", "port = 81\n"))
            assert f"{file}:8: [config www/web] port = 81: cannot listen on 127.0.0.1:81: ports below 1024 need" in told
            assert "nothing was changed, what ran goes on" in told
            assert curl(f"http://{LOOPBACK}/") == "served"
            assert not answers(81)
            assert "Traceback" not in program.output
            assert program.stop() == 0
