"""Every engine there is, each in its world."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from nodebalancer.testing.secure_peers import Authority
from nodebalancer.testing.secure_worlds import Later, SecureWorld
from nodebalancer.testing.worlds import MemoryWorld, RealWorld, World
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.engine_reactor import ReactorEngine

ENGINES = ["reactor", "memory"]
if importlib.util.find_spec("nodebalancer.transport.engine_epoll") is not None:
    ENGINES.append("epoll")


def make_world(name: str, reactor: Any) -> World:
    if name == "reactor":
        return RealWorld(ReactorEngine(reactor), reactor)
    if name == "memory":
        return MemoryWorld()
    lean = importlib.import_module("nodebalancer.transport.engine_epoll")
    return RealWorld(lean.EpollEngine(reactor), reactor)


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest, reactor: Any) -> Iterator[World]:
    made = make_world(request.param, reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def secure_world(reactor: Any, authority: Authority) -> Iterator[Callable[[str], SecureWorld]]:
    """Makes the world of an engine with sockets, by its name."""
    made: list[SecureWorld] = []

    def make(name: str) -> SecureWorld:
        clock = Later()
        engine = {"reactor": ReactorEngine, "epoll": EpollEngine}[name](reactor, now=clock)
        made.append(SecureWorld(engine, reactor, authority, clock))
        return made[0]

    yield make
    for world in made:
        pytest_twisted.blockon(Deferred.fromCoroutine(world.close()))


@pytest.fixture(params=["accepted", "dialled"])
def side(request: pytest.FixtureRequest) -> str:
    """Which of the two ways a connection was made."""
    return str(request.param)
