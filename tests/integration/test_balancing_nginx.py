"""Balancing before real nodes: nginx that is stopped, killed and started under load, PROXY headers that others read."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer, curl, free_port, nginx, wait_until

pytestmark = pytest.mark.integration

CLIENTS = 16
"""Of the load: at most so many requests are with a node that dies."""

NODE = 'location / {{ return 200 "{name}"; }}'

INI = """\
[nodebalancer www]
listen = 127.0.0.1
{nodebalancer}

[config www/web]
port = {port}
check_interval = 2
check_timeout = 1
check_attempts = 1
check_path = /
{config}

[nodes www/web]
{nodes}

{more}
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


class Site:
    """A balancer before some nodes, each of which answers with its name; one called so goes by a host name.

    Attributes:
        nodes: The programs, by name; ``ports``: where they listen.
        port: The balancer's.
    """

    def __init__(
        self,
        directory: Path,
        stack: ExitStack,
        names: str = "one two",
        config: str = "",
        nodebalancer: str = "",
        more: str = "",
    ) -> None:
        self._directory = directory
        self._stack = stack
        self.ports = {name: free_port() for name in names.split()}
        self.nodes: dict[str, Program] = {}
        for name in self.ports:
            self.start(name)
        self.port = free_port()
        hosts = {name: "localhost" if "named" in name else LOOPBACK for name in self.ports}
        lines = [f"{name} = {hosts[name]}:{port}" for name, port in self.ports.items()]
        ini = INI.format(port=self.port, nodes="\n".join(lines), config=config, nodebalancer=nodebalancer, more=more)
        self.balancer = stack.enter_context(balancer(directory, ini, [self.port]))

    def start(self, name: str) -> None:
        """Start a node, also one that was killed."""
        node, _ = nginx(self._directory, NODE.format(name=name), name=name, port=self.ports[name])
        self.nodes[name] = self._stack.enter_context(node)

    def signal(self, name: str, number: signal.Signals) -> None:
        for pid in (self.nodes[name].pid, *self.nodes[name].children()):
            os.kill(pid, number)

    def wait_for(self, name: str, status: str) -> None:
        """Until the log's last word on a node is this."""

        def is_so() -> bool:
            told = re.findall(rf"\[nodes www/web\] {name} is (\w+)", self.balancer.output)
            return bool(told) and told[-1] == status

        wait_until(is_so, f"{name} to be {status}")

    def names(self, count: int = 8, source: str = "") -> Counter[str]:
        """Who answers."""
        more = ["--interface", source] if source else []
        return Counter(curl(*more, f"http://{LOOPBACK}:{self.port}/") for _ in range(count))


class Load:
    """``wrk``, which counts every response that is not whole or not good."""

    def __init__(self, port: int, seconds: int) -> None:
        argv = [
            "wrk",
            "-t1",
            f"-c{CLIENTS}",
            "--timeout",
            "20s",
            f"-d{seconds}s",
            "-H",
            "Connection: close",
            f"http://{LOOPBACK}:{port}/",
        ]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    def failures(self) -> int:
        """How many failed, once it is over."""
        told, _ = self._process.communicate(timeout=HANG_SECONDS)
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", told)
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", told)
        assert re.search(r"[1-9]\d* requests in", told)
        return sum(map(int, errors.groups() if errors else ())) + int(bad[1] if bad else 0)


def test_a_node_that_is_killed_and_started_again_costs_only_what_it_had(tmp_path: Path, stack: ExitStack) -> None:
    """Dials that are refused go to the other node; what was sent to the dying one is at most what was open there."""
    site = Site(tmp_path, stack, config="check = http")
    site.wait_for("one", "UP")
    load = Load(site.port, 8)
    time.sleep(1)
    site.nodes["one"].kill()
    site.wait_for("one", "DOWN")
    time.sleep(1)
    site.start("one")
    site.wait_for("one", "UP")
    assert load.failures() <= CLIENTS
    assert set(site.names()) == {"one", "two"}
    assert "Traceback" not in site.balancer.output


def test_a_node_that_is_stopped_is_found_by_probes_and_left_alone(tmp_path: Path, stack: ExitStack) -> None:
    """The kernel accepts for it, so what was sent waits there; after the probe has timed out nobody goes there any more."""
    site = Site(tmp_path, stack, config="check = http\ntimeout_server = 3")
    site.wait_for("one", "UP")
    load = Load(site.port, 7)
    time.sleep(1)
    site.signal("one", signal.SIGSTOP)
    site.wait_for("one", "DOWN")
    assert site.names() == {"two": 8}
    assert load.failures() <= CLIENTS
    site.signal("one", signal.SIGCONT)
    site.wait_for("one", "UP")
    assert set(site.names()) == {"one", "two"}


