"""Metrics and health of a whole balancer: what curl did is what they say, and a stop can be watched."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nodebalancer.testing.nodes import (
    HANG_SECONDS,
    LOOPBACK,
    Program,
    answers,
    balancer,
    curl,
    free_port,
    nginx,
    wait_until,
)

pytestmark = pytest.mark.integration

INI = """\
[service]
state_dir = {directory}/state
shutdown_delay = {delay}
grace_period = 3000

[metrics]
listen = 127.0.0.1:{metrics}

[nodebalancer www]
listen = 127.0.0.1
max_connections = 100

[config www/web]
port = {port}
check = none

[nodes www/web]
app-1 = 127.0.0.1:{one}
app-2 = 127.0.0.1:{other}
"""

NODE = """
location / { return 200 "0123456789"; }
location /gone { return 404; }
"""


class Site:
    """A balancer before two nodes, and its metrics."""

    def __init__(self, directory: Path, delay: int = 0) -> None:
        self.directory = directory
        self.port, self.metrics = free_port(), free_port()
        self.nodes = [nginx(directory, NODE, name=name) for name in ("app-1", "app-2")]
        one, other = (port for _, port in self.nodes)
        ini = INI.format(directory=directory, delay=delay, metrics=self.metrics, port=self.port, one=one, other=other)
        self.program: Program = balancer(directory, ini, [self.port, self.metrics])

    def get(self, path: str = "/", *options: str) -> str:
        return curl(*options, f"http://{LOOPBACK}:{self.port}{path}")

    def text(self, *options: str) -> str:
        return curl(*options, f"http://{LOOPBACK}:{self.metrics}/metrics")

    def health(self) -> tuple[str, str]:
        body, _, status = curl("-w", "|%{http_code}", f"http://{LOOPBACK}:{self.metrics}/health").partition("|")
        return status, body

    def sums(self, label: str = "") -> dict[str, float]:
        """Each metric's value: of all its series, or by one label."""
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                key = f"{sample.name} {sample.labels[label]}" if label in sample.labels else sample.name
                sums[key] = sums.get(key, 0) + sample.value
        return sums

    def close(self) -> None:
        self.program.kill()
        for node, _ in self.nodes:
            node.kill()


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(tmp_path, getattr(request, "param", 0))
    yield site
    assert "Traceback" not in site.program.output
    site.close()


def ended(site: Site, count: int) -> None:
    """Wait until so many connections have ended: curl knows earlier than we."""
    wait_until(lambda: site.sums()["nodebalancer_config_connections_ended_total"] == count, "the connections' ends")


