"""What signals mean to us.

SIGTERM and SIGINT ask for an orderly stop, after which we exit with status 0; a second one ends at once. SIGHUP asks for a
reload, and for nothing while we are stopping. SIGUSR1 is twistd's, which rotates its log with it; without a log file twistd leaves it alone, and it would kill us.

twistd's own handlers for SIGTERM and SIGINT remember the signal and send it to themselves again at the end, so that the
process would not exit 0. The reactor sets them when it starts to run; ours go in after that.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

log = Logger()


class Signals:
    """Our signal handlers.

    Args:
        reactor: What is stopped (``IReactorCore``, ``IReactorFromThreads``).
        end_now: Called for each signal to stop that comes while we are stopping.
        reload: Called for SIGHUP with its name.
        set_handler: ``signal.signal``.
        get_handler: ``signal.getsignal``.
    """

    def __init__(
        self,
        reactor: Any,
        end_now: Callable[[], object],
        reload: Callable[[str], object],
        set_handler: Callable[..., object] = signal.signal,
        get_handler: Callable[[int], object] = signal.getsignal,
    ) -> None:
        self._reactor = reactor
        self._end_now = end_now
        self._ask_reload = reload
        self._stopping = False
        self._set_handler = set_handler
        self._get_handler = get_handler

    def install(self) -> None:
        """Handle signals from now on, and again once the reactor has set its own handlers.

        A signal that comes before the reactor runs waits for it.
        """
        self._set_handlers()
        self._reactor.callWhenRunning(self._set_handlers)

    def _set_handlers(self) -> None:
        self._set_handler(signal.SIGTERM, self._later(self._stop))
        self._set_handler(signal.SIGINT, self._later(self._stop))
        self._set_handler(signal.SIGHUP, self._later(self._reload))
        if self._get_handler(signal.SIGUSR1) is signal.SIG_DFL:
            self._set_handler(signal.SIGUSR1, self._later(self._rotate))

    def _later(self, handle: Callable[[str], None]) -> Callable[[int, FrameType | None], None]:
        """A handler that lets the reactor call ``handle`` with the signal's name, where it interrupts nothing."""
        return lambda number, frame: self._reactor.callFromThread(handle, signal.Signals(number).name)

    def _stop(self, name: str) -> None:
        try:
            self._reactor.stop()
        except ReactorNotRunning:  # which is what a reactor says that is stopping already
            log.info("{name} again: ending at once", name=name)
            self._end_now()
        else:
            log.info("{name}: stopping", name=name)
        self._stopping = True

    def _reload(self, name: str) -> None:
        if self._stopping:
            log.info("{name}: ignored, we are stopping", name=name)
        else:
            self._ask_reload(name)

    def _rotate(self, name: str) -> None:
        log.info("{name}: there is no log file to rotate", name=name)
