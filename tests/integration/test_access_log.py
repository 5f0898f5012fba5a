"""The access log as its readers have it: nginx behind, curl in front, goaccess over what was written."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import LOOPBACK, Program, balancer, curl, free_port, nginx, run, run_twistd, wait_until

pytestmark = pytest.mark.integration

NODE = "        location / {{ return 200 hello; }}\n"

INI = """\
[service]
access_log = {log}
access_log_format = {format}

[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = {web}
request_id = true
timeout_request = 1

[nodes www/web]
one = 127.0.0.1:{node}

[config www/plain]
protocol = tcp
port = {tcp}

[nodes www/plain]
one = 127.0.0.1:{node}
"""


class House:
    """nginx, the balancer before it, and where its access log is."""

    def __init__(self, directory: Path, log: str, log_format: str) -> None:
        self.directory = directory
        self.path = Path(log)
        self.node, port = nginx(directory, NODE.format())
        self.web, self.tcp = free_port(), free_port()
        ini = INI.format(log=log, format=log_format, web=self.web, tcp=self.tcp, node=port)
        self.program: Program = balancer(directory, ini, [self.web])

    def get(self, target: str = "/", *options: str) -> None:
        assert curl(*options, f"http://{LOOPBACK}:{self.web}{target}") == "hello"

    def say(self, said: bytes) -> bytes:
        """What comes back for ``said``, to the end."""
        with socket.create_connection((LOOPBACK, self.web), timeout=10) as client:
            client.sendall(said)
            received = b""
            while data := client.recv(4096):
                received += data
            return received

    def lines(self, count: int, path: Path | None = None) -> list[str]:
        """The lines, when there are so many."""
        there = path or self.path
        wait_until(lambda: there.exists() and there.read_bytes().count(b"\n") >= count, f"{count} lines in {there}")
        return there.read_text().splitlines()


Houses = Callable[..., House]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Houses]:
    houses: list[House] = []

    def make(log: str = "", log_format: str = "combined") -> House:
        houses.append(House(tmp_path, log or str(tmp_path / "access.log"), log_format))
        return houses[-1]

    yield make
    for one in houses:
        one.program.stop()
        one.node.stop()


def test_goaccess_reads_every_line(house: Houses) -> None:
    lb = house()
    for _ in range(5):
        lb.get("/a?b", "-A", 'nobody "quoted"', "-e", "http://r/")
    lb.say(b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n")
    lb.say(b"GET /slow HTT")
    lb.say(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
    assert curl(f"http://{LOOPBACK}:{lb.tcp}/") == "hello"
    assert len(lb.lines(9)) == 9
    report = lb.directory / "report.json"
    done = run(lb.directory, ["goaccess", str(lb.path), "--log-format=COMBINED", "--no-progress", "-o", str(report)])
    assert done.returncode == 0, done.stdout + done.stderr
    general = json.loads(report.read_text())["general"]
    assert (general["total_requests"], general["failed_requests"]) == (9, 0)
    codes = {
        item["data"].split()[0]: item["hits"]["count"]
        for group in json.loads(report.read_text())["status_codes"]["data"]
        for item in group.get("items", [])
    }
    assert codes == {"200": 6, "400": 2, "408": 1}


def test_json_says_which_node_served_and_how_it_ended(house: Houses) -> None:
    lb = house(log_format="json")
    lb.get("/x", "-H", "X-Request-ID: mine-1")
    lb.say(b"GET / HTTP/1.1\r\nHost: a\r\nX : \x1b[2J\r\n\r\n")
    with socket.create_connection((LOOPBACK, lb.web)):
        pass
    served, refused = map(json.loads, lb.lines(2))
    assert (served["target"], served["status"], served["node"], served["outcome"]) == ("/x", 200, "one", "served")
    assert (served["request_id"], served["version"]) == ("mine-1", "1.1")
    assert served["bytes_out"] > len("hello")
    assert 0 <= served["connecting"] <= served["total"]
    assert served["answering"] > 0
    assert abs(time.time() - time.mktime(time.strptime(served["time"][:19], "%Y-%m-%dT%H:%M:%S")) + time.timezone) < 60
    assert (refused["status"], refused["outcome"], refused["node"]) == (400, "client_error", None)
    assert "RFC 9110 5.5" in refused["rule"]
    assert "\\x1b[2J" in refused["begun"]


def test_rotated_by_rename_and_sigusr1_no_line_is_lost_or_torn(house: Houses) -> None:
    """As logrotate does it: three times while requests come."""
    lb = house()
    old = []
    for turn in range(3):
        for number in range(20):
            lb.get(f"/{turn}-{number}")
        old.append(lb.path.rename(lb.path.with_suffix(f".{turn}")))
        lb.program.send(signal.SIGUSR1)
        wait_until(lb.path.exists, "a new file")
    lb.get("/last")
    lb.lines(1)
    targets = Counter(line.split()[6] for path in (*old, lb.path) for line in path.read_text().splitlines())
    assert targets == Counter([f"/{turn}-{number}" for turn in range(3) for number in range(20)] + ["/last"])


def test_a_full_disk_costs_lines_and_no_request(house: Houses) -> None:
    lb = house("/dev/full")
    for _ in range(20):
        lb.get()
    said = "access log: "
    lb.program.stop()
    assert said in lb.program.output
    assert "No space left on device" in lb.program.output
    assert "Traceback" not in lb.program.output


def test_a_reader_that_hangs_costs_no_request_and_no_stop(house: Houses, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    lb = house(str(fifo))
    for _ in range(300):
        lb.say(b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 4000))
    assert lb.program.stop() == 0
    os.close(reader)


def test_the_last_lines_are_written_before_the_process_ends(house: Houses) -> None:
    lb = house()
    for number in range(50):
        lb.get(f"/{number}")
    assert lb.program.stop() == 0
    assert len(lb.path.read_text().splitlines()) == 50


def test_check_and_start_tell_where_the_file_cannot_be_made(tmp_path: Path) -> None:
    ini = tmp_path / "a.ini"
    ini.write_text(INI.format(log="/nowhere/access.log", format="json", web=free_port(), tcp=free_port(), node=1))
    for options in (["--check"], []):
        done = run_twistd(tmp_path, "-n", "--pidfile=", "nodebalancer", "--config", str(ini), *options)
        assert done.returncode == 1
        assert "[service] access_log = /nowhere/access.log: there is no directory /nowhere" in done.stderr
        assert "a.ini:2:" in done.stderr


def test_a_daemon_has_no_standard_output(tmp_path: Path) -> None:
    ini = tmp_path / "a.ini"
    ini.write_text(INI.format(log="-", format="json", web=free_port(), tcp=free_port(), node=1))
    done = run_twistd(tmp_path, "--pidfile=a.pid", "nodebalancer", "--config", str(ini))
    assert done.returncode == 1
    assert "[service] access_log = -: a daemon has no standard output" in done.stderr
    assert not (tmp_path / "a.pid").exists()
