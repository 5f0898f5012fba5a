"""A port that follows a setting."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater

from nodebalancer.control.port import Port
from nodebalancer.fields import Address
from nodebalancer.testing.nodes import LOOPBACK, answers, free_port


class Greeter(Protocol):
    def connectionMade(self) -> None:
        self.transport.write(b"hello")  # type: ignore[union-attr]


def greeters() -> Any:
    factory = Factory.forProtocol(Greeter)
    factory.noisy = False
    return factory


@pytest.fixture
def port(reactor: Any) -> Iterator[Port]:
    port = Port(reactor, "manhole", "the manhole")
    yield port
    port.stop()


def follow(port: Port, wanted: Address | None) -> None:
    assert port.prepare(wanted, greeters()) == ()
    port.commit()


async def heard(connection: socket.socket, reactor: Any) -> bytes:
    connection.setblocking(False)
    for _ in range(20):
        await deferLater(reactor, 0.01)
        try:
            return connection.recv(100)
        except BlockingIOError:
            pass
    return b""


async def test_it_is_bound_by_prepare_and_lets_in_from_commit_on(
    port: Port, reactor: Any, log_lines: list[str]
) -> None:
    place = Address(LOOPBACK, free_port())
    port.prepare(place, greeters())
    with socket.create_connection(place) as early:
        assert await heard(early, reactor) == b""
        assert port.address is None
        port.commit()
        assert await heard(early, reactor) == b"hello"
    assert port.address == place
    assert log_lines[-1] == f"the manhole listens on {place}"


async def test_it_stays_moves_and_goes(port: Port, reactor: Any, log_lines: list[str]) -> None:
    one, other = (Address(LOOPBACK, free_port()) for _ in range(2))
    follow(port, one)
    before = len(log_lines)
    follow(port, one)
    assert len(log_lines) == before
    follow(port, other)
    await deferLater(reactor, 0)  # in which sockets are closed
    assert (answers(one.port), answers(other.port)) == (False, True)
    follow(port, None)
    await deferLater(reactor, 0)
    assert (answers(other.port), port.address) == (False, None)
    follow(port, one)
    port.stop()
    await deferLater(reactor, 0)
    assert (answers(one.port), port.address) == (False, None)


async def test_what_is_abandoned_leaves_what_was(port: Port, reactor: Any) -> None:
    one, other = (Address(LOOPBACK, free_port()) for _ in range(2))
    follow(port, one)
    for wanted in (other, None, one):
        port.prepare(wanted, greeters())
        port.abandon()
        await deferLater(reactor, 0)  # in which sockets are closed
        assert (answers(one.port), answers(other.port), port.address) == (True, False, one)


async def test_a_place_that_cannot_be_had_is_a_problem(port: Port) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        place = Address(LOOPBACK, taken.getsockname()[1])
        [problem] = port.prepare(place, greeters())
        assert problem.spot == ("manhole", "listen")
        assert (
            problem.message
            == f"cannot listen on {place}: already in use by this process itself, which listens on {place}"
        )
        port.abandon()
        assert port.address is None
