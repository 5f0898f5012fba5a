"""The gate counts and pauses; nothing else."""

from __future__ import annotations

from nodebalancer.fields import Address
from nodebalancer.proxy.gate import Gate


class FakeListener:
    """Remembers whether it accepts."""

    def __init__(self) -> None:
        self.address = Address("127.0.0.1", 1)
        self.accepts = False

    def pause(self) -> None:
        self.accepts = False

    def resume(self) -> None:
        self.accepts = True

    def close(self) -> None:
        self.accepts = False


class Counted(Gate):
    """Counts as ``LiveConfig`` does."""

    def entered(self) -> None:
        self.open += 1
        if self.open == self.limit:
            self.shut()

    def left(self) -> None:
        self.open -= 1
        if self.open == self.limit - 1:
            self.reopen()


def test_all_listeners_pause_at_the_limit_and_resume_below_it() -> None:
    """At max_connections no port of the NodeBalancer accepts; when one client leaves, all do again (R3)."""
    listeners = [FakeListener(), FakeListener()]
    gate = Counted(2)
    gate.guard(listeners, 2)
    gate.entered()
    assert [one.accepts for one in listeners] == [True, True]
    gate.entered()
    assert [one.accepts for one in listeners] == [False, False]
    assert gate.times_full == 1
    gate.left()
    assert [one.accepts for one in listeners] == [True, True]
    assert gate.open == 1


def test_a_raised_limit_applies_at_once() -> None:
    """A reload that raises max_connections lets waiting clients in."""
    listener = FakeListener()
    gate = Counted(1)
    gate.guard([listener], 1)
    gate.entered()
    assert not listener.accepts
    gate.guard([listener], 2)
    assert listener.accepts


def test_a_lowered_limit_drops_nobody_and_admits_nobody() -> None:
    """Connections over a lowered limit stay; accepting goes on only below it."""
    listener = FakeListener()
    gate = Counted(3)
    gate.guard([listener], 3)
    for _ in range(3):
        gate.entered()
    gate.guard([listener], 1)
    assert not listener.accepts
    gate.left()
    gate.left()
    assert not listener.accepts
    gate.left()
    assert listener.accepts