def test_what_they_say_is_what_curl_did(site: Site) -> None:
    """One connection more, which looked whether we answer, left without a word."""
    for _ in range(6):
        assert site.get() == "0123456789"
    for _ in range(4):
        site.get("/gone")
    assert site.get("/", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Transfer-Encoding: gzip, chunked") == "400"
    ended(site, 12)
    read = site.sums()
    assert read["nodebalancer_config_connections_total"] == 12
    assert read["nodebalancer_config_connections_open"] == read["nodebalancer_connections_open"] == 0
    assert read["nodebalancer_node_picks_total"] == read["nodebalancer_node_connect_duration_seconds_count"] == 10
    assert read["nodebalancer_node_response_duration_seconds_count"] == 10
    assert read["nodebalancer_config_connection_duration_seconds_count"] == 12
    assert read["nodebalancer_config_refused_messages_total"] == 1
    assert read["nodebalancer_config_sent_bytes_total"] > read["nodebalancer_node_sent_bytes_total"] > 10 * 100
    assert read["process_start_time_seconds"] == pytest.approx(time.time(), abs=2 * HANG_SECONDS)
    by_class = site.sums("class")
    for kind, of_config, of_nodes in (("2xx", 6, 6), ("4xx", 5, 4), ("5xx", 0, 0)):
        assert by_class[f"nodebalancer_config_responses_total {kind}"] == of_config
        assert by_class[f"nodebalancer_node_responses_total {kind}"] == of_nodes
    by_outcome = site.sums("outcome")
    for outcome, of_config, of_nodes in (("served", 10, 10), ("client_error", 1, 0), ("client_left", 1, 0)):
        assert by_outcome[f"nodebalancer_config_connections_ended_total {outcome}"] == of_config
        assert by_outcome[f"nodebalancer_node_picks_ended_total {outcome}"] == of_nodes
    by_node = site.sums("node")
    assert by_node["nodebalancer_node_picks_total app-1"] == by_node["nodebalancer_node_picks_total app-2"] == 5


def test_promtool_has_nothing_to_say(site: Site) -> None:
    site.get()
    checked = subprocess.run(
        ["promtool", "check", "metrics"],
        input=site.text(),
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_browser_and_an_old_prometheus_and_a_new_one_get_the_same(site: Site) -> None:
    plain = site.text()
    new = site.text("--compressed", "-H", "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1")
    assert new.endswith("# EOF\n")
    assert {line.partition(" ")[0] for line in new.splitlines()} == {
        line.partition(" ")[0] for line in plain.splitlines()
    }


def test_reloads_and_a_file_that_differs(site: Site) -> None:
    ini = site.directory / "balancer.ini"
    text = ini.read_text()
    ini.write_text(text.replace("max_connections = 100", "max_connections = 50"))
    assert site.sums()["nodebalancer_settings_file_differs"] == 1
    site.program.send(signal.SIGHUP)
    wait_until(lambda: site.sums("result")["nodebalancer_settings_reloads_total success"] == 1, "the reload")
    read = site.sums()
    assert (read["nodebalancer_settings_file_differs"], read["nodebalancer_connections_limit"]) == (0, 50)
    ini.write_text("nonsense")
    site.program.send(signal.SIGHUP)
    wait_until(lambda: site.sums("result")["nodebalancer_settings_reloads_total failure"] == 1, "the bad reload")
    assert site.sums()["nodebalancer_settings_last_reload_successful"] == 0
    moved = free_port()
    ini.write_text(text.replace(f"listen = 127.0.0.1:{site.metrics}", f"listen = 127.0.0.1:{moved}"))
    site.program.send(signal.SIGHUP)
    wait_until(lambda: answers(moved) and not answers(site.metrics), "the move")


@pytest.mark.parametrize("site", [1], indirect=True)
def test_a_stop_can_be_watched_to_its_end(site: Site) -> None:
    assert site.health() == ("200", "ok\n")
    with socket.create_connection((LOOPBACK, site.port)) as slow:
        slow.sendall(b"GET / HTT")
        wait_until(lambda: site.sums()["nodebalancer_connections_open"] == 1, "the slow client")
        site.program.send(signal.SIGTERM)
        wait_until(lambda: site.health() == ("503", "stopping\n"), "the beginning of the stop")
        assert site.get() == "0123456789"
        assert "not listening any more" not in site.program.output
        wait_until(lambda: "not listening any more" in site.program.output, "the end of shutdown_delay")
        assert not answers(site.port)
        assert site.health() == ("503", "stopping\n")
        assert site.sums()["nodebalancer_connections_open"] == 1
    assert site.program.wait() == 0


@pytest.mark.parametrize("site", [3000], indirect=True)
def test_a_second_signal_ends_the_delay_and_the_grace_at_once(site: Site) -> None:
    with socket.create_connection((LOOPBACK, site.port)) as slow:
        slow.sendall(b"GET / HTT")
        site.program.send(signal.SIGTERM)
        wait_until(lambda: site.health()[0] == "503", "the beginning of the stop")
        site.program.send(signal.SIGTERM)
        assert site.program.wait() == 0


def test_garbage_and_crowds_leave_no_trace(site: Site) -> None:
    assert site.health() == ("200", "ok\n")
    before = site.program.output
    for said in (
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n" * 9000,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    ):
        for _ in range(30):
            with socket.create_connection((LOOPBACK, site.metrics)) as visitor:
                visitor.sendall(said)
    assert site.health() == ("200", "ok\n")
    assert site.program.output == before
