"""What the settings need, and what there is."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodebalancer.fields import Address
from nodebalancer.health.monitor import IN_FLIGHT_MAX
from nodebalancer.model import Check, Mode, NodeBalancer, PortConfig, Settings
from nodebalancer.process.limits import Needs, limits, needs, raise_descriptors, shortage, source_ports_for
from nodebalancer.testing.builders import config, node, nodebalancer, settings


@pytest.fixture
def descriptors() -> Iterator[int]:
    """The soft limit, which the test may change; it is put back afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def machine(tmp_path: Path, ports: str = "32768\t60999\n", reserved: str = "\n", meminfo: str = "") -> Path:
    """A /proc that says these things."""
    net = tmp_path / "sys/net/ipv4"
    net.mkdir(parents=True)
    (net / "ip_local_port_range").write_text(ports)
    (net / "ip_local_reserved_ports").write_text(reserved)
    (tmp_path / "meminfo").write_text(meminfo)
    return tmp_path


def test_needs_are_those_of_all_nodebalancers_together() -> None:
    configs = {"a": PortConfig("a"), "b": PortConfig("b", port=81)}
    both = Settings(
        nodebalancers={
            "www": NodeBalancer("www", configs, max_connections=100),
            "db": NodeBalancer("db", {"a": PortConfig("a")}, listen=("127.0.0.1",), max_connections=10),
        }
    )
    assert Needs(connections=110, listeners=5) == needs(both)


def test_a_connection_needs_two_descriptors_and_some_are_kept_for_everything_else() -> None:
    assert Needs(100, 3).descriptors == 2 * 100 + 3 + 64
    assert Needs(100, 3, 20).descriptors == 2 * 100 + 3 + 20 + 64


def test_probes_have_descriptors_of_their_own_as_many_as_there_may_be_at_once() -> None:
    nodes = [node(f"n{number}", mode=Mode.REJECT if number == 0 else Mode.ACCEPT) for number in range(10)]
    some = config("a", *nodes), config("b", *nodes, check=Check.NONE, port=81)
    assert needs(settings(nodebalancer("www", *some))).probes == 9
    many = config("a", *(node(f"n{number}") for number in range(1000)))
    assert needs(settings(nodebalancer("www", many))).probes == IN_FLIGHT_MAX


def test_what_fits_is_what_probes_leave() -> None:
    told = shortage(Needs(1000, 2, 256), 1000)
    assert told is not None
    assert told.startswith(f"1000 descriptors are enough for {(1000 - 2 - 256 - 64) // 2} of 1000 connections only")


def test_a_connection_at_its_worst_has_two_full_buffers() -> None:
    assert Needs(10, 1).memory_bytes > 10 * 2 * 65536


@pytest.mark.parametrize(
    ("reserved", "expected"),
    [
        ("", 100),
        ("1005", 99),
        ("1005,1010-1019", 89),
        ("900-1009", 90),
        ("1090-2000", 90),
        ("80,5000-6000", 100),
    ],
)
def test_reserved_ports_are_not_source_ports(tmp_path: Path, reserved: str, expected: int) -> None:
    found = limits(machine(tmp_path, "1000 1099\n", reserved + "\n"))
    assert expected == found.source_ports


def test_free_memory_is_what_the_kernel_says_is_available(tmp_path: Path) -> None:
    found = limits(machine(tmp_path, meminfo="MemTotal: 4 kB\nMemAvailable:       3 kB\n"))
    assert found.memory_bytes == 3072


def test_where_the_system_does_not_tell_limits_are_unknown(tmp_path: Path) -> None:
    found = limits(tmp_path)
    assert (found.source_ports, found.memory_bytes) == (None, None)


def test_a_meminfo_without_the_line_tells_nothing(tmp_path: Path) -> None:
    assert limits(machine(tmp_path, meminfo="MemTotal: 4 kB\n")).memory_bytes is None


def test_the_limits_of_descriptors_are_the_process_own(descriptors: int) -> None:
    found = limits()
    assert descriptors == found.descriptors_now <= found.descriptors_most <= sys.maxsize


NODES = {"a": Address("10.0.0.1", 80), "b": Address("10.0.0.2", 80), "same": Address("10.0.0.1", 80)}


def test_each_address_of_a_node_has_all_source_ports_once() -> None:
    assert source_ports_for(NODES, (), 100) == 2 * 100


def test_more_outgoing_addresses_have_more_source_ports() -> None:
    assert source_ports_for(NODES, ("10.0.0.8", "10.0.0.9"), 100) == 4 * 100


def test_an_outgoing_address_of_the_other_family_does_not_help() -> None:
    assert source_ports_for({"a": Address("2001:db8::1", 80)}, ("10.0.0.8", "10.0.0.9"), 100) == 100


def test_the_soft_limit_is_raised_to_what_is_needed(descriptors: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    assert raise_descriptors(300) == 300
    assert (300, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_the_soft_limit_is_never_lowered(descriptors: int) -> None:
    assert descriptors == raise_descriptors(1)
    assert descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_the_soft_limit_stops_at_the_hard_one(descriptors: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this machine has no hard limit")
    assert hard == raise_descriptors(hard + 1)


def test_enough_descriptors_are_no_shortage() -> None:
    needed = Needs(100, 3)
    assert shortage(needed, needed.descriptors) is None


def test_a_shortage_says_how_many_connections_fit() -> None:
    assert "87 descriptors are enough for 10 of 100 connections only; raise the limit to 267" in str(
        shortage(Needs(100, 3), 3 + 64 + 2 * 10)
    )


def test_with_hardly_any_descriptors_no_connection_fits() -> None:
    assert "enough for 0 of 100 connections only" in str(shortage(Needs(100, 3), 5))


def test_a_node_that_goes_by_a_name_may_be_dialled_from_all_addresses() -> None:
    named = {"n": Address("origin.internal", 80)}
    assert source_ports_for(named, ("192.0.2.1", "2001:db8::1"), 100) == 2 * 100
