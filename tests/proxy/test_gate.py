"""Who is let in: firewall, throttle, and how many at once. In front of real connections: ``scenarios/test_admission``."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, cast

from nodebalancer.balancing.clients import ClientSet
from nodebalancer.fields import Address
from nodebalancer.model import NodeBalancer
from nodebalancer.proxy.gate import QUIET_SECONDS, Gate
from nodebalancer.proxy.live import LiveConfig
from nodebalancer.testing.logs import logged

CLIENT = "198.51.100.1"
OTHER = "198.51.100.2"


class FakeListener:
    """Remembers whether it accepts."""

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", 1)
        self.accepts = False

    def pause(self) -> None:
        self.accepts = False

    def resume(self) -> None:
        self.accepts = True

    def close(self) -> None:
        self.accepts = False


class FakeClient:
    """A connection, as far as a gate knows it."""

    def __init__(self, hall: Hall) -> None:
        self.hall = hall

    def push_out(self) -> None:
        """As the end of a connection does; its socket is closed later."""
        del self.hall.gate.headless[cast(Any, self)]
        self.hall.pushed.append(self)


class Hall:
    """A gate, two listeners, and counts as ``LiveConfig`` makes them."""

    def __init__(self, limit: int, **fields: Any) -> None:
        self.now = 1000.0
        self.gate = Gate(limit, "www")
        self.listeners = [FakeListener(), FakeListener()]
        self.pushed: list[FakeClient] = []
        self.update(max_connections=limit, **fields)

    def update(self, *clients: str, **fields: Any) -> None:
        self.gate.update(NodeBalancer("www", **fields), clients, self.now)
        self.gate.guard(cast(Any, self.listeners))

    def enter(self, *, head: bool = True) -> FakeClient:
        """A client, with its request head already or not."""
        client: Any = FakeClient(self)
        if not head:
            self.gate.headless[client] = None
        self.gate.open += 1
        if self.gate.open >= self.gate.limit:
            self.gate.full(self.now, client)
        return cast(FakeClient, client)

    def leave(self) -> None:
        self.gate.open -= 1
        if self.gate.shut and self.gate.open < self.gate.limit:
            self.gate.reopen()

    def admits(self, client: str = CLIENT, admitted: ClientSet | None = None) -> bool:
        live: Any = type("Live", (), {"admitted": admitted})
        return self.gate.admits(client, cast(LiveConfig, live), self.now)

    @property
    def accepts(self) -> bool:
        accepts = {listener.accepts for listener in self.listeners}
        assert len(accepts) == 1
        return accepts.pop()


def test_all_listeners_pause_at_the_limit_and_resume_below_it() -> None:
    """At max_connections no port of the NodeBalancer accepts; when one client leaves, all do again (R3)."""
    hall = Hall(2)
    hall.enter()
    assert hall.accepts
    hall.enter()
    assert not hall.accepts
    assert hall.gate.times_full == 1
    hall.leave()
    assert hall.accepts
    assert (hall.gate.open, hall.gate.pushed_out) == (1, 0)


def test_a_raised_limit_applies_at_once() -> None:
    """A reload that raises max_connections lets waiting clients in."""
    hall = Hall(1)
    hall.enter()
    assert not hall.accepts
    hall.update(max_connections=2)
    assert hall.accepts


def test_a_lowered_limit_drops_nobody_and_admits_nobody() -> None:
    """Connections over a lowered limit stay; accepting goes on only below it."""
    hall = Hall(3)
    for _ in range(3):
        hall.enter()
    hall.update(max_connections=1)
    assert not hall.accepts
    hall.leave()
    hall.leave()
    assert not hall.accepts
    hall.leave()
    assert hall.accepts


def test_who_has_waited_longest_with_its_head_makes_way() -> None:
    hall = Hall(3)
    hall.enter()
    first, second = hall.enter(head=False), hall.enter(head=False)
    assert hall.accepts
    assert hall.pushed == []
    third = hall.enter(head=False)
    assert hall.pushed == [first]
    hall.enter()
    hall.enter()
    assert hall.pushed == [first, second, third]
    assert not hall.accepts
    assert (hall.gate.pushed_out, hall.gate.times_full) == (3, 1)


def test_several_that_come_at_once_push_out_one_each() -> None:
    """Who was pushed out is gone from those that may be, though its socket is still open."""
    hall = Hall(2)
    waiting = [hall.enter(head=False), hall.enter(head=False)]
    hall.enter()
    hall.enter()
    assert hall.pushed == waiting
    assert hall.gate.open == 4


def test_nobody_makes_way_for_itself() -> None:
    """Above a lowered limit, with nobody else to make way, who was let in stays, and can make way for the next."""
    hall = Hall(2)
    hall.enter()
    hall.enter()
    newest = hall.enter(head=False)
    assert hall.pushed == []
    hall.enter()
    assert hall.pushed == [newest]


def test_without_anybody_new_nobody_makes_way() -> None:
    """Somebody's head has come in at the limit: only whether there is room has to be found anew."""
    hall = Hall(1)
    hall.enter()
    hall.enter(head=False)
    hall.gate.full(hall.now)
    assert hall.pushed == []


def test_a_reload_at_the_limit_accepts_as_long_as_somebody_can_make_way() -> None:
    hall = Hall(1)
    hall.enter(head=False)
    hall.update(max_connections=1)
    assert hall.accepts


def test_the_limit_is_told_of_once_a_minute() -> None:
    hall = Hall(1)
    with logged() as lines:
        for _ in range(5):
            hall.enter()
            hall.leave()
        [line] = lines
        assert line.startswith(
            "[nodebalancer www] is at max_connections = 1; so far 0 clients without a request made way"
        )
        assert line.endswith("and accepting paused 1 times")
        hall.now += QUIET_SECONDS
        hall.enter(head=False)
        hall.enter(head=False)
        assert len(lines) == 2
        assert "so far 1 clients" in lines[1]


def test_the_firewall_comes_first_and_is_silent() -> None:
    """Who it refuses is counted, and neither the throttle nor the log ever hears of them (R4)."""
    hall = Hall(9, client_conn_throttle=1)
    inside = ClientSet([(ip_network("198.51.100.1/32"), True)])
    with logged() as lines:
        for _ in range(5):
            assert not hall.admits(OTHER, inside)
    assert (hall.gate.firewalled, hall.gate.throttle.clients, lines) == (5, 0, [])
    assert hall.admits(CLIENT, inside)


def test_who_is_refused_is_told_of_once_a_minute_with_the_reason() -> None:
    hall = Hall(9, client_conn_throttle=1, client_max_connections=2)
    with logged() as lines:
        for _ in range(5):
            hall.admits()
        assert lines == [
            f"[nodebalancer www] connections from {CLIENT} are refused: more than 1 new connections a second"
        ]
        hall.now += 60
        for _ in range(5):
            hall.admits()
            hall.now += 2
    assert lines[1:] == [f"[nodebalancer www] connections from {CLIENT} are refused: more than 2 connections at once"]
    assert (hall.gate.throttle.refused, hall.gate.counts.refused) == (4, 4)


def test_counts_that_are_switched_on_begin_with_who_is_there() -> None:
    hall = Hall(9)
    assert all(hall.admits() for _ in range(5))
    hall.update(CLIENT, CLIENT, OTHER, client_max_connections=2)
    assert [hall.admits(), hall.admits(OTHER)] == [False, True]
