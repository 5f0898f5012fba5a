"""What signals mean to us.

SIGTERM and SIGINT ask for an orderly stop, after which we exit with status 0; a second one ends at once. SIGHUP asks for a
reload, and for nothing while we are stopping; however many of them come before or while one is done, one more follows. SIGUSR1 opens logs anew, after they were moved away; whoever handled it before us
(an observer of twistd's ``--logger``) still gets it.

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
        reopen: Called for SIGUSR1; does not raise.
    """

    def __init__(
        self,
        reactor: Any,
        end_now: Callable[[], object],
        reload: Callable[[str], object],
        set_handler: Callable[..., object] = signal.signal,
        get_handler: Callable[[int], object] = signal.getsignal,
        *,
        reopen: Callable[[], object] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._end_now = end_now
        self._ask_reload = reload
        self._ask_reopen = reopen
        self._stopping = False
        self._waiting: set[int] = set()
        self._set_handler = set_handler
        self._get_handler = get_handler

    def install(self) -> None:
        """Handle signals from now on, and again once the reactor has set its own handlers.

        A signal that comes before the reactor runs waits for it.
        """
        self._chain_reopen()
        self._set_handlers()
        self._reactor.callWhenRunning(self._set_handlers)

    def _set_handlers(self) -> None:
        self._set_handler(signal.SIGTERM, self._later(self._stop))
        self._set_handler(signal.SIGINT, self._later(self._stop))
        self._set_handler(signal.SIGHUP, self._once(self._reload))

    def _chain_reopen(self) -> None:
        before = self._get_handler(signal.SIGUSR1)
        ours = self._once(self._reopen)

        def handle(number: int, frame: FrameType | None) -> None:
            if callable(before):
                before(number, frame)
            ours(number, frame)

        self._set_handler(signal.SIGUSR1, handle)

    def _later(self, handle: Callable[[str], None]) -> Callable[[int, FrameType | None], None]:
        """A handler that lets the reactor call ``handle`` with the signal's name, where it interrupts nothing."""
        return lambda number, frame: self._reactor.callFromThread(handle, signal.Signals(number).name)

    def _once(self, handle: Callable[[str], None]) -> Callable[[int, FrameType | None], None]:
        """The same, but signals that come before ``handle`` is called will do for one."""

        def begin(number: int) -> None:
            self._waiting.discard(number)
            handle(signal.Signals(number).name)

        def wait(number: int, frame: FrameType | None) -> None:
            if number not in self._waiting:
                self._waiting.add(number)
                self._reactor.callFromThread(begin, number)

        return wait

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

    def _reopen(self, name: str) -> None:
        self._ask_reopen()
        log.info("{name}: logs are opened anew", name=name)
