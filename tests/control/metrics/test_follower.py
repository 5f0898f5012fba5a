"""The door to metrics follows the settings."""

from __future__ import annotations

import socket
import subprocess
import sys
from typing import Any

import pytest
from twisted.internet.task import deferLater

from nodebalancer.control.metrics.follower import Metrics
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Settings
from nodebalancer.model import Metrics as Wanted
from nodebalancer.testing.nodes import LOOPBACK, answers, free_port


def now(deferred: Any) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    [result] = results
    return result


class Followed:
    """A follower, led as by a control plane."""

    def __init__(self, reactor: Any, sources: Any) -> None:
        self.metrics = Metrics(reactor, sources)

    def follow(self, wanted: Settings) -> Any:
        assert now(self.metrics.examine(wanted)) == ()
        problems = now(self.metrics.prepare(wanted, ()))
        now(self.metrics.abandon() if problems else self.metrics.commit())
        return problems


@pytest.fixture
def followed(reactor: Any, figured: Any) -> Any:
    followed = Followed(reactor, figured.sources)
    yield followed
    followed.metrics.stop()


def at(port: int) -> Settings:
    return Settings(metrics=Wanted(Address(LOOPBACK, port)))


async def test_it_comes_moves_and_goes(followed: Any, reactor: Any) -> None:
    one, other = free_port(), free_port()
    assert followed.follow(NOTHING) == ()
    assert followed.metrics.address is None
    followed.follow(at(one))
    assert followed.metrics.address == Address(LOOPBACK, one)
    followed.follow(at(one))
    followed.follow(at(other))
    await deferLater(reactor, 0)  # in which sockets are closed
    assert (answers(one), answers(other)) == (False, True)
    followed.follow(NOTHING)
    await deferLater(reactor, 0)
    assert not answers(other)


async def test_a_place_that_is_taken_is_a_problem_and_what_was_goes_on(followed: Any) -> None:
    one = free_port()
    followed.follow(at(one))
    with socket.create_server((LOOPBACK, 0)) as other:
        taken = other.getsockname()[1]
        [problem] = followed.follow(at(taken))
    assert str(problem) == (
        f"[metrics] listen = {LOOPBACK}:{taken}: cannot listen on {LOOPBACK}:{taken}: already in use by this process "
        f"itself, which listens on {LOOPBACK}:{taken}"
    )
    assert answers(one)


async def test_the_loops_lag_is_measured_while_somebody_may_ask(followed: Any) -> None:
    followed.follow(at(free_port()))
    assert followed.metrics._lag._loop.running
    followed.follow(NOTHING)
    assert not followed.metrics._lag._loop.running


def test_a_stop_may_come_before_anything_was_made(followed: Any) -> None:
    followed.metrics.drain()
    followed.metrics.stop()


def test_who_has_no_metrics_does_not_pay_for_them() -> None:
    code = "import sys, nodebalancer.process.single; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
