"""The life of a tcp connection, in the memory network under one clock."""

from __future__ import annotations

import errno

import pytest

from nodebalancer.model import Protocol
from nodebalancer.testing.balancers import NODES, MemoryBalancer


def tcp(nodes: int = 1, **fields: object) -> MemoryBalancer:
    return MemoryBalancer(Protocol.TCP, nodes, **fields)  # type: ignore[arg-type]


def test_bytes_go_both_ways() -> None:
    """Whatever a client and its node say to each other arrives unchanged (R6)."""
    lb = tcp()
    client = lb.client(b"hello")
    node = lb.node()
    assert node.received == b"hello"
    node.send(b"who is there?")
    lb.pump()
    assert client.received == b"who is there?"
    client.send(b" me")
    lb.pump()
    assert node.received == b"hello me"


def test_a_node_may_speak_first() -> None:
    """Protocols in which the server greets (SMTP, MySQL) work: the node is dialled before the client has said anything."""
    lb = tcp()
    client = lb.client()
    lb.node().send(b"220 hi")
    lb.pump()
    assert client.received == b"220 hi"


def test_a_client_that_half_closes_still_gets_the_whole_answer() -> None:
    """End of file from the client is passed on as a half-close; the node's answer still comes, all of it."""
    lb = tcp()
    client = lb.client(b"question")
    client.half_close()
    lb.pump()
    node = lb.node()
    assert node.ended
    assert not client.ended
    answer = b"x" * 1_000_000
    node.send(answer)
    node.half_close()
    lb.pump()
    assert client.received == answer
    assert client.ended
    assert not client.was_reset
    lb.pump()
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()
    assert lb.live.counters.bytes_in == 8
    assert lb.live.counters.bytes_out == len(answer)


def test_a_node_that_half_closes_still_hears_the_client() -> None:
    lb = tcp()
    client = lb.client(b"a")
    node = lb.node()
    node.half_close()
    lb.pump()
    assert client.ended
    client.send(b"b")
    lb.pump()
    assert node.received == b"ab"
    client.close()
    lb.pump()
    assert node.ended
    assert lb.outcomes == {"served": 1}
    lb.check_at_rest()


def test_a_node_that_refuses_is_passed_over() -> None:
    """A dead node costs a client nothing but time: the next one serves it."""
    lb = tcp(2)
    lb.network.kill(NODES[0])
    for _ in range(4):
        lb.client(b"x").close()
        lb.pump()
    lb.node(2).received.clear()
    assert len(lb.accepted[1]) == 4
    for node in lb.accepted[1]:
        node.close()
    lb.pump()
    assert lb.outcomes == {"served": 4}
    lb.check_at_rest()
    assert lb.live.pool.members["n1"].outcomes[2] > 0  # connect_failed


def test_a_node_that_does_not_answer_a_dial_is_passed_over_after_timeout_connect() -> None:
    lb = tcp(2, timeout_connect=3)
    lb.network.blackhole(NODES[0])
    lb.client(b"x")
    lb.client(b"y")
    lb.advance(5)
    assert [bytes(node.received) for node in lb.accepted[1]] == [b"y", b"x"]


def test_a_client_is_closed_at_once_when_no_node_is_left() -> None:
    """All nodes down: no hang, the connection ends (R17 for tcp)."""
    lb = tcp(2)
    lb.network.kill(NODES[0])
    lb.network.kill(NODES[1])
    client = lb.client(b"x")
    assert client.ended or client.was_reset
    assert lb.outcomes == {"connect_failed": 1}
    lb.check_at_rest()


def test_a_config_without_nodes_closes_at_once() -> None:
    lb = tcp(0)
    client = lb.client()
    assert client.ended
    assert lb.outcomes == {"no_node": 1}
    lb.check_at_rest()


def test_at_most_three_nodes_are_dialled_for_a_connection() -> None:
    """A client never waits for more than three dials."""
    lb = tcp(4)
    for address in NODES[:3]:
        lb.network.fail(address, errno.ECONNREFUSED)
    lb.client(b"x")
    assert lb.outcomes == {"connect_failed": 1}
    assert lb.accepted[3] == []


