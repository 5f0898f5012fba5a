"""Listeners on the epoll loop, beyond the contract."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from select import EPOLLET
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorders
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.accepting import Shortage
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.epoll import listener
from nodebalancer.transport.epoll.listener import ACCEPTS_MAX, EpollListener
from nodebalancer.transport.epoll.loop import EDGES, EpollLoop, Handler
from nodebalancer.transport.epoll.pipes import PipePool
from nodebalancer.transport.epoll.transport import EpollTransport
from nodebalancer.transport.sockets import open_listening

LOOPBACK = Address("127.0.0.1", 0)


@pytest.fixture
def world(reactor: Any) -> Iterator[RealWorld]:
    made = RealWorld(EpollEngine(reactor), reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


async def test_all_who_wait_are_served_when_it_closes(world: RealWorld) -> None:
    """However many; a reload loses nobody."""
    served = world.serve()
    served.listener.pause()
    clients = [world.client(served.address) for _ in range(3 * ACCEPTS_MAX)]
    served.listener.close()
    await world.until(lambda: len(served.built) == len(clients))


async def test_what_it_accepts_sends_at_once_and_notices_the_dead(world: RealWorld) -> None:
    served = world.serve()
    world.client(served.address)
    await world.until(lambda: served.built)
    connection = served.built[0].transport._socket()
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_where_clients_speak_first_the_silent_are_not_accepted_at_once(world: RealWorld) -> None:
    served = world.serve(client_first=True)
    silent, speaking = world.client(served.address), world.client(served.address)
    speaking.send(b"hello")
    await world.until(lambda: served.built)
    assert served.clients == [speaking.address]
    silent.send(b"hello")
    await world.until(lambda: len(served.built) == 2)


@pytest.mark.parametrize("fault", ["set_blocking", "transport", "begin"])
async def test_clients_that_cannot_be_served_are_reset_and_told_once(
    world: RealWorld,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    logged_errors: Callable[[], list[LogEvent]],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    where = {"set_blocking": (os, fault), "transport": (listener, "EpollTransport"), "begin": (EpollTransport, fault)}
    served = world.serve()
    with monkeypatch.context() as patch:
        patch.setattr(*where[fault], fail)
        clients = [world.client(served.address) for _ in range(3)]
        await world.until(lambda: all(client.was_reset for client in clients))
    assert all(protocol.events == (["made", "lost"] if fault == "begin" else []) for protocol in served.built)
    assert len(logged_errors()) == 1
    world.client(served.address)
    await world.until(lambda: served.built[-1].events == ["made"])


class FullLoop(EpollLoop):
    """The kernel watches no more connections for this user."""

    def watch(self, fd: int, handler: Handler, events: int = EDGES) -> None:
        if events & EPOLLET:
            raise OSError(errno.ENOSPC, "max_user_watches")
        super().watch(fd, handler, events)


def test_a_client_that_cannot_be_watched_is_closed(reactor: Any) -> None:
    loop = FullLoop(reactor, time.monotonic, PipePool())
    factory = Recorders()
    listener = EpollListener(
        EpollEngine(reactor),
        loop,
        open_listening(LOOPBACK),
        factory,
        None,
        tls=None,
        client_first=False,
        shortage=Shortage(time.monotonic),
    )
    with socket.create_connection(listener.address) as client:
        loop.doRead()
        assert client.recv(1) == b""
    assert factory.built[0].events == ["made", "lost"]
    listener.close()
