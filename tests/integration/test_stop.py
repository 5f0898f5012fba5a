"""An orderly stop: open connections may finish, the exit status is 0."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import (
    HANG_SECONDS,
    LOOPBACK,
    Program,
    answers,
    balancer,
    ended,
    free_port,
    in_own_state,
    nginx,
    run_twistd,
    wait_until,
)

pytestmark = pytest.mark.integration

INI = """\
[service]
grace_period = {grace}

[nodebalancer echo]
listen = 127.0.0.1
max_connections = 100

[config echo/tcp]
port = {port}
protocol = tcp

[nodes echo/tcp]
node = 127.0.0.1:{node}
"""


class Conversation:
    """A client and a node that talk through the balancer."""

    def __init__(self, directory: Path, *options: str, grace: int = 3000) -> None:
        self.port = free_port()
        self.server = socket.create_server((LOOPBACK, free_port()))
        self.server.settimeout(HANG_SECONDS)
        self.ini = INI.format(port=self.port, node=self.server.getsockname()[1], grace=grace)
        self.program = balancer(directory, self.ini, [self.port], *options)
        self.server.accept()[0].close()  # the look whether we answer
        self.client = socket.create_connection((LOOPBACK, self.port), HANG_SECONDS)
        self.node = self.server.accept()[0]
        self.node.settimeout(HANG_SECONDS)
        self.say(b"hello")

    def say(self, words: bytes) -> None:
        self.client.sendall(words)
        assert self.node.recv(100) == words

    def finish(self) -> None:
        self.client.close()
        self.node.close()

    def close(self) -> None:
        self.finish()
        self.server.close()
        self.program.kill()


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Conversation]:
    talk = Conversation(tmp_path)
    yield talk
    talk.close()


def stops_listening(program: Program, port: int) -> None:
    """Wait by the log: asking the port would make connections that have to end, too."""
    wait_until(lambda: "not listening any more" in program.output, "the listener's end")
    assert not answers(port)
    assert program.running


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_connections_a_stop_is_quick_and_exits_0(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    with balancer(tmp_path, INI.format(port=port, node=9, grace=3000), [port]) as program:
        program.send(number)
        assert program.wait() == 0
        assert "Traceback" not in program.output


def test_an_open_connection_goes_on_until_it_has_finished(talk: Conversation) -> None:
    talk.program.send(signal.SIGTERM)
    stops_listening(talk.program, talk.port)
    talk.say(b"still here")
    talk.finish()
    assert talk.program.wait() == 0


HTTP = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = {port}
check = none

[nodes www/web]
node = 127.0.0.1:{node}
"""


def test_who_has_connected_and_asks_only_after_the_signal_is_served(tmp_path: Path) -> None:
    """The kernel holds back clients that have not spoken, and would reset them with the listener."""
    node, node_port = nginx(tmp_path, "location / { return 200 served; }")
    port = free_port()
    with node, balancer(tmp_path, HTTP.format(port=port, node=node_port), [port]) as program:
        clients = [socket.create_connection((LOOPBACK, port), HANG_SECONDS) for _ in range(40)]
        time.sleep(0.3)
        program.send(signal.SIGTERM)
        wait_until(lambda: "not listening any more" in program.output, "the stop")
        time.sleep(0.1)
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        for client in clients:
            with client, client.makefile("rb") as answer:
                assert answer.read().endswith(b"served")
        assert program.wait() == 0


def test_a_second_signal_resets_what_is_left_and_exits_0(talk: Conversation) -> None:
    talk.program.send(signal.SIGINT)
    stops_listening(talk.program, talk.port)
    talk.program.send(signal.SIGTERM)
    assert talk.program.wait() == 0
    with pytest.raises(ConnectionResetError):
        talk.client.recv(1)
    assert "Traceback" not in talk.program.output


def test_grace_has_an_end(tmp_path: Path) -> None:
    talk = Conversation(tmp_path, grace=1)
    talk.program.send(signal.SIGTERM)
    assert talk.program.wait() == 0
    with pytest.raises(ConnectionResetError):
        talk.client.recv(1)
    talk.close()


def test_sighup_and_sigusr1_cost_nobody_a_connection(tmp_path: Path) -> None:
    talk = Conversation(tmp_path, "--logfile=balancer.log")
    talk.program.send(signal.SIGHUP)
    log = tmp_path / "balancer.log"
    wait_until(lambda: "SIGHUP: reloaded" in log.read_text(), "the answer to SIGHUP")
    log.rename(tmp_path / "balancer.log.1")
    talk.program.send(signal.SIGUSR1)
    wait_until(lambda: log.exists() and "SIGUSR1" in log.read_text(), "the log's rotation")
    talk.say(b"still here")
    talk.close()


def test_sigusr1_in_the_foreground_costs_nobody_a_connection(tmp_path: Path) -> None:
    """Without a log file there is nothing to open anew, and the service goes on."""
    talk = Conversation(tmp_path)
    talk.program.send(signal.SIGUSR1)
    wait_until(lambda: "SIGUSR1: logs are opened anew" in talk.program.output, "the answer to SIGUSR1")
    talk.say(b"still here")
    talk.close()


def test_sighup_is_ignored_while_we_stop(talk: Conversation) -> None:
    talk.program.send(signal.SIGTERM)
    stops_listening(talk.program, talk.port)
    talk.program.send(signal.SIGHUP)
    wait_until(lambda: "SIGHUP: ignored, we are stopping" in talk.program.output, "the answer to SIGHUP")
    talk.say(b"still here")


@pytest.fixture
def end_daemon(tmp_path: Path) -> Iterator[None]:
    """Whatever the test finds, the daemon it started is gone afterwards."""
    yield
    pidfile = tmp_path / "twistd.pid"
    if pidfile.exists():
        pid = int(pidfile.read_text())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ended(pid), "the daemon's end")


@pytest.mark.usefixtures("end_daemon")
def test_a_daemon_has_a_pidfile_while_it_runs(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "nodebalancer.ini").write_text(in_own_state(tmp_path, INI.format(port=port, node=9, grace=30)))
    done = run_twistd(tmp_path, "--logfile=balancer.log", "nodebalancer", "--config", "nodebalancer.ini")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    pidfile = tmp_path / "twistd.pid"
    pid = int(pidfile.read_text())
    assert answers(port)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pidfile.exists(), "the pidfile's end")
    wait_until(lambda: ended(pid), "the daemon's end")
    log = (tmp_path / "balancer.log").read_text()
    assert f"listening on {LOOPBACK}:{port} for [config echo/tcp], 1 node\n" in log
    assert "Traceback" not in log