def test_a_fault_of_ours_is_not_the_nodes() -> None:
    """No descriptor for a dial: counted as overloaded, so that nobody blames the node."""
    lb = tcp(1)
    lb.network.fail(NODES[0], errno.EMFILE)
    lb.client(b"x")
    assert lb.outcomes == {"overloaded": 1}
    lb.check_at_rest()


def test_a_client_that_resets_resets_its_node() -> None:
    lb = tcp()
    client = lb.client(b"x")
    client.reset()
    lb.pump()
    assert lb.node().was_reset
    assert lb.outcomes == {"client_left": 1}
    lb.check_at_rest()


def test_a_client_that_leaves_during_the_dial_costs_nothing() -> None:
    lb = tcp()
    lb.network.slow(NODES[0], 2)
    client = lb.client(b"x")
    client.reset()
    lb.advance(5)
    assert lb.accepted[0] == []
    assert lb.outcomes == {"client_left": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("finish_first", [False, True])
def test_a_node_that_breaks_off_resets_its_client(finish_first: bool) -> None:
    """Half an answer never looks whole."""
    lb = tcp()
    client = lb.client(b"x")
    if finish_first:
        client.half_close()
        lb.pump()
    lb.node().send(b"half an ans")
    lb.pump()
    lb.node().reset()
    lb.pump()
    assert client.was_reset
    assert lb.outcomes == {"cut_short": 1}
    lb.check_at_rest()


def test_a_silent_connection_is_reset_after_timeout_tunnel() -> None:
    lb = tcp(timeout_tunnel=100)
    client = lb.client(b"x")
    lb.advance(90)
    lb.node().send(b"still here")
    lb.advance(90)
    assert not client.was_reset
    lb.advance(20)
    assert client.was_reset
    assert lb.node().was_reset
    assert lb.outcomes == {"idle": 1}
    lb.check_at_rest()


@pytest.mark.parametrize("side", ["client", "node"])
def test_a_half_closed_connection_is_reset_after_timeout_half_closed(side: str) -> None:
    lb = tcp(timeout_half_closed=10)
    client = lb.client(b"x")
    (client if side == "client" else lb.node()).half_close()
    lb.advance(9)
    assert lb.outcomes == {}
    lb.advance(3)
    assert lb.outcomes == {"idle": 1}
    lb.check_at_rest()


def test_a_client_that_does_not_take_the_end_of_its_answer_is_reset() -> None:
    """Both sides have finished, but the client does not read: it holds nothing for ever."""
    lb = tcp(timeout_half_closed=10)
    client = lb.client(b"x")
    client.reading = False
    client.half_close()
    lb.node().send(b"y" * 150_000)
    lb.node().close()
    lb.advance(30)
    assert lb.outcomes == {"idle": 1}
    lb.check_at_rest()


def test_a_client_that_leaves_with_its_answer_unread_has_left() -> None:
    lb = tcp()
    client = lb.client(b"x")
    client.reading = False
    client.half_close()
    lb.node().send(b"y" * 150_000)
    lb.node().close()
    lb.pump()
    client.reset()
    lb.pump()
    assert lb.outcomes == {"client_left": 1}
    lb.check_at_rest()


def test_a_client_that_does_not_read_stops_its_node() -> None:
    """Back-pressure: what waits in the balancer is bounded however much the node sends."""
    lb = tcp()
    client = lb.client(b"x")
    client.reading = False
    node = lb.node()
    node.send(b"z" * 10_000_000)
    lb.pump()
    assert node.unsent > 9_500_000
    client.reading = True
    lb.pump()
    assert len(client.received) == 10_000_000


def test_a_node_that_does_not_read_stops_its_client() -> None:
    lb = tcp()
    client = lb.client()
    lb.node().reading = False
    client.send(b"z" * 10_000_000)
    lb.pump()
    assert client.unsent > 9_500_000


def test_a_stop_resets_what_is_open() -> None:
    """After the grace period nothing is left."""
    lb = tcp()
    client = lb.client(b"x")
    stopped: list[object] = []
    lb.listeners.stop(10).addCallback(stopped.append)
    lb.advance(9)
    assert not client.was_reset
    lb.advance(4)
    assert client.was_reset
    assert stopped == [None]
    assert lb.outcomes == {"stopped": 1}
    lb.check_at_rest()
