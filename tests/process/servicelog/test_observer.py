"""What is written of what is logged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger, LogLevel
from twisted.logger._legacy import publishToNewObserver
from twisted.python.log import textFromEventDict

from nodebalancer.model import Service, ServiceLogFormat, ServiceLogLevel, Settings
from nodebalancer.process.servicelog.observer import ServiceLog
from nodebalancer.testing.logs import logged

WHERE = "nodebalancer.process.servicelog.observer"


class Outlet:
    """Keeps lines by priority, and can be broken."""

    timed = False
    path = "/var/log/service.log"
    broken: OSError | None = None

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self.reopened = 0

    def write(self, priority: int, lines: Iterable[str]) -> None:
        if self.broken:
            raise self.broken
        self.lines += ((priority, line) for line in lines)

    def reopen(self) -> None:
        if self.broken:
            raise self.broken
        self.reopened += 1


class World:
    """A service log, and one who logs."""

    def __init__(self, **service: Any) -> None:
        self.outlet = Outlet()
        self.service_log = ServiceLog(Service(**service), self.outlet, at=lambda: 1000.0)
        self.log = Logger(namespace="here", observer=self.service_log)

    def follow(self, service: Service, *, commit: bool = True) -> None:
        wanted = Settings(service=service)
        problems: list[tuple[Any, ...]] = []
        for asked in (self.service_log.examine(wanted), self.service_log.prepare(wanted, ())):
            asked.addCallback(problems.append)
        assert problems == [(), ()]
        done: Deferred[None] = self.service_log.commit() if commit else self.service_log.abandon()
        assert done.called

    @property
    def lines(self) -> list[str]:
        return [line for _, line in self.outlet.lines]


def test_of_twisteds_ports_only_we_tell() -> None:
    world = World()
    for message in ("manhole starting on 24122", "Endpoint starting on 1", "(TCP Port 24122 Closed)", "so it starts"):
        event = {"message": (message,), "isError": 0, "time": 0.0, "system": "-"}
        publishToNewObserver(world.service_log, event, textFromEventDict)
    world.log.info("starting on 5")
    assert world.lines == ["[log_legacy#info] so it starts", "[here#info] starting on 5"]


def test_it_is_an_observer() -> None:
    assert ILogObserver.providedBy(World().service_log)


@pytest.mark.parametrize(
    ("least", "told"),
    [
        (ServiceLogLevel.DEBUG, ["debug", "info", "warn", "error", "critical"]),
        (ServiceLogLevel.INFO, ["info", "warn", "error", "critical"]),
        (ServiceLogLevel.WARN, ["warn", "error", "critical"]),
        (ServiceLogLevel.ERROR, ["error", "critical"]),
    ],
)
def test_what_matters_less_is_left_out(least: ServiceLogLevel, told: list[str]) -> None:
    world = World(log_level=least)
    for level in LogLevel.iterconstants():
        world.log.emit(level, "so")
    assert world.lines == [f"[here#{level}] so" for level in told]


def test_an_event_goes_with_its_priority() -> None:
    world = World(log_level=ServiceLogLevel.DEBUG)
    for level in LogLevel.iterconstants():
        world.log.emit(level, "so")
    assert [priority for priority, _ in world.outlet.lines] == [7, 6, 4, 3, 2]


def test_an_event_without_a_level_is_for_information() -> None:
    world = World()
    world.service_log({"log_format": "so", "log_time": 0.0})
    world.service_log({"log_time": 0.0})
    assert world.outlet.lines == [(6, "[-#info] so")]


def test_what_is_left_out_is_not_even_formatted() -> None:
    class Costly:
        def __str__(self) -> str:
            raise AssertionError

    World().log.debug("{costly}", costly=Costly())


def test_format_and_level_change_with_the_settings_and_only_when_they_are_committed() -> None:
    world = World()
    wanted = Service(log_format=ServiceLogFormat.JSON, log_level=ServiceLogLevel.WARN)
    world.follow(wanted, commit=False)
    world.log.info("one")
    world.follow(wanted)
    world.log.info("two")
    world.log.warn("three")
    assert world.lines[0] == "[here#info] one"
    assert [json.loads(line)["message"] for line in world.lines[1:]] == ["three"]


def test_what_is_lost_is_counted_and_told_where_it_is_missing() -> None:
    world = World()
    world.log.info("one")
    world.outlet.broken = OSError(28, "No space left on device")
    for _ in range(3):
        world.log.info("lost")
    world.outlet.broken = None
    world.log.info("two")
    world.log.info("three")
    assert world.lines == [
        "[here#info] one",
        f"[{WHERE}#warn] 3 events are missing here, they could not be written: no space left on device",
        "[here#info] two",
        "[here#info] three",
    ]


def test_a_log_is_opened_anew() -> None:
    world = World()
    world.service_log.reopen()
    assert world.outlet.reopened == 1


def test_a_log_that_cannot_be_opened_anew_is_told(logged_errors: Any) -> None:
    world = World()
    world.outlet.broken = PermissionError(13, "Permission denied")
    with logged("the log") as lines:
        world.service_log.reopen()
    assert lines == [
        "the log /var/log/service.log cannot be opened anew: permission denied; going on with the old file"
    ]
    assert len(logged_errors()) == 1


def test_all_formats_and_levels_of_the_settings_are_known() -> None:
    for format_ in ServiceLogFormat:
        for level in ServiceLogLevel:
            assert World(log_format=format_, log_level=level).lines == []
