"""The parts of a process, and what moves their bytes."""

from __future__ import annotations

import sys

import pytest
from twisted.internet import reactor  # noqa: TID251 parts are made for the reactor of the tests

from nodebalancer.process.parts import Parts, engine_maker
from nodebalancer.transport.engine_reactor import ReactorEngine


def test_parts_follow_in_the_order_in_which_they_need_each_other() -> None:
    parts = Parts(reactor, "reactor")
    assert (parts.reloader, parts.editor) == (None, None)
    order = parts.plane._followers
    assert order.index(parts.certificates) < order.index(parts.listeners) < order.index(parts.monitor)
    assert {parts.names, parts.manhole, parts.metrics} <= set(order)
    parts.stop()
    parts.close()


def test_the_reactor_engine_is_there_on_any_system() -> None:
    assert engine_maker("reactor") is ReactorEngine


@pytest.fixture
def no_epoll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodebalancer.transport.engine_epoll", None)


@pytest.mark.usefixtures("no_epoll")
def test_where_there_is_no_epoll_the_portable_engine_takes_its_place() -> None:
    assert engine_maker("auto") is ReactorEngine


@pytest.mark.usefixtures("no_epoll")
def test_where_there_is_no_epoll_it_cannot_be_asked_for() -> None:
    with pytest.raises(ImportError):
        engine_maker("epoll")
