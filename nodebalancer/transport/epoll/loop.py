"""The epoll set of an engine, nested in the reactor as one reader.

An epoll descriptor is itself pollable. So the reactor watches one descriptor for the whole data plane, and an event costs a
look-up and a call instead of the reactor's own round of wrappers.

Rules:

* Connections are edge-triggered and registered once, and then once more if they must wait to send: an event is not repeated, so whoever hears of it takes what there is,
  or remembers it.
* A handler that expects more to come together rests: it is asked again in a lull, when the set has nothing to tell.
* Work that a handler leaves undone, and everything that must not happen inside of somebody's call, is a task. While there
  are tasks an eventfd in the set, level-triggered, keeps the set readable.
* A turn is rounds of one batch of events, the tasks of that time, and the descriptors to close, until nothing comes for
  ``LULL_SECONDS``, at most for ``TURN_SECONDS``; then the reactor has its turn, whatever is left.
* Events are hints: descriptors are closed after the batch, so that a number does not come back with events of its
  predecessor in it.
* Whatever a handler or task raises costs that one connection. ``doRead`` returns None: anything else, and the reactor
  would drop the data plane.
* Descriptors exist only while there is something to watch. In particular there are none before the first socket, since
  ``twistd`` forks before its services start.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.transport.accepting import QUIET_SECONDS
from nodebalancer.transport.epoll.pipes import PipePool

log = Logger()

EDGES: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLPRI | select.EPOLLET
"""What connections are registered for in the end, and then for all."""

INPUT_EDGES: Final = EDGES & ~select.EPOLLOUT
"""As long as there is nothing to send that the kernel has refused."""

BATCH_EVENTS: Final = 64
"""Events taken at once; each may be a TLS handshake, half a millisecond of computing."""

TURN_SECONDS: Final = 0.005
"""How long a turn goes on taking batches; timers, signals and the API wait that long, and for one batch and a lull."""

LULL_SECONDS: Final = 0.001
"""How long a turn waits for more when there is none, before it asks those that rest, or ends: where traffic is, more comes at
once, and the way through the reactor costs more than most events. The least that epoll can wait."""


AF_INET6: Final = int(socket.AF_INET6)
SOCK_STREAM: Final = int(socket.SOCK_STREAM)


class Task(Protocol):
    """Something to do later."""

    def run(self) -> None:
        """Do it."""

    def give_up(self) -> None:
        """An exception came out of it: end what this is."""


class Handler(Task, Protocol):
    """Somebody with a descriptor in the set, and perhaps a task."""

    def handle(self, events: int) -> None:
        """Something happened to the descriptor: ``EPOLL…`` bits."""


def borrowed(fd: int) -> socket.SocketType:
    """A socket object for calls that take no bare descriptor. ``detach`` it afterwards, or it closes ``fd``.

    Its family is that with the longer addresses, so that those of both fit.
    """
    return socket.SocketType(AF_INET6, SOCK_STREAM, 0, fd)


@implementer(IReadDescriptor)
class EpollLoop:
    """One epoll set and its turns.

    Args:
        reactor: Watches the set.
        clock: Monotonic seconds.
        pipes: For the engine's connections; emptied when there are none.

    Attributes:
        now: When this round of the turn began; old news outside of turns.
    """

    __slots__ = (
        "_awake",
        "_closing",
        "_epoll",
        "_handlers",
        "_quiet_until",
        "_reactor",
        "_resting",
        "_tasks",
        "_turning",
        "_waker",
        "clock",
        "now",
        "pipes",
    )

    def __init__(self, reactor: Any, clock: Callable[[], float], pipes: PipePool) -> None:
        self.clock = clock
        self.pipes = pipes
        self.now = clock()
        self._reactor = reactor
        self._epoll: select.epoll | None = None
        self._waker = -1
        self._handlers: dict[int, Handler] = {}
        self._tasks: dict[Task, None] = {}
        self._resting: dict[Handler, None] = {}
        self._closing: list[int] = []
        self._turning = False
        self._awake = False
        self._quiet_until = 0.0

    # For handlers.

    def watch(self, fd: int, handler: Handler, events: int = EDGES) -> None:
        """Tell ``handler`` of ``events`` on ``fd``, beginning with what is true already.

        Raises:
            OSError: The kernel watches no more for this user (``fs.epoll.max_user_watches``); for whoever has ``fd``.
        """
        if self._epoll is None:
            self._begin()
        self._epoll.register(fd, events)  # type: ignore[union-attr] # begun
        self._handlers[fd] = handler

    def cannot_watch(self, error: OSError) -> None:
        """Say, not too often, that ``watch`` has failed for a client, which is lost by that."""
        if self.now >= self._quiet_until:
            self._quiet_until = self.now + QUIET_SECONDS
            log.warn(
                "a client is lost because its socket cannot be watched: {error} (fs.epoll.max_user_watches?); saying so at "
                "most every {seconds:.0f} seconds",
                error=error,
                seconds=QUIET_SECONDS,
            )

    def rewatch(self, fd: int, events: int) -> None:
        """Other events from now on; 0 for none."""
        self._epoll.modify(fd, events)  # type: ignore[union-attr] # fd is in it

    def hand_over(self, fd: int, handler: Handler) -> None:
        """Tell ``handler`` instead from now on."""
        self._handlers[fd] = handler

    def handler_of(self, fd: int) -> Handler | None:
        """Who is told of ``fd``; None when it is not watched, or not any more."""
        return self._handlers.get(fd)

    def close(self, fd: int) -> None:
        """Close ``fd``, which has no duplicate, and hear no more of it, if it was watched at all."""
        self._handlers.pop(fd, None)
        if self._turning:
            self._closing.append(fd)
        else:
            os.close(fd)
            self._end_if_idle()

    def unwatch(self, fd: int) -> None:
        """Hear no more of ``fd``; it stays open."""
        del self._handlers[fd]
        self._epoll.unregister(fd)  # type: ignore[union-attr] # fd is in it
        if not self._turning:
            self._end_if_idle()

    def later(self, task: Task) -> None:
        """Call ``task.run()`` after this batch, or in the next turn."""
        self._tasks[task] = None
        if not (self._turning or self._awake):
            self._wake()

    def rest(self, handler: Handler) -> None:
        """Call ``handler.handle(EPOLLIN)`` in the next lull, or in the next turn."""
        self._resting[handler] = None

    def give_up(self) -> None:
        """``Task.give_up``; nothing comes out of its ``run``."""

    def survive(self, handler: Task) -> None:
        """An exception came out of ``handler``; for ``except`` blocks."""
        log.failure("{handler} failed; its connection is reset", handler=handler)
        try:
            handler.give_up()
        except Exception:
            log.failure("{handler} failed in giving up", handler=handler)

    # For the reactor.

    def fileno(self) -> int:
        """The set's descriptor."""
        return self._epoll.fileno() if self._epoll is not None else -1

    def logPrefix(self) -> str:
        """For the reactor's own messages."""
        return "epoll engine"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, and the process with all its sockets."""

    def doRead(self) -> None:
        """A turn."""
        epoll = self._epoll
        if epoll is None:
            return
        self._turning = True
        self.now = began = self.clock()
        while self.now - began < TURN_SECONDS:
            events = epoll.poll(LULL_SECONDS, BATCH_EVENTS)
            # Not before: that may have waited, and then what has come would count as older than it is.
            self.now = self.clock()
            if events:
                self._handle(events)
            elif self._resting:
                self.run()
            else:
                break
            if self._tasks:
                self._work()
            if self._closing:
                self._close()
        self._turning = False
        if self._resting:
            self.later(self)
        self._end_if_idle()

    def run(self) -> None:
        """Ask those that rest whether there is something."""
        resting, self._resting = self._resting, {}
        for handler in resting:
            try:
                handler.handle(select.EPOLLIN)
            except Exception:
                self.survive(handler)

    def _handle(self, events: list[tuple[int, int]]) -> None:
        handler_of = self._handlers.get
        for fd, bits in events:
            handler = handler_of(fd)
            if handler is not None:
                try:
                    handler.handle(bits)
                except Exception:
                    self.survive(handler)

    def _work(self) -> None:
        """Do the tasks there are; those that they leave are for the next round."""
        tasks, self._tasks = self._tasks, {}
        for task in tasks:
            try:
                task.run()
            except Exception:
                self.survive(task)
        if self._tasks:
            self._wake()
        elif self._awake:
            self._awake = False
            os.eventfd_read(self._waker)

    def _close(self) -> None:
        closing, self._closing = self._closing, []
        for fd in closing:
            os.close(fd)

    def _wake(self) -> None:
        """Keep the set readable."""
        if not self._awake:
            if self._epoll is None:
                self._begin()
            self._awake = True
            os.eventfd_write(self._waker, 1)

    def _begin(self) -> None:
        self._epoll = select.epoll()
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._waker, select.EPOLLIN)
        self._reactor.addReader(self)

    def _end_if_idle(self) -> None:
        if self._handlers or self._tasks or self._epoll is None:
            return
        self._reactor.removeReader(self)
        self._epoll.close()
        os.close(self._waker)
        self._epoll = None
        self._awake = False
        self.pipes.close()