def test_without_probes_a_dead_node_costs_no_request_either(tmp_path: Path, stack: ExitStack) -> None:
    site = Site(tmp_path, stack, config="check = none")
    site.nodes["one"].kill()
    load = Load(site.port, 4)
    assert load.failures() == 0
    site.start("one")
    wait_until(lambda: "one" in site.names(), "the node to be tried again")


def test_a_cookie_jar_keeps_its_node(tmp_path: Path, stack: ExitStack) -> None:
    service = f"[service]\nstate_dir = {tmp_path}/state"
    site = Site(tmp_path, stack, "one two three", config="stickiness = http_cookie", more=service)
    jar = tmp_path / "jar"
    url = f"http://{LOOPBACK}:{site.port}/"
    first = curl("-c", str(jar), url)
    assert {curl("-b", str(jar), url) for _ in range(4)} == {first}
    assert set(site.names()) == {"one", "two", "three"}


def test_leastconn_source_and_a_host_name(tmp_path: Path, stack: ExitStack) -> None:
    leastconn = Site(tmp_path, stack, "one two-named", config="algorithm = leastconn")
    leastconn.wait_for("two-named", "UP")
    assert set(leastconn.names()) == {"one", "two-named"}
    assert "is at 127.0.0.1:" in leastconn.balancer.output or "is at [::1]:" in leastconn.balancer.output
    source = Site(tmp_path, stack, "three four five", config="algorithm = source", nodebalancer="label = x")
    homes = {f"127.0.0.{number}": set(source.names(3, f"127.0.0.{number}")) for number in range(2, 12)}
    assert {len(names) for names in homes.values()} == {1}
    assert len(set.union(*homes.values())) > 1


def test_the_firewall_resets_who_is_outside(tmp_path: Path, stack: ExitStack) -> None:
    firewall = "[firewall office]\ninbound_policy = DROP\ninbound = ACCEPT TCP ALL 127.0.0.0/31"
    site = Site(tmp_path, stack, "one", nodebalancer="firewall = office", more=firewall)
    assert site.names(2) == {"one": 2}
    with socket.create_connection((LOOPBACK, site.port), HANG_SECONDS, ("127.0.0.2", 0)) as outside:
        outside.settimeout(HANG_SECONDS)
        outside.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            outside.recv(1)


PROXIED = """\
        listen {host}:{proxied} proxy_protocol;
        location / {{ return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port"; }}
"""


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("receiver", ["nginx", "haproxy"])
def test_others_read_the_proxy_header_and_probes_of_such_nodes_are_good(
    tmp_path: Path, stack: ExitStack, version: str, receiver: str
) -> None:
    proxied = free_port()
    node, plain = nginx(tmp_path, PROXIED.format(host=LOOPBACK, proxied=proxied))
    stack.enter_context(node)
    if receiver == "haproxy":
        proxied = haproxy(tmp_path, stack)
    port = free_port()
    ini = INI.format(
        port=port,
        nodebalancer="",
        config=f"protocol = tcp\ncheck = http\nproxy_protocol = {version}",
        nodes=f"one = {LOOPBACK}:{proxied}",
        more="",
    )
    program = stack.enter_context(balancer(tmp_path, ini, [port]))
    wait_until(lambda: "one is UP" in program.output, "a good probe")
    with socket.create_connection((LOOPBACK, port), HANG_SECONDS, ("127.0.0.7", 0)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        said = f"127.0.0.7 {client.getsockname()[1]} {port}"
    assert answer.endswith(said.encode())
    assert plain


HAPROXY = """\
global
    maxconn 100
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 5s
frontend web
    bind 127.0.0.1:{port} accept-proxy
    http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst_port]"
"""


def haproxy(directory: Path, stack: ExitStack) -> int:
    """A HAProxy that says whom it believes to speak with, behind a port that wants a PROXY header."""
    port = free_port()
    file = directory / "haproxy.cfg"
    file.write_text(HAPROXY.format(port=port))
    stack.enter_context(Program(["haproxy", "-db", "-f", str(file)], directory, "haproxy", [port]))
    return port
