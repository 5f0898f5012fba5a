"""SIGHUP to a real process: what stays goes on, what changes is there, what is wrong changes nothing."""

from __future__ import annotations

import signal
import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trustme

from nodebalancer.testing.nodes import (
    HANG_SECONDS,
    LOOPBACK,
    Program,
    answers,
    balancer,
    curl,
    free_port,
    nginx,
    run_twistd,
    wait_until,
)

pytestmark = pytest.mark.integration

INI = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/secure]
port = {port}
protocol = https
check = none
ssl_cert = {directory}/www.pem
ssl_key = {directory}/www.key

[nodes www/secure]
node = 127.0.0.1:{node}
"""


class Site:
    """A balancer with a certificate, and a node."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.renew("old.example")
        self.node, self.node_port = nginx(directory, "location / { return 200 served; }")
        self.program: Program = balancer(directory, self.ini(), [self.port])
        self.reloads = 0

    def ini(self, **values: object) -> str:
        return INI.format(**{"port": self.port, "directory": self.directory, "node": self.node_port, **values})

    def renew(self, name: str) -> None:
        made = trustme.CA().issue_cert(name)
        key = self.directory / "www.key"
        key.touch(mode=0o600)
        key.write_bytes(made.private_key_pem.bytes())
        for number, pem in enumerate(made.cert_chain_pems):
            pem.write_to_path(str(self.directory / "www.pem"), append=number > 0)

    def reload(self, ini: str) -> str:
        """What the log says of a reload of ``ini``."""
        (self.directory / "balancer.ini").write_text(f"{ini}\n[service]\nstate_dir = {self.directory}\n")
        before = len(self.program.output)
        self.program.send(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: " in self.program.output[before:], "the reload")
        return self.program.output[before:]

    def connect(self) -> tuple[ssl.SSLSocket, bytes]:
        """A TLS connection, and the certificate that it was shown."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = context.wrap_socket(socket.create_connection((LOOPBACK, self.port), HANG_SECONDS))
        shown = client.getpeercert(binary_form=True)
        assert shown
        return client, shown

    def close(self) -> None:
        self.program.kill()
        self.node.kill()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


def finish(client: ssl.SSLSocket) -> bytes:
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = b""
    while data := client.recv(4096):
        answer += data
    client.close()
    return answer


def test_a_certificate_is_swapped_for_new_clients_and_who_is_here_goes_on(site: Site) -> None:
    before, old = site.connect()
    site.renew("new.example")
    assert "SIGHUP: reloaded" in site.reload(site.ini())
    after, new = site.connect()
    assert b"old.example" in old
    assert b"new.example" in new
    assert finish(before).startswith(b"HTTP/1.1 200")
    assert finish(after).startswith(b"HTTP/1.1 200")


def test_a_port_is_left_for_another_and_who_is_here_goes_on(site: Site) -> None:
    before, _ = site.connect()
    port = free_port()
    assert "SIGHUP: reloaded" in site.reload(site.ini(port=port))
    assert (answers(port), answers(site.port)) == (True, False)
    assert curl("-k", f"https://{LOOPBACK}:{port}/") == "served"
    assert finish(before).startswith(b"HTTP/1.1 200")


CHANGING = """\
[nodebalancer www]
listen = {listen}

[config www/web]
port = {port}
protocol = {protocol}
check = none

[nodes www/web]
node = 127.0.0.1:{node}
"""


class Asking:
    """A client that has connected, and asks when it is told to."""

    def __init__(self, port: int, host: str = LOOPBACK) -> None:
        self.socket = socket.create_connection((host, port), HANG_SECONDS)

    def is_served(self) -> bool:
        self.socket.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := self.socket.recv(4096):
            answer += data
        self.socket.close()
        return answer.endswith(b"served")


def test_who_has_connected_and_asks_only_after_the_port_was_left_is_served(site: Site) -> None:
    port, other = free_port(), free_port()
    ini = partial(CHANGING.format, listen=LOOPBACK, protocol="http", node=site.node_port)
    assert "SIGHUP: reloaded" in site.reload(ini(port=port))
    clients = [Asking(port) for _ in range(40)]
    time.sleep(0.3)
    assert "SIGHUP: reloaded" in site.reload(ini(port=other))
    assert [client.is_served() for client in clients] == [True] * 40
    wait_until(lambda: not answers(port), "the end of the last call")
    assert Asking(other).is_served()


def test_a_reload_that_is_refused_for_the_sake_of_a_wildcard_costs_nobody_anything(site: Site) -> None:
    """Another program has an address of the port that is now wanted everywhere."""
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        ini = partial(CHANGING.format, protocol="http", port=port, node=site.node_port)
        assert "SIGHUP: reloaded" in site.reload(ini(listen="127.0.0.2"))
        clients = [Asking(port, "127.0.0.2") for _ in range(40)]
        told = site.reload(ini(listen="0.0.0.0"))
        assert f"cannot listen on 0.0.0.0:{port}: already in use by another program" in told
        assert "nothing was changed, what ran goes on" in told
        assert [client.is_served() for client in clients] == [True] * 40
        assert Asking(port, "127.0.0.2").is_served()


def test_a_bad_file_changes_nothing_and_all_problems_are_told_with_their_lines(site: Site) -> None:
    file = site.directory / "balancer.ini"
    told = site.reload(site.ini(port=0, node="none"))
    assert f"{file}:5: [config www/secure] port = 0: not between 1 and 65534" in told
    assert f"{file}:12: [nodes www/secure] node = 127.0.0.1:none: expected ADDRESS:PORT" in told
    with socket.create_server((LOOPBACK, free_port())) as other:
        taken = other.getsockname()[1]
        told = site.reload(site.ini(port=taken))
    assert f"{file}:5: [config www/secure] port = {taken}: cannot listen on {LOOPBACK}:{taken}: already in use" in told
    (site.directory / "www.key").unlink()
    told = site.reload(site.ini().replace("www.pem", "other.pem"))
    assert f"{file}:8: [config www/secure] ssl_cert = {site.directory}/other.pem: there is no such file" in told
    assert curl("-k", f"https://{LOOPBACK}:{site.port}/") == "served"
    assert "Traceback" not in site.program.output


def test_a_key_that_is_gone_leaves_what_is_served_and_is_told_at_each_reload(site: Site) -> None:
    (site.directory / "www.key").unlink()
    for _ in range(2):
        told = site.reload(site.ini())
        assert f"{site.directory / 'balancer.ini'}:9: [config www/secure] ssl_key" in told
        assert told.count("[config www/secure] ssl_key") == 1
        assert "SIGHUP: reloaded" in told
    assert curl("-k", f"https://{LOOPBACK}:{site.port}/") == "served"


def test_a_plan_tells_what_the_next_reload_would_change(site: Site) -> None:
    assert "SIGHUP: reloaded" in site.reload(site.ini())
    wanted = f"{site.ini()}other = 127.0.0.1:9\n[service]\nstate_dir = {site.directory}\n"
    for name in ("balancer.ini", "next.ini"):
        (site.directory / name).write_text(wanted)
    done = run_twistd(site.directory, "nodebalancer", "--plan", "--config", "balancer.ini")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == ["  [nodes www/secure] other is added: 127.0.0.1:9"]
    done = run_twistd(site.directory, "nodebalancer", "--plan", "--config", "next.ini")
    assert done.stdout.splitlines()[0].endswith(f" and was made from {site.directory}/balancer.ini:")


def test_a_file_that_is_broken_at_boot_gives_way_to_what_ran_last(site: Site) -> None:
    assert "SIGHUP: reloaded" in site.reload(site.ini())
    assert site.program.stop() == 0
    file = site.directory / "balancer.ini"
    file.write_text(file.read_text() + "[nonsense]\n")
    argv = ["-n", "--pidfile=", "nodebalancer", "--config", file.name]
    assert run_twistd(site.directory, *argv).returncode == 1
    site.program = balancer(site.directory, file.read_text(), [site.port], name="balancer", more=["--or-last-good"])
    assert "CANNOT BE USED; starting from" in site.program.output
    assert curl("-k", f"https://{LOOPBACK}:{site.port}/") == "served"
