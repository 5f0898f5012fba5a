"""What --check prints for good settings."""

from __future__ import annotations

import attrs

from nodebalancer.fields import Address
from nodebalancer.model import (
    LogFormat,
    Manhole,
    Metrics,
    Node,
    NodeBalancer,
    PortConfig,
    Protocol,
    Redirect,
    Service,
    Settings,
)
from nodebalancer.process.limits import Limits
from nodebalancer.process.summary import summary

NODES = {
    "app-1": Node("app-1", Address("192.0.2.1", 8080)),
    "longer": Node("longer", Address("2001:db8::1", 8080), weight=50),
}
WWW = NodeBalancer("www", {"plain": PortConfig("plain", NODES, port=80)}, label="The web shop")
SETTINGS = Settings(nodebalancers={"www": WWW})
ROOMY = Limits(descriptors_now=10**6, descriptors_most=10**6, source_ports=28232, memory_bytes=2**40)


def test_everything_that_would_run_is_told() -> None:
    assert summary(SETTINGS, ROOMY) == (
        "[nodebalancer www] The web shop, at most 10000 connections\n"
        "  [config www/plain] http on 0.0.0.0:80, [::]:80, roundrobin\n"
        "    app-1  = 192.0.2.1:8080 weight=100 mode=accept\n"
        "    longer = [2001:db8::1]:8080 weight=50 mode=accept\n"
        "With all 10000 connections at once:\n"
        "  memory: 1290 MiB at worst, when nobody reads, of 1048576 MiB available: fits\n"
        "  descriptors: 20068, with a limit of 1000000: fits\n"
        "  source ports of [config www/plain]: 10000, of 56464 towards its nodes: fits"
    )


def test_certificates_are_told_with_their_config() -> None:
    lines = {("www", "plain"): ["certificate /www.pem: valid for a.example; expires on 2026-12-01"]}
    text = summary(SETTINGS, ROOMY, lambda path: lines[path])
    assert "roundrobin\n    certificate /www.pem: valid for a.example; expires on 2026-12-01\n    app-1" in text


def test_a_config_without_nodes_is_told_so_and_needs_no_source_ports() -> None:
    bare = NodeBalancer("www", {"raw": PortConfig("raw", port=81, protocol=Protocol.TCP)}, listen=("127.0.0.1",))
    text = summary(Settings(nodebalancers={"www": bare}), ROOMY)
    assert text.startswith("[nodebalancer www], at most 10000 connections\n")
    assert "  [config www/raw] tcp on 127.0.0.1:81, roundrobin\n    no nodes\n" in text
    assert "source ports" not in text


def test_who_listens_on_addresses_that_are_not_here_yet_is_told_so() -> None:
    standby = NodeBalancer("www", listen=("192.0.2.1",), freebind=True)
    text = summary(Settings(nodebalancers={"www": standby}), ROOMY)
    assert text.startswith("[nodebalancer www], at most 10000 connections, freebind\n")


def test_descriptors_that_can_be_raised_fit() -> None:
    text = summary(SETTINGS, attrs.evolve(ROOMY, descriptors_now=1024))
    assert "descriptors: 20068, with a limit of 1024, raised to 20068 at start: fits" in text


def test_what_does_not_fit_is_told_with_what_to_raise() -> None:
    narrow = Limits(descriptors_now=1024, descriptors_most=4096, source_ports=100, memory_bytes=2**20)
    text = summary(SETTINGS, narrow)
    assert "of 1 MiB available: does not fit; raise" in text
    assert (
        "descriptors: 20068, with a limit of 1024, raised to 4096 at start: does not fit; 4096 descriptors are enough for "
        "2014 of 10000 connections only"
    ) in text
    assert "10000, of 200 towards its nodes: does not fit; raise net.ipv4.ip_local_port_range" in text


def test_limits_that_are_not_known_are_not_judged() -> None:
    text = summary(SETTINGS, attrs.evolve(ROOMY, source_ports=None, memory_bytes=None))
    assert "how much this machine has free is not known" in text
    assert "source ports" not in text


def test_a_redirect_is_told_with_its_port() -> None:
    secure = PortConfig("secure", NODES, port=8443, protocol=Protocol.HTTPS)
    plain = PortConfig("plain", port=80, redirect=Redirect.HTTPS)
    www = NodeBalancer("www", {"plain": plain, "secure": secure}, listen=("127.0.0.1",))
    text = summary(Settings(nodebalancers={"www": www}), ROOMY)
    assert "[config www/plain] http on 127.0.0.1:80, roundrobin\n    redirects to https on port 8443\n" in text
    assert "no nodes" not in text


def test_what_is_there_once_is_told() -> None:
    settings = attrs.evolve(
        SETTINGS,
        service=Service(access_log="/var/log/a.log", access_log_format=LogFormat.JSON),
        manhole=Manhole(Address("127.0.0.1", 2222), "/etc/keys"),
        metrics=Metrics(Address("::1", 9100)),
    )
    assert (
        "\n[service] access log to /var/log/a.log, format json\n"
        "[manhole] on 127.0.0.1:2222 over SSH, for the keys in /etc/keys\n"
        "[metrics] on http://[::1]:9100/metrics, and /health there\n"
        "With all"
    ) in summary(settings, ROOMY)
    stream = attrs.evolve(SETTINGS, service=Service(access_log="-"))
    assert "\n[service] access log to standard output, format combined\nWith all" in summary(stream, ROOMY)
