"""What is particular to the engine on Twisted's transports; ``tests/contracts`` has the rest."""

from __future__ import annotations

import errno
import gc
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import error as errors
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.tcp import Client, Connector
from twisted.python.failure import Failure

from nodebalancer.testing.recorder import Recorder, Recorders
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.engine_reactor import (
    ACCEPTS_MAX,
    ReactorDial,
    ReactorEngine,
    ReactorListener,
    error_of,
)


@pytest.fixture
def world(reactor: Any) -> Iterator[RealWorld]:
    made = RealWorld(ReactorEngine(reactor), reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


class FakeReactor(Clock):
    """Time, and the set of readers."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)


class FakeSocket:
    """A listening socket whose ``accept`` fails in a given way, again and again."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.accepts = 0
        self.closed = False

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 80)

    def fileno(self) -> int:
        return 99

    def close(self) -> None:
        self.closed = True

    def accept(self) -> Any:
        self.accepts += 1
        number = self.numbers.pop(0) if self.numbers else errno.EAGAIN
        raise OSError(number, "accept")


def listener(reactor: FakeReactor, listening: Any) -> ReactorListener:
    return ReactorListener(ReactorEngine(reactor, reactor.seconds), listening, Recorders(), None, None)


async def test_small_writes_go_at_once_and_dead_peers_are_noticed_on_both_sides(world: RealWorld) -> None:
    accepted, _ = await world.accepted()
    dialled, _ = await world.dialled()
    for recorder in (accepted, dialled):
        connection = recorder.transport._stock.getHandle()
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_nothing_of_twisteds_is_left_to_the_collector(world: RealWorld) -> None:
    recorder, _ = await world.dialled()
    gc.collect()
    gc.disable()
    try:
        ours = {id(recorder.transport._stock), id(recorder.transport._stock.connector)}
        recorder.transport.abortConnection()
        await world.until(lambda: recorder.ended)
        await world.settle()
        assert not ours & {id(one) for one in gc.get_objects() if type(one) in (Client, Connector)}
    finally:
        gc.enable()


def test_without_descriptors_accepting_rests_for_a_second() -> None:
    """It neither burns the processor nor stays away for ever."""
    reactor, listening = FakeReactor(), FakeSocket(errno.EMFILE, errno.ENFILE)
    port = listener(reactor, listening)
    port.doRead()
    assert listening.accepts == 1
    assert not reactor.readers
    reactor.advance(1)
    assert reactor.readers == {port}


def test_resting_ends_neither_a_pause_nor_a_close() -> None:
    reactor = FakeReactor()
    paused, closed = (listener(reactor, FakeSocket(errno.EMFILE)) for _ in range(2))
    for port in (paused, closed):
        port.doRead()
    paused.pause()
    closed.close()
    reactor.advance(2)
    assert not reactor.readers


def test_a_client_that_left_before_it_was_accepted_is_passed_over() -> None:
    reactor, listening = FakeReactor(), FakeSocket(errno.ECONNABORTED)
    listener(reactor, listening).doRead()
    assert listening.accepts == 2
    assert reactor.readers


async def test_a_turn_accepts_a_bounded_number(world: RealWorld) -> None:
    served = world.serve()
    served.listener.pause()
    for _ in range(ACCEPTS_MAX + 1):
        world.client(served.address)
    served.listener._paused = False  # type: ignore[attr-defined]
    served.listener.doRead()  # type: ignore[attr-defined]
    assert len(served.built) == ACCEPTS_MAX
    served.listener.resume()
    await world.until(lambda: len(served.built) == ACCEPTS_MAX + 1)


def test_a_reactor_that_loses_a_listener_closes_it() -> None:
    reactor, listening = FakeReactor(), FakeSocket()
    port = listener(reactor, listening)
    assert str(port.address) in port.logPrefix()
    assert port.fileno() == 99
    port.connectionLost(Failure(errors.ConnectionLost()))
    assert listening.closed


class FakeConnector:
    """A connector whose connection is what a test made."""

    def __init__(self, connection: socket.socket) -> None:
        self.transport = self
        self._connection = connection

    def getHandle(self) -> socket.socket:
        return self._connection


def connect_through(connection: socket.socket) -> Recorder:
    reactor, recorder = FakeReactor(), Recorder()
    dial = ReactorDial(ReactorEngine(reactor, reactor.seconds), recorder)
    dial._connector = FakeConnector(connection)
    assert dial.buildProtocol(None) is None
    return recorder


def test_a_dial_that_met_itself_was_refused() -> None:
    """On loopback a dial to a dead port can get that very port as its source."""
    with socket.socket() as connection:
        connection.bind(("127.0.0.1", 0))
        connection.connect(connection.getsockname())
        recorder = connect_through(connection)
    assert recorder.events == ["failed"]
    assert str(recorder.error) == "connection refused"


def test_a_dial_that_was_reset_as_soon_as_it_stood_has_failed() -> None:
    with socket.socket() as connection:
        recorder = connect_through(connection)
    assert recorder.events == ["failed"]


async def test_a_dial_from_a_bad_source_can_be_cancelled_too(world: RealWorld) -> None:
    recorder = Recorder()
    world.dial(world.refused(), recorder, source=world.foreign()).cancel()
    await world.settle()
    assert recorder.events == []


@pytest.mark.parametrize(
    ("kind", "number", "reason", "ours", "timed_out"),
    [
        (errors.ConnectionRefusedError, errno.ECONNREFUSED, "connection refused", False, False),
        (errors.TimeoutError, None, "timed out", False, True),
        (errors.ConnectBindError, errno.EMFILE, "no descriptors left", True, False),
        (errors.NoRouteError, errno.ENETUNREACH, "network is unreachable", False, False),
        (errors.ConnectBindError, -2, None, True, False),
    ],
)
def test_what_the_reactor_says_in_our_words(
    kind: type[errors.ConnectError], number: int | None, reason: str | None, ours: bool, timed_out: bool
) -> None:
    told = error_of(Failure(kind(number)))
    assert reason is None or told.reason == reason
    assert (told.ours, told.timed_out) == (ours, timed_out)


def test_an_engine_takes_its_reactors_time_only_for_the_ticks() -> None:
    """The reactor's clock follows the wall clock, which an administrator can set."""
    reactor = FakeReactor()
    engine, fired = ReactorEngine(reactor, lambda: 5.0), list[None]()
    assert engine.now == 5
    engine.deadline(1, lambda: fired.append(None))
    reactor.pump([1] * 10)
    assert not fired
