"""The last call of listeners, beyond the contract."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorders
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.engine import LAST_CALL_SECONDS
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.epoll import last_call
from nodebalancer.transport.epoll.last_call import LOOK_SECONDS, LastCall
from nodebalancer.transport.sockets import defer, open_listening


class Listener:
    """Goes on accepting until it is closed."""

    def __init__(self, port: int) -> None:
        self.address = Address("127.0.0.1", port)
        self.retiring = False
        self.closed = 0

    def call_last(self) -> bool:
        self.retiring = not self.closed
        return self.retiring

    def close(self) -> None:
        self.retiring = False
        self.closed += 1


class Kernel:
    """Ports with clients on the way, and how often it was asked."""

    def __init__(self) -> None:
        self.ports: set[int] = set()
        self.looks = 0

    def arriving(self) -> set[int]:
        self.looks += 1
        return self.ports


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(last_call, "arriving", kernel.arriving)
    return kernel


def begin(*listeners: Any) -> tuple[LastCall, Clock]:
    clock = Clock()
    call = LastCall(clock, clock.seconds)
    call.begin(listeners)
    return call, clock


def test_one_look_is_enough_for_listeners_without_clients_on_the_way(kernel: Kernel) -> None:
    listeners = [Listener(port) for port in range(80, 180)]
    _, clock = begin(*listeners)
    assert [listener.closed for listener in listeners] == [1] * 100
    assert kernel.looks == 1
    assert not clock.getDelayedCalls()


def test_it_is_over_for_each_as_soon_as_nobody_is_left(kernel: Kernel) -> None:
    kernel.ports = {80, 81}
    one, other = Listener(80), Listener(81)
    _, clock = begin(one, other)
    assert (one.closed, other.closed) == (0, 0)
    kernel.ports = {81}
    clock.advance(LOOK_SECONDS)
    assert (one.closed, other.closed) == (1, 0)
    kernel.ports = set()
    clock.advance(LOOK_SECONDS)
    assert (one.closed, other.closed) == (1, 1)
    assert not clock.getDelayedCalls()


def test_it_is_over_in_time_however_many_come(kernel: Kernel) -> None:
    """As when somebody floods us with halves of handshakes."""
    kernel.ports = {80}
    one = Listener(80)
    call, clock = begin(one)
    clock.pump([LOOK_SECONDS] * 3)
    call.begin([one])  # type: ignore[list-item] # a stop follows the reload
    assert len(clock.getDelayedCalls()) == 1
    clock.pump([LOOK_SECONDS] * 2)
    assert not one.closed
    clock.advance(LAST_CALL_SECONDS - 5 * LOOK_SECONDS + 0.001)
    assert one.closed
    assert not clock.getDelayedCalls()


def test_who_is_closed_meanwhile_is_not_asked_after(kernel: Kernel) -> None:
    kernel.ports = {80}
    one = Listener(80)
    _, clock = begin(one)
    one.close()
    clock.advance(LOOK_SECONDS)
    assert (one.closed, kernel.looks) == (1, 1)
    assert not clock.getDelayedCalls()


@pytest.fixture
def world(reactor: Any) -> Iterator[RealWorld]:
    made = RealWorld(EpollEngine(reactor), reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


async def test_a_paused_listener_accepts_again_and_closing_ends_the_last_call(world: RealWorld) -> None:
    served = world.serve(client_first=True)
    served.listener.pause()
    early, silent = world.client(served.address), world.client(served.address)
    world.engine.retire([served.listener])
    assert served.listener.unserved
    early.send(b"hello")
    await world.until(lambda: served.clients == [early.address])
    served.listener.close()
    assert not served.listener.unserved
    silent.send(b"hello")
    await world.until(lambda: silent.was_reset)


async def test_who_is_on_the_way_to_an_adopted_socket_is_left_to_its_owner(world: RealWorld) -> None:
    """And what its owner has is not changed."""
    fd, address = world.inherited()
    factory = Recorders()
    listener = world.engine.adopt(fd, factory, client_first=True)
    silent = world.client(address)
    world.engine.retire([listener])
    assert not listener.unserved
    silent.send(b"hello")
    with socket.socket(fileno=os.dup(fd)) as owners:
        owners.setblocking(True)
        owners.settimeout(5)
        connection, name = owners.accept()
        with connection:
            assert Address(*name) == silent.address
    assert factory.built == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_clients_that_are_held_back_are_seen_by_the_port(host: str) -> None:
    with open_listening(Address(host, 0)) as listening:
        port = listening.getsockname()[1]
        defer(listening, True)
        assert port not in last_call.arriving()
        clients = [socket.create_connection((host, port)) for _ in range(1000)]
        try:
            assert port in last_call.arriving()
        finally:
            for client in clients:
                client.close()


def test_where_the_kernel_cannot_be_asked_nobody_is_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(socket, "socket", forbidden)
    assert last_call.arriving() == set()
