"""What runs, as values."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from nodebalancer.balancing.member import Status
from nodebalancer.control.manhole.views import connections_of, health, look_at, status_lines, within
from nodebalancer.model import Mode


def test_a_look_is_values_that_can_be_sent_elsewhere(lb: Any) -> None:
    looked = look_at(lb.listeners)
    assert pickle.loads(pickle.dumps(looked)) == looked
    [view] = looked
    assert (view.path, view.protocol, view.open, view.total) == ("www/main", "tcp :80", 0, 0)
    assert [(node.path, node.mode, node.weight, node.status) for node in view.nodes] == [
        ("www/main/n1", Mode.ACCEPT, 50, Status.UNKNOWN),
        ("www/main/n2", Mode.BACKUP, 100, Status.UNKNOWN),
    ]


def test_what_has_happened_is_counted_where_it_happened(lb: Any) -> None:
    client = lb.client()
    client.send(b"hello")
    lb.network.pump()
    lb.nodes[0][0].send(b"hi")
    client.half_close()
    lb.nodes[0][0].half_close()
    lb.network.pump()
    lb.network.kill(lb.listeners.configs["www", "main"].pool.members["n1"].node.address)
    lb.network.kill(lb.listeners.configs["www", "main"].pool.members["n2"].node.address)
    lb.client()
    [view] = look_at(lb.listeners)
    assert (view.total, view.bytes_in, view.bytes_out, view.unserved) == (2, 5, 2, 1)
    assert [(node.open, node.total, node.flaps) for node in view.nodes] == [(0, 2, 2), (0, 1, 1)]
    lines = list(status_lines([view]))
    assert [(line.name, line.status) for line in lines] == [
        ("www", "0 up / 2 down, 0 of 2 take clients"),
        ("www/main", "0 up / 2 down, 0 of 2 take clients"),
        ("www/main/n1", "DOWN"),
        ("www/main/n2", "DOWN"),
    ]
    assert (lines[1].why, lines[1].bytes_in, lines[2].why) == ("1 not served", "5 B", view.nodes[0].why)


def test_a_config_that_is_leaving_is_still_seen(lb: Any) -> None:
    lb.client()
    lb.load("[nodebalancer www]\n")
    assert [(view.path, view.open) for view in look_at(lb.listeners)] == [("www/main", 1)]


def test_connections_are_found_by_what_they_belong_to(lb: Any) -> None:
    for host in ("198.51.100.1", "198.51.100.2"):
        lb.client(host)
    lb.network.advance(3)
    found, count = connections_of(lb.listeners, "", 10)
    assert [(one.config, one.client, one.node) for one in found] == [
        ("www/main", "198.51.100.1", "n1"),
        ("www/main", "198.51.100.2", "n1"),
    ]
    assert (found[0].idle, count) == (3, 2)
    assert [connections_of(lb.listeners, of, 10)[1] for of in ("www", "www/main/", "www/main/n1", "198.51.100.2")] == [
        2,
        2,
        2,
        1,
    ]
    assert [connections_of(lb.listeners, of, 10)[1] for of in ("ww", "www/main/n2", "198.51.100.3")] == [0, 0, 0]
    first, count = connections_of(lb.listeners, "", 1)
    assert (len(first), count) == (1, 2)


def test_health_in_words(lb: Any) -> None:
    assert health(look_at(lb.listeners)[0].nodes) == "0 up / 0 down / 2 unknown"
    assert health([]) == "0 up / 0 down"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (Mode.ACCEPT, Mode.ACCEPT, "2 up / 0 down"),
        (Mode.ACCEPT, Mode.BACKUP, "2 up / 0 down, 1 of 2 take clients"),
        (Mode.DRAIN, Mode.BACKUP, "2 up / 0 down, 1 of 2 take clients"),
        (Mode.DRAIN, Mode.DRAIN, "2 up / 0 down, 0 of 2 take clients"),
        (Mode.DRAIN, Mode.REJECT, "1 up / 1 down, 0 of 2 take clients"),
        (Mode.ACCEPT, Mode.REJECT, "1 up / 1 down"),
    ],
)
def test_how_many_take_clients_is_told_when_they_are_fewer_than_are_up(
    lb: Any, first: Mode, second: Mode, told: str
) -> None:
    lb.load(
        lb.ini.read_text().replace("weight=50", f"mode={first.value}").replace("mode=backup", f"mode={second.value}")
    )
    pool = lb.listeners.configs["www", "main"].pool
    for member in pool.members.values():
        pool.set_status(member, Status.UP, "a probe passed", 0.0)
    assert [line.status for line in status_lines(look_at(lb.listeners))][:2] == [told, told]


def test_a_node_that_is_rejected_is_down_for_that_reason_and_no_other(lb: Any) -> None:
    lb.load(lb.ini.read_text().replace("weight=50", "mode=reject"))
    pool = lb.listeners.configs["www", "main"].pool
    pool.set_status(pool.members["n1"], Status.UP, "a probe passed: HTTP 200", 0.0)
    [node, _] = look_at(lb.listeners)[0].nodes
    assert (node.status, node.why, pool.members["n1"].reason) == (
        Status.DOWN,
        "mode reject",
        "a probe passed: HTTP 200",
    )


def test_below_is_a_matter_of_whole_names() -> None:
    assert within("www/main/n1", "")
    assert within("www/main/n1", "www/main")
    assert within("www/main", "www/main/")
    assert not within("www/mainly", "www/main")
