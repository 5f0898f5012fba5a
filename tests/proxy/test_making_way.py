"""Who makes way at the connection cap: whoever has kept us waiting longest for its request (R3)."""

from __future__ import annotations

from nodebalancer.testing.exchanges import GET, OK, http, status_of


def test_a_client_that_is_leaving_already_is_not_asked_to_make_way() -> None:
    """Its connection has ended, and is counted; only its transport is still there."""
    lb = http(nodebalancer={"max_connections": 2})
    slow = lb.client(b"GET / HT")
    leaving = lb.client(b"GET /")
    leaving.half_close()
    newcomer = lb.network.client(lb.address)
    newcomer.send(GET)
    lb.pump()
    lb.node().send(OK)
    lb.pump()
    assert status_of(newcomer.received) == 200
    slow.reset()
    lb.pump()
    lb.check_at_rest()


def test_the_slowest_head_makes_way_and_whoever_is_served_does_not() -> None:
    lb = http(nodebalancer={"max_connections": 2})
    served = lb.client(GET)
    slow = lb.client(b"GET / HT")
    newcomer = lb.client(GET)
    assert slow.was_reset
    for node in lb.accepted[0]:
        node.send(OK)
    lb.pump()
    assert [status_of(client.received) for client in (served, newcomer)] == [200, 200]
    assert lb.outcomes == {"served": 2, "refused": 1}
    lb.check_at_rest()
