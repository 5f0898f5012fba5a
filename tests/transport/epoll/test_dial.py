"""Dialling on the epoll loop, beyond the contract."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.deadlines import Deadlines
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.epoll.dial import Dials, EpollDial, local_ports
from nodebalancer.transport.epoll.loop import EDGES, EpollLoop, Handler
from nodebalancer.transport.epoll.pipes import PipePool


@pytest.fixture
def world(reactor: Any) -> Iterator[RealWorld]:
    made = RealWorld(EpollEngine(reactor), reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


def test_a_dial_that_meets_itself_is_refused(reactor: Any) -> None:
    """On loopback, a dead port can be its own client."""
    engine = EpollEngine(reactor)
    itself = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM)
    itself.bind(("127.0.0.1", 0))
    itself.connect(itself.getsockname())
    itself.setblocking(False)
    recorder, address = Recorder(), Address(*itself.getsockname())
    dials: Dials = engine._dials
    dial = EpollDial(dials, address, recorder, until=0)
    dial._connection = itself
    dials.loop.watch(itself.fileno(), dial)
    dials.loop.doRead()
    assert recorder.events == ["failed"]
    assert str(recorder.error) == "connection refused"
    assert address.port in local_ports()


def test_the_systems_ports_are_all_ports_when_it_does_not_say(tmp_path: Path) -> None:
    (tmp_path / "range").write_text("40000\t50000\n")
    assert local_ports(tmp_path / "range") == range(40000, 50001)
    assert local_ports(tmp_path / "absent") == range(65536)


async def test_a_dial_that_ends_at_once_was_still_made(world: RealWorld) -> None:
    """A check of the connection is no more than that; its node sees it."""
    address, accepted = world.node()
    recorder = Recorder(made=lambda r: r.transport.abortConnection())
    world.dial(address, recorder)
    await world.until(lambda: accepted and accepted[0].was_reset)
    assert recorder.events == ["made", "lost"]


async def test_dials_that_go_on_are_looked_at_again(world: RealWorld) -> None:
    silent, recorders = world.silent(), [Recorder(), Recorder()]
    world.dial(silent, recorders[0], timeout=0)
    world.dial(silent, recorders[1], timeout=1.1)
    await world.until(lambda: recorders[0].ended)
    assert not recorders[1].ended
    await world.until(lambda: recorders[1].ended)


async def test_a_node_that_speaks_first_is_not_kept_waiting(world: RealWorld) -> None:
    """We have nothing to say yet, so the connection itself must be acknowledged."""
    address, accepted = world.node()
    recorder = Recorder()
    world.dial(address, recorder)
    await world.until(lambda: recorder.transport is not None)
    await world.settle()
    assert len(accepted) == 1


async def test_what_a_node_says_with_its_acknowledgement_is_heard(world: RealWorld) -> None:
    """The kernel acknowledges for us when we are slow; there is one event for both then."""
    with socket.create_server(("127.0.0.1", 0)) as node:
        recorder = Recorder()
        world.dial(Address(*node.getsockname()), recorder)
        connection = node.accept()[0]
        connection.send(b"220 ready")
        await world.until(lambda: recorder.received == b"220 ready")
        connection.close()


async def test_a_protocol_that_raises_when_it_is_connected_is_reset(
    world: RealWorld, logged_errors: Callable[[], list[LogEvent]]
) -> None:
    address, accepted = world.node()
    recorder = Recorder(made=lambda _: [][0])
    world.dial(address, recorder)
    await world.until(lambda: accepted and accepted[0].was_reset)
    assert recorder.events == ["made", "lost"]
    assert len(logged_errors()) == 1


class FullLoop(EpollLoop):
    """The kernel watches no more connections for this user."""

    def watch(self, fd: int, handler: Handler, events: int = EDGES) -> None:
        raise OSError(errno.ENOSPC, "max_user_watches")


def test_a_dial_that_cannot_be_watched_is_our_fault(reactor: Any) -> None:
    recorder = Recorder()
    loop = FullLoop(reactor, time.monotonic, PipePool())
    with socket.create_server(("127.0.0.1", 0)) as node:
        address = Address(*node.getsockname())
        EpollDial(Dials(loop, Deadlines(reactor, time.monotonic)), address, recorder, until=0).begin(None)
        loop.doRead()
    assert recorder.error is not None
    assert recorder.error.ours


async def test_nodes_are_told_at_once_when_there_is_something(world: RealWorld) -> None:
    address, accepted = world.node()
    world.dial(address, Recorder(made=lambda r: r.transport.write(b"hello")))
    await world.until(lambda: accepted)
    await world.until(lambda: accepted[0].received == b"hello")


@pytest.mark.parametrize("timeout", [0, 0.1])
async def test_a_timed_out_dial_that_raises_costs_nobody_anything(
    world: RealWorld, timeout: float, logged_errors: Callable[[], list[LogEvent]]
) -> None:
    bad, good = Recorder(failed=lambda *_: [][0]), Recorder()
    silent = world.silent()
    world.dial(silent, bad, timeout=timeout)
    world.dial(silent, good, timeout=timeout)
    await world.until(lambda: bad.ended and good.ended)
    assert len(logged_errors()) == 1
