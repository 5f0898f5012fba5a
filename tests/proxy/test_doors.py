"""Doors that change: what is open stays open until it is certain that it is to be closed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from nodebalancer.changes import plan
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Protocol, Settings
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.exchanges import GET, OK, status_of
from nodebalancer.testing.nodes import LOOPBACK, free_port
from nodebalancer.testing.worlds import MemoryWorld, RealWorld, World
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.engine_reactor import ReactorEngine

EVERYWHERE = "0.0.0.0"
ELSEWHERE = "127.0.0.2"


class Balancer:
    """Listeners in a world, the road that a reload takes, and a node."""

    def __init__(self, world: World, *hosts: str, **fields: Any) -> None:
        self.world = world
        self.node, self.accepted = world.node()
        self.listeners = Listeners(world.engine)
        self.port = free_port()
        self.current = NOTHING
        assert self.reload(*hosts, **fields) == []

    def wanted(self, *hosts: str, port: int = 0, protocol: Protocol = Protocol.HTTP, **fields: Any) -> Settings:
        main = config("main", node("n", self.node), port=port or self.port, protocol=protocol)
        return settings(nodebalancer("www", main, listen=hosts, **fields))

    def prepare(self, wanted: Settings) -> list[str]:
        problems: list[str] = []
        self.listeners.prepare(wanted, plan(self.current, wanted)).addCallback(
            lambda found: problems.extend(map(str, found))
        )
        return problems

    def reload(self, *hosts: str, **fields: Any) -> list[str]:
        wanted = self.wanted(*hosts, **fields)
        problems = self.prepare(wanted)
        if problems:
            self.listeners.abandon()
        else:
            self.listeners.commit()
            self.current = wanted
        return problems

    def where(self) -> list[str]:
        return [str(address) for address, _ in self.listeners.listening()]

    async def is_served(self, client: Any) -> bool:
        """Whether it gets to the node and back."""
        before = len(self.accepted)
        client.send(GET)
        await self.world.until(lambda: len(self.accepted) > before and self.accepted[-1].received.endswith(b"\r\n\r\n"))
        self.accepted[-1].send(OK)
        await self.world.until(lambda: client.received.endswith(OK[-2:]))
        return status_of(client.received) == 200


def closed_after(world: World) -> Iterator[World]:
    yield world
    pytest_twisted.blockon(Deferred.fromCoroutine(world.close()))


@pytest.fixture(params=[EpollEngine, ReactorEngine, None], ids=["epoll", "reactor", "memory"])
def world(request: pytest.FixtureRequest, reactor: Any) -> Iterator[World]:
    yield from closed_after(MemoryWorld() if request.param is None else RealWorld(request.param(reactor), reactor))


@pytest.fixture(params=[EpollEngine, ReactorEngine])
def real(request: pytest.FixtureRequest, reactor: Any) -> Iterator[World]:
    yield from closed_after(RealWorld(request.param(reactor), reactor))


async def stop(balancer: Balancer) -> None:
    """Let nothing of it outlast the test."""
    ended: list[None] = []
    balancer.listeners.stop(0).addCallback(ended.append)
    await balancer.world.until(lambda: ended)


async def test_a_wildcard_and_a_specific_address_change_places(world: World) -> None:
    balancer = Balancer(world, EVERYWHERE)
    for hosts in ((LOOPBACK,), (EVERYWHERE,), (LOOPBACK, ELSEWHERE), (EVERYWHERE,)):
        assert balancer.reload(*hosts) == []
        assert balancer.where() == [f"{host}:{balancer.port}" for host in hosts]
        assert await balancer.is_served(world.client(Address(LOOPBACK, balancer.port)))
    await stop(balancer)


async def test_who_comes_while_they_change_places_is_served_whatever_becomes_of_it(world: World) -> None:
    """Before the new door is committed it leads nowhere; when it is not to be, to where the old one did."""
    balancer = Balancer(world, EVERYWHERE)
    address = Address(LOOPBACK, balancer.port)
    for end in (balancer.listeners.abandon, balancer.listeners.commit):
        silent = world.client(address)
        assert balancer.prepare(balancer.wanted(LOOPBACK)) == []
        client = world.client(address)
        end()
        assert await balancer.is_served(client)
        assert await balancer.is_served(silent)
    await stop(balancer)


async def test_who_comes_to_a_door_that_is_not_to_be_is_reset_and_that_is_no_fault(world: World) -> None:
    balancer = Balancer(world, LOOPBACK)
    balancer.prepare(balancer.wanted(LOOPBACK, ELSEWHERE))
    client = world.client(Address(ELSEWHERE, balancer.port))
    balancer.listeners.abandon()
    await world.until(lambda: client.was_reset)
    await stop(balancer)


async def test_an_exchange_of_places_that_fails_has_closed_nothing(real: World) -> None:
    """Another program holds an address of the port that we want everywhere."""
    balancer = Balancer(real, ELSEWHERE)
    address = Address(ELSEWHERE, balancer.port)
    [door] = balancer.listeners._doors.values()
    with socket.create_server((LOOPBACK, balancer.port)):
        waiting = real.client(address)
        [problem] = balancer.reload(EVERYWHERE)
        assert "already in use" in problem
    assert [*balancer.listeners._doors.values()] == [door]
    assert await balancer.is_served(waiting)
    assert await balancer.is_served(real.client(address))
    await stop(balancer)


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.HTTPS])
async def test_another_protocol_needs_no_other_socket(world: World, protocol: Protocol) -> None:
    """After a change of user it might not be had."""
    balancer = Balancer(world, LOOPBACK)
    [before] = balancer.listeners._doors.values()
    assert balancer.reload(LOOPBACK, protocol=protocol) == []
    assert balancer.reload(LOOPBACK) == []
    [after] = balancer.listeners._doors.values()
    assert after.listener is before.listener
    assert await balancer.is_served(world.client(Address(LOOPBACK, balancer.port)))
    await stop(balancer)


def deferring(balancer: Balancer) -> int:
    [door] = balancer.listeners._doors.values()
    listener: Any = door.listener
    return int(listener.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT))


@pytest.mark.parametrize("real", [EpollEngine], indirect=True)
async def test_only_where_clients_speak_first_they_are_waited_for(real: World) -> None:
    balancer = Balancer(real, LOOPBACK)
    assert deferring(balancer)
    balancer.reload(LOOPBACK, protocol=Protocol.TCP)
    assert not deferring(balancer)
    await stop(balancer)


@pytest.mark.parametrize("how", ["stop", "port", "removal"])
async def test_who_has_connected_and_not_asked_yet_is_served_when_a_door_is_closed(world: World, how: str) -> None:
    balancer = Balancer(world, LOOPBACK)
    clients = [world.client(Address(LOOPBACK, balancer.port)) for _ in range(5)]
    await world.settle()
    ended: list[None] = []
    if how == "stop":
        balancer.listeners.stop(60).addCallback(ended.append)
    elif how == "port":
        assert balancer.reload(LOOPBACK, port=free_port()) == []
    else:
        for number in range(2):  # the second time it is neither wanted nor has it clients
            wanted = settings(nodebalancer("www", listen=(LOOPBACK,), max_connections=9 + number))
            assert balancer.prepare(wanted) == []
            balancer.listeners.commit()
    await world.settle()
    assert not ended
    for client in clients:
        assert await balancer.is_served(client)
    if how == "stop":
        await world.until(lambda: ended)
    else:
        await stop(balancer)


async def test_an_end_without_grace_waits_for_nobody(world: World) -> None:
    balancer = Balancer(world, LOOPBACK)
    world.client(Address(LOOPBACK, balancer.port))
    ended: list[None] = []
    balancer.listeners.stop(60).addCallback(ended.append)
    balancer.listeners.stop(0)
    await world.settle()
    assert all(not door.listener.unserved for door in balancer.listeners._retired)
    await world.until(lambda: ended)


async def test_a_place_can_be_had_again_at_once(world: World) -> None:
    """A last call there is over then."""
    balancer = Balancer(world, LOOPBACK)
    world.client(Address(LOOPBACK, balancer.port))
    assert balancer.reload(LOOPBACK, port=free_port()) == []
    assert balancer.reload(EVERYWHERE) == []
    assert await balancer.is_served(world.client(Address(LOOPBACK, balancer.port)))
    await stop(balancer)


async def test_a_full_gate_stays_shut_when_a_reload_is_abandoned() -> None:
    world = MemoryWorld()
    balancer = Balancer(world, LOOPBACK, max_connections=1)
    address = Address(LOOPBACK, balancer.port)
    first = world.client(address)
    first.send(GET)
    await world.until(lambda: balancer.accepted)
    assert balancer.prepare(balancer.wanted(EVERYWHERE, max_connections=1)) == []
    balancer.listeners.abandon()
    second = world.client(address)
    second.send(GET)
    await world.settle()
    assert balancer.listeners.open_connections == 1
    first.reset()
    await world.until(lambda: len(balancer.accepted) == 2)
