from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from twisted.logger import LogEvent, capturedLogs

from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorders
from nodebalancer.transport.accepting import QUIET_SECONDS, Shortage, protocol_for

CLIENT = Address("198.51.100.1", 40000)


def fault(*_: object) -> bool:
    raise ValueError("a fault of ours")


@pytest.mark.parametrize("admit", [None, lambda peer: peer == CLIENT])
def test_whom_nobody_refuses_gets_a_protocol(admit: Callable[[Address], bool] | None) -> None:
    factory = Recorders()
    assert protocol_for(CLIENT, factory, admit) is factory.built[0]
    assert factory.clients == [CLIENT]


def test_for_whom_is_not_admitted_nothing_is_built() -> None:
    factory = Recorders()
    assert protocol_for(CLIENT, factory, lambda _: False) is None
    assert factory.clients == []


def test_a_fault_is_logged_and_the_client_refused(logged_errors: Callable[[], list[LogEvent]]) -> None:
    assert protocol_for(CLIENT, Recorders(), fault) is None
    assert len(logged_errors()) == 1


def test_a_shortage_is_told_now_and_then() -> None:
    """A full process has enough to do; and all its listeners are full together."""
    error = OSError(errno.EMFILE, "Too many open files")
    assert told_over_time(lambda shortage: shortage.tell(CLIENT, error)) == [1, 0, 1, 0]


def test_faults_are_told_now_and_then(logged_errors: Callable[[], list[LogEvent]]) -> None:
    """A persistent one would fill the disk."""

    def survive(shortage: Shortage) -> None:
        try:
            fault()
        except ValueError:
            shortage.survive(CLIENT)

    assert told_over_time(survive) == [1, 0, 1, 0]
    assert len(logged_errors()) == 2


def told_over_time(tell: Callable[[Shortage], None]) -> list[int]:
    """Lines at 0 and 1 seconds, and when it is no longer quiet."""
    now = [0.0]
    shortage = Shortage(lambda: now[0])
    told = []
    for seconds in (0, 1, QUIET_SECONDS, QUIET_SECONDS + 1):
        now[0] = seconds
        with capturedLogs() as lines:
            tell(shortage)
        told.append(len(lines))
    return told
