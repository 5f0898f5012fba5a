"""What systemd is told (sd_notify(3)): that we are ready, reloading, stopping, how we are, and that we are alive."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.application.service import Service
from twisted.logger import Logger

from nodebalancer.looping import GuardedLoop

log = Logger()

STATUS_SECONDS: Final = 5
"""How old the line may be that ``systemctl status`` shows."""


class Notifier:
    """Sends datagrams to the socket that ``NOTIFY_SOCKET`` names; without one it does nothing.

    Args:
        environ: The process's environment.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._told = False

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def tell(self, *lines: str) -> bool:
        """Send ``lines`` as one datagram; never waits.

        Returns:
            False when systemd cannot take it now, of which the log tells once.
        """
        if not self._address:
            return True
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as e:
            if not self._told:
                self._told = True
                log.warn("systemd cannot be told how we are: {reason}", reason=(e.strerror or str(e)).lower())
            return False
        return True


class Systemd(Service):
    """Keeps systemd informed from the start of the tree to the end of the process.

    What it cannot take, since its queue is full, is sent again with the next status line; but a sign of life is not, since
    that would be none.

    Args:
        reactor: Its loops show that it turns: a watchdog that was fed by a thread would sleep through a hang.
        environ: The process's environment: ``NOTIFY_SOCKET``, ``WATCHDOG_USEC``, ``WATCHDOG_PID``.
        status: How we are, in a line.
    """

    def __init__(self, reactor: Any, environ: Mapping[str, str], status: Callable[[], str]) -> None:
        self._reactor = reactor
        self._notifier = Notifier(environ)
        self._status = status
        self._shown = ""
        # What is to be said of our state, in this order, each in its lines.
        self._unsaid: list[tuple[str, ...]] = []
        self._loops = [GuardedLoop(reactor, STATUS_SECONDS, self._show, name="the status line")]
        seconds = watchdog_seconds(environ)
        if seconds:
            self._loops.append(GuardedLoop(reactor, seconds / 2, self._feed, name="the watchdog's food"))

    def startService(self) -> None:
        """Ready as soon as the reactor runs."""
        super().startService()
        if self._notifier.wanted:
            self._reactor.callWhenRunning(self._ready)

    def stopService(self) -> None:
        """Stopping. Signs of life go on: open connections may take their time to end."""
        super().stopService()
        self._unsaid.clear()
        self._say("STOPPING=1")

    def reloading(self, busy: bool) -> None:
        """A reload begins (True), or has ended."""
        if busy:
            # Whatever was before this, it will end with being ready.
            self._unsaid.clear()
            self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")
        else:
            self._say("READY=1")

    def _say(self, *lines: str) -> None:
        self._unsaid.append(lines)
        self._say_on()

    def _say_on(self) -> None:
        while self._unsaid and self._notifier.tell(*self._unsaid[0]):
            del self._unsaid[0]

    def _ready(self) -> None:
        self._say("READY=1")
        for loop in self._loops:
            loop.start(at_once=True)

    def _show(self) -> None:
        self._say_on()
        status = self._status()
        if status != self._shown and self._notifier.tell(f"STATUS={status}"):
            self._shown = status

    def _feed(self) -> None:
        self._notifier.tell("WATCHDOG=1")


def watchdog_seconds(environ: Mapping[str, str]) -> float:
    """How long we may be silent (sd_watchdog_enabled(3)); 0: as long as we like."""
    microseconds = environ.get("WATCHDOG_USEC", "")[:20]
    ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1e6 if ours and microseconds.isdecimal() else 0.0
