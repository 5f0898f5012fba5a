# mypy: allow-untyped-decorators
# pytest-twisted has no annotations.
"""The services of a single process."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet import reactor  # noqa: TID251 services run in the reactor of the tests
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.errors import SettingsError
from nodebalancer.fields import Address
from nodebalancer.model import Metrics, Node, NodeBalancer, PortConfig, Protocol, Service, Settings
from nodebalancer.process.launch import Launch
from nodebalancer.process.signals import Signals
from nodebalancer.process.single import (
    COLLECTOR_THRESHOLDS,
    Balancer,
    ProcessWide,
    settle_collector,
)
from nodebalancer.settings.reading import load
from nodebalancer.testing.nodes import LOOPBACK, answers, free_port

LoggedErrors = Callable[[], list[LogEvent]]


def settings(port: int, *, connections: int = 10, grace: int = 0) -> Settings:
    nodes = {"a": Node("a", Address(LOOPBACK, 9))}
    configs = {"web": PortConfig("web", nodes, port=port, protocol=Protocol.TCP)}
    return Settings(
        {"www": NodeBalancer("www", configs, listen=(LOOPBACK,), max_connections=connections)},
        service=Service(grace_period=grace),
    )


@pytest.fixture
def launch() -> Iterator[Launch]:
    """A launch whose sentences nobody hears."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    launch = Launch({}, nowhere)
    os.close(nowhere)
    yield launch
    launch.started()


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_format"):
            lines.append(str(event["log_format"]).format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_nothing_listens_before_the_privileged_start(launch: Launch) -> None:
    port = free_port()
    Balancer(reactor, "auto", [settings(port)], launch)
    assert not answers(port)


@pytest_twisted.ensureDeferred
async def test_it_listens_from_the_privileged_start_to_the_stop(launch: Launch, log_lines: list[str]) -> None:
    port = free_port()
    balancer = Balancer(reactor, "auto", [settings(port)], launch)
    balancer.privilegedStartService()
    assert answers(port)
    balancer.startService()
    assert f"listening on {LOOPBACK}:{port} for [config www/web], 1 node" in log_lines
    await balancer.stopService()
    assert not answers(port)
    balancer.end_now()


@pytest_twisted.ensureDeferred
async def test_before_it_stops_it_goes_on_for_a_while_and_tells_who_asks(launch: Launch, log_lines: list[str]) -> None:
    port, metrics = free_port(), free_port()
    wanted = attrs.evolve(
        settings(port), service=Service(shutdown_delay=3000), metrics=Metrics(Address(LOOPBACK, metrics))
    )
    balancer = Balancer(reactor, "auto", [wanted], launch)
    balancer.privilegedStartService()
    balancer.startService()
    stopped = balancer.stopService()
    assert log_lines[-1] == "going on for 3000 seconds, in which /health says 503"
    assert balancer.status().startswith("stopping, ")
    assert (answers(port), answers(metrics), balancer.parts.monitor._loop.running) == (True, True, True)
    balancer.end_now()
    await stopped
    await deferLater(reactor, 0)  # in which sockets are closed
    assert (answers(port), answers(metrics), balancer.parts.monitor._loop.running) == (False, False, False)


class WithFile:
    """A balancer that runs what a file says, and has one connection to nobody."""

    def __init__(self, directory: Path, launch: Launch, **options: Any) -> None:
        self.port = free_port()
        self.file = directory / "lb.ini"
        self.say("")
        self.busy: list[bool] = []
        self.balancer = Balancer(
            reactor,
            "auto",
            [load(self.file.read_text(), "lb.ini")],
            launch,
            file=SettingsFile(str(self.file), "lb.ini"),
            busy=self.busy.append,
            **options,
        )
        self.balancer.privilegedStartService()
        self.balancer.startService()

    def say(self, more: str, port: int = 0) -> None:
        self.file.write_text(
            f"[service]\nstate_dir = {self.file.parent}\n[nodebalancer www]\nlisten = {LOOPBACK}\n"
            f"[config www/web]\ncheck = none\nport = {port or self.port}\n[nodes www/web]\na = {LOOPBACK}:9\n{more}"
        )


@pytest_twisted.ensureDeferred
async def test_a_reload_changes_what_runs_and_a_stop_ends_that(
    launch: Launch, tmp_path: Path, log_lines: list[str], logged_errors: LoggedErrors
) -> None:
    world = WithFile(tmp_path, launch)
    balancer = world.balancer
    assert balancer.status() == "1 config, 0 nodes up, 0 down, 1 unknown"
    other = free_port()
    world.say("b = 127.0.0.1:10 mode=reject\n", other)
    balancer.reload("SIGHUP")
    assert log_lines[-1] == "SIGHUP: reloaded lb.ini: 1 config changed, 1 node added"
    assert world.busy == [True, False]
    assert (answers(other), answers(world.port)) == (True, False)
    assert balancer.status() == "1 config, 0 nodes up, 1 down, 1 unknown"
    stopped = balancer.stopService()
    assert balancer.status().startswith("stopping, ")
    assert balancer.parts.reloader is not None
    with pytest.raises(SettingsError):
        await balancer.parts.reloader.reload()
    assert logged_errors()[0]["problem"] == "stopping: nothing can be changed any more"
    assert not answers(other)
    balancer.end_now()
    await stopped


@pytest_twisted.ensureDeferred
async def test_what_runs_is_kept_from_the_start_on_and_known_to_be_what_was_asked_for(
    launch: Launch, tmp_path: Path
) -> None:
    world = WithFile(tmp_path, launch)
    assert (tmp_path / "last-good.ini").read_text().endswith(f"{world.file}\n{world.file.read_text()}")
    reloader = world.balancer.parts.reloader
    assert reloader is not None
    assert reloader.succeeded
    await world.balancer.stopService()


@pytest_twisted.ensureDeferred
async def test_who_runs_something_else_than_the_file_says_knows_it(launch: Launch, tmp_path: Path) -> None:
    """With --or-last-good, when the file cannot be used."""
    file = tmp_path / "lb.ini"
    wanted = settings(free_port())
    wanted = attrs.evolve(wanted, service=attrs.evolve(wanted.service, state_dir=str(tmp_path)))
    balancer = Balancer(reactor, "auto", [wanted], launch, file=SettingsFile(str(file)))
    balancer.privilegedStartService()
    balancer.startService()
    assert balancer.parts.reloader is not None
    assert not balancer.parts.reloader.succeeded
    assert load((tmp_path / "last-good.ini").read_text(), "f") == wanted
    await balancer.stopService()


@pytest_twisted.ensureDeferred
async def test_without_a_file_there_is_nothing_to_reload(launch: Launch, log_lines: list[str]) -> None:
    balancer = Balancer(reactor, "auto", [settings(free_port())], launch)
    balancer.privilegedStartService()
    balancer.reload("SIGHUP")
    assert log_lines[-1] == "SIGHUP: there is no file to reload"
    await balancer.stopService()


@pytest_twisted.ensureDeferred
async def test_rights_that_are_gone_are_told_at_the_start(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_lines: list[str]
) -> None:
    monkeypatch.setattr("nodebalancer.process.single.lost", lambda settings, path: [f"{path} is lost"])
    users = iter([0])
    monkeypatch.setattr(os, "geteuid", lambda: next(users, 4242))
    world = WithFile(tmp_path, launch)
    assert f"{world.file} is lost" in log_lines
    await world.balancer.stopService()


@pytest_twisted.ensureDeferred
async def test_a_service_that_never_started_can_be_stopped(launch: Launch) -> None:
    await Balancer(reactor, "auto", [], launch).stopService()


@pytest_twisted.ensureDeferred
async def test_settings_that_cannot_be_followed_give_way_to_the_next(launch: Launch, log_lines: list[str]) -> None:
    with socket.create_server((LOOPBACK, free_port())) as other:
        wanted = [settings(other.getsockname()[1]), settings(free_port())]
        balancer = Balancer(reactor, "auto", wanted, launch)
        balancer.privilegedStartService()
    assert balancer.plane.current == wanted[1]
    assert [line for line in log_lines if "already in use by this process itself" in line]
    await balancer.stopService()


def test_when_none_can_be_followed_the_process_ends_with_a_sentence(
    launch: Launch, logged_errors: LoggedErrors
) -> None:
    with socket.create_server((LOOPBACK, free_port())) as other:
        port = other.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            Balancer(reactor, "auto", [settings(port)], launch).privilegedStartService()
    assert ended.value.code == 1
    [event] = logged_errors()
    assert f"[config www/web] port = {port}: cannot listen on {LOOPBACK}:{port}" in event["sentence"]


def test_a_fault_of_ours_is_not_dressed_up_as_a_problem_of_the_settings(launch: Launch) -> None:
    half_made: Any = SimpleNamespace(nodebalancers={})
    with pytest.raises(AttributeError):
        Balancer(reactor, "auto", [half_made], launch).privilegedStartService()


@pytest_twisted.ensureDeferred
async def test_more_connections_than_descriptors_are_a_warning(launch: Launch, log_lines: list[str]) -> None:
    balancer = Balancer(reactor, "auto", [settings(free_port(), connections=10**6)], launch)
    balancer.privilegedStartService()
    await balancer.stopService()
    assert [line for line in log_lines if "of 1000000 connections only" in line]


class Reactor:
    """Runs at once what is to be run when it runs."""

    def __init__(self) -> None:
        self.when_running: list[Callable[[], object]] = []

    def callWhenRunning(self, f: Callable[[], object]) -> None:
        self.when_running.append(f)


def test_the_process_handles_signals_before_anything_runs_and_lets_go_of_the_terminal_afterwards() -> None:
    read_end, write_end = os.pipe()
    launch = Launch({}, write_end)
    os.close(write_end)
    stub = Reactor()
    handlers: dict[int, object] = {}
    service = ProcessWide(stub, Signals(stub, lambda: None, print, handlers.__setitem__), launch)
    assert handlers == {}
    service.privilegedStartService()
    assert len(handlers) >= 3
    service.startService()
    stub.when_running.remove(settle_collector)
    for started in stub.when_running:
        started()
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_what_start_up_made_is_out_of_the_collectors_sight() -> None:
    before = gc.get_threshold()
    settle_collector()
    try:
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == COLLECTOR_THRESHOLDS
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
