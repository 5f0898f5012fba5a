"""What every test gets: no unhandled error in Twisted's log goes unseen."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

# Time is never a test: a busy machine is no fault.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

LoggedErrors = Callable[[], list[LogEvent]]


@implementer(ILogObserver)
class Errors:
    """Collects what is logged at level error or worse."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level") in (LogLevel.error, LogLevel.critical):
            self.events.append(event)

    def take(self) -> list[LogEvent]:
        gc.collect(1)
        taken, self.events = self.events, []
        return taken


def text(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return f"{event.get('log_namespace')}: {failure.getTraceback() if failure else event.get('log_format')}"


@pytest.fixture(autouse=True)
def unhandled_errors() -> Iterator[Errors]:
    """Fails a test during which an error was logged, or a failed Deferred was thrown away.

    Those that a test expects it takes away with ``logged_errors``. Only young garbage is collected (tens of
    microseconds): what a test has just dropped is among it, unless the collector ran meanwhile and so has reported it.
    """
    errors = Errors()
    globalLogPublisher.addObserver(errors)
    yield errors
    left = errors.take()
    globalLogPublisher.removeObserver(errors)
    assert not left, "errors were logged:\n" + "\n".join(map(text, left))


@pytest.fixture
def logged_errors(unhandled_errors: Errors) -> LoggedErrors:
    """The errors logged so far; calling it takes them away, so the test expects exactly these."""
    return unhandled_errors.take


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests that are coroutines run in the real reactor and may await Deferreds."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    pytest_twisted.blockon(Deferred.fromCoroutine(pyfuncitem.obj(**arguments)))
    return True


@pytest.fixture(scope="session")
def reactor() -> Any:
    """The real reactor, running while a coroutine test waits."""
    from twisted.internet import reactor  # noqa: TID251 the one place where tests get it

    return reactor
