"""The turns of the epoll loop, by hand."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from twisted.logger import LogEvent

from nodebalancer.transport.epoll import loop
from nodebalancer.transport.epoll.loop import EpollLoop, borrowed
from nodebalancer.transport.epoll.pipes import PipePool

LoggedErrors = Callable[[], list[LogEvent]]


class Reactor:
    """Has readers."""

    def __init__(self) -> None:
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        self.readers.remove(reader)


class Handler:
    def __init__(self, on_event: Callable[[int], object] = int, on_run: Callable[[], object] = int) -> None:
        self.events: list[int] = []
        self.runs = 0
        self.gave_up = False
        self._on_event = on_event
        self._on_run = on_run

    def handle(self, events: int) -> None:
        self.events.append(events)
        self._on_event(events)

    def run(self) -> None:
        self.runs += 1
        self._on_run()

    def give_up(self) -> None:
        self.gave_up = True


class World:
    def __init__(self) -> None:
        self.reactor = Reactor()
        self.loop = EpollLoop(self.reactor, time.monotonic, PipePool())
        self.peers: list[socket.socket] = []

    def readable(self, handler: Handler) -> int:
        """The descriptor of a socket that has input, watched by ``handler``."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.send(b"hello")
        self.peers.append(theirs)
        fd = ours.detach()
        self.loop.watch(fd, handler)
        return fd

    def turn(self) -> object:
        """What the reactor gets; anything but None ends the data plane."""
        turn: Callable[[], object] = self.loop.doRead
        return turn()


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    for peer in made.peers:
        peer.close()


def fault(*_: object) -> None:
    raise ValueError("a fault of the handler")


def test_there_is_no_descriptor_without_something_to_watch(world: World) -> None:
    """twistd forks before services start; and what is idle costs nothing."""
    before = os.listdir("/proc/self/fd")
    assert world.loop.fileno() == -1
    assert world.turn() is None
    fd = world.readable(Handler())
    assert world.reactor.readers == [world.loop]
    assert world.loop.fileno() >= 0
    world.loop.close(fd)
    assert world.reactor.readers == []
    assert len(os.listdir("/proc/self/fd")) == len(before) + 1  # the peer's


def test_its_set_is_readable_for_the_reactor(world: World) -> None:
    handler = Handler()
    fd = world.readable(handler)
    assert select.select([world.loop], [], [], 0)[0] == [world.loop]
    world.turn()
    assert handler.events == [select.EPOLLIN | select.EPOLLOUT]
    assert select.select([world.loop], [], [], 0)[0] == []
    world.loop.close(fd)


def test_a_handler_that_raises_gives_up_and_the_rest_of_the_batch_is_handled(
    world: World, logged_errors: LoggedErrors
) -> None:
    """One exception must not take the data plane away."""
    handlers = [Handler(), Handler(fault), Handler()]
    fds = [world.readable(handler) for handler in handlers]
    assert world.turn() is None
    assert [len(handler.events) for handler in handlers] == [1, 1, 1]
    assert [handler.gave_up for handler in handlers] == [False, True, False]
    assert world.reactor.readers == [world.loop]
    assert len(logged_errors()) == 1
    for fd in fds:
        world.loop.close(fd)


def test_a_task_that_raises_gives_up_and_the_other_tasks_are_done(world: World, logged_errors: LoggedErrors) -> None:
    bad, good = Handler(on_run=fault), Handler()
    world.loop.later(bad)
    world.loop.later(good)
    assert world.turn() is None
    assert (bad.gave_up, good.runs) == (True, 1)
    assert len(logged_errors()) == 1


def test_a_handler_that_cannot_even_give_up_is_survived(world: World, logged_errors: LoggedErrors) -> None:
    class Hopeless(Handler):
        def give_up(self) -> None:
            fault()

    world.loop.later(Hopeless(on_run=fault))
    assert world.turn() is None
    assert len(logged_errors()) == 2


def test_events_of_a_closed_descriptor_reach_nobody(world: World) -> None:
    """Neither its handler nor who gets a descriptor of the same number."""
    new = Handler()
    fds: list[int] = []

    def close_and_open(fd: int) -> None:
        if not fds:
            world.loop.close(fd)
            fds.append(world.readable(new))
            assert fds[0] != fd

    first = Handler(lambda _: close_and_open(one_of[1]))
    second = Handler(lambda _: close_and_open(one_of[0]))
    one_of = [world.readable(first), world.readable(second)]
    world.turn()
    assert len(first.events) + len(second.events) == 1
    assert new.events == [select.EPOLLIN | select.EPOLLOUT]
    closed = one_of[1] if first.events else one_of[0]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(closed)
    world.loop.close(fds[0])
    world.loop.close(one_of[0] if first.events else one_of[1])


def test_work_that_is_never_done_leaves_the_reactor_its_turns(world: World) -> None:
    """A flood does not delay timers: a turn ends, and the set stays readable."""
    greedy = Handler(on_run=lambda: world.loop.later(greedy))
    world.loop.later(greedy)
    for _ in range(3):
        so_far = greedy.runs
        assert select.select([world.loop], [], [], 0)[0] == [world.loop]
        world.turn()
        assert greedy.runs > so_far
    greedy._on_run = int
    world.turn()
    assert world.reactor.readers == []


def test_a_task_asked_for_twice_is_done_once(world: World) -> None:
    task = Handler()
    world.loop.later(task)
    world.loop.later(task)
    world.turn()
    assert task.runs == 1


def test_what_is_unwatched_stays_open(world: World) -> None:
    handler = Handler()
    fd = world.readable(handler)
    world.loop.unwatch(fd)
    assert world.reactor.readers == []
    os.close(fd)
    assert handler.events == []


def test_the_reactors_end_is_no_ones_loss(world: World) -> None:
    world.loop.connectionLost(None)  # type: ignore[arg-type] # as at the end of a process
    assert world.loop.logPrefix()


def test_a_borrowed_socket_gives_its_descriptor_back() -> None:
    with socket.socket() as lender:
        connection = borrowed(lender.fileno())
        assert connection.detach() == lender.fileno()
        lender.getsockname()


def test_who_rests_is_asked_when_nothing_else_happens(world: World, logged_errors: LoggedErrors) -> None:
    resting, bad = Handler(), Handler(fault)

    def rest(_: int) -> None:
        world.loop.rest(resting)
        world.loop.rest(bad)

    busy = Handler(rest)
    fd = world.readable(busy)
    assert world.turn() is None
    assert [handler.events for handler in (busy, resting, bad)] == [
        [select.EPOLLIN | select.EPOLLOUT],
        [select.EPOLLIN],
        [select.EPOLLIN],
    ]
    assert (bad.gave_up, len(logged_errors())) == (True, 1)
    world.loop.close(fd)


def test_who_rests_when_a_turn_ends_is_asked_in_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    resting = Handler()
    fd = world.readable(Handler(lambda _: world.loop.rest(resting)))
    monkeypatch.setattr(loop, "TURN_SECONDS", 1e-9)
    assert world.turn() is None
    assert resting.events == []
    assert select.select([world.loop], [], [], 0)[0] == [world.loop]
    assert world.turn() is None
    assert resting.events == [select.EPOLLIN]
    world.loop.close(fd)
