"""From what runs to what the file says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from nodebalancer.changes import Change
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.reload import Reloader
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.model import Settings

LoggedErrors = Callable[[], list[dict[str, Any]]]

INI = "[service]\nstate_dir = {state}\n[nodebalancer www]\n[config www/web]\nport = 80\n"


class Follower:
    """Has the problems that it is told to have, and may take its time to prepare."""

    def __init__(self) -> None:
        self.problems: tuple[Problem, ...] = ()
        self.waiting: list[Deferred[tuple[Problem, ...]]] | None = None
        self.fault: Exception | None = None

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        if self.fault:
            raise self.fault
        return succeed(self.problems)

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        if self.waiting is None:
            return succeed(())
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def commit(self) -> Deferred[None]:
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        return succeed(None)


class World:
    """A file in a directory of its own, and a reloader for it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "lb.ini"
        self.state = directory / "state"
        self.state.mkdir()
        self.follower = Follower()
        self.plane = ControlPlane([self.follower])
        self.busy: list[bool] = []
        self.now = 1000.0
        self.warnings: list[Problem] = []
        self.reloader = Reloader(
            SettingsFile(str(self.path), "lb.ini"),
            self.plane,
            LastGood(),
            warnings=lambda: self.warnings,
            busy=self.busy.append,
            at=lambda: self.now,
        )
        self.write("")

    def write(self, more: str) -> None:
        self.path.write_text(INI.format(state=self.state) + more)

    def reload(self) -> Any:
        got: list[Any] = []
        self.reloader.reload("reload()").addBoth(got.append)
        [answer] = got
        return getattr(answer, "value", answer)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sentences(events: list[dict[str, Any]]) -> list[str]:
    return [str(event["log_format"]).format(**event) for event in events]


def test_what_the_file_says_runs_and_one_line_tells_what_changed(world: World, log_lines: list[str]) -> None:
    assert len(world.reload()) == 2
    assert log_lines[-1] == (
        f"reload(): reloaded lb.ini: [service] state_dir: /var/lib/nodebalancer -> {world.state}, 1 NodeBalancer added, "
        "1 config added"
    )
    assert world.plane.current.nodebalancers["www"].configs["web"].port == 80
    assert world.busy == [True, False]
    assert world.reload() == ()
    assert log_lines[-1] == "reload(): reloaded lb.ini: nothing changed"
    assert (world.state / "last-good.ini").read_text().endswith(f"/lb.ini\n{world.path.read_text()}")


def test_a_bad_file_changes_nothing_and_the_log_has_every_problem_with_its_line(
    world: World, logged_errors: LoggedErrors
) -> None:
    world.reload()
    before = world.plane.current
    world.write("grace = 1\n[nodes www/web]\na = nowhere\n")
    error = world.reload()
    assert isinstance(error, SettingsError)
    told = sentences(logged_errors())
    assert [line.partition(": ")[0] for line in told] == ["lb.ini:6", "lb.ini:8", "reload()"]
    assert told[-1] == "reload(): nothing was changed, what ran goes on; problems in lb.ini: 2"
    assert world.plane.current is before
    assert "grace" not in (world.state / "last-good.ini").read_text()


def test_a_problem_of_a_follower_gets_its_line(world: World, logged_errors: LoggedErrors) -> None:
    world.follower.problems = (Problem("[config www/web] port = 80", "taken", ("config www/web", "port")),)
    world.reload()
    assert sentences(logged_errors())[0] == "lb.ini:5: [config www/web] port = 80: taken"


def test_a_missing_file_is_a_problem_like_another(world: World, logged_errors: LoggedErrors) -> None:
    world.path.unlink()
    assert isinstance(world.reload(), SettingsError)
    assert "there is no such file" in sentences(logged_errors())[0]


def test_what_is_not_right_and_yet_no_reason_is_told_each_time(world: World, log_lines: list[str]) -> None:
    world.warnings = [Problem("[config www/web] port", "expires tomorrow", ("config www/web", "port"))]
    world.path.write_text("[nodebalancer idle]\n" + world.path.read_text())
    for _ in range(2):
        log_lines.clear()
        world.reload()
        assert log_lines[0].startswith("lb.ini:1: [nodebalancer idle]: listens on nothing")
        assert log_lines[-2] == "lb.ini:6: [config www/web] port = 80: expires tomorrow"


def test_figures_say_how_the_last_one_went(world: World, logged_errors: LoggedErrors) -> None:
    reloader = world.reloader
    assert (reloader.succeeded, reloader.succeeded_at, reloader.count) == (True, 1000, {True: 0, False: 0})
    world.now = 2000
    world.reload()
    world.path.write_text("nonsense")
    world.now = 3000
    world.reload()
    logged_errors()
    assert (reloader.succeeded, reloader.succeeded_at, reloader.count) == (False, 2000, {True: 1, False: 1})


def test_a_file_that_asks_for_something_else_differs(world: World) -> None:
    assert world.reloader.differs()
    world.reload()
    assert not world.reloader.differs()
    world.write("# a comment asks for nothing\n")
    assert not world.reloader.differs()
    for text in ("nonsense", None):
        if text:
            world.path.write_text(text)
        else:
            world.path.unlink()
        assert world.reloader.differs()
    world.write("")
    assert not world.reloader.differs()


def test_signals_that_come_during_a_reload_are_one_more(world: World) -> None:
    waiting = world.follower.waiting = []
    for _ in range(3):
        world.reloader.request("SIGHUP")
    assert len(waiting) == 1
    waiting[0].callback(())
    assert len(waiting) == 2
    waiting[1].callback(())
    assert len(waiting) == 2
    assert world.reloader.count[True] == 2


def test_a_request_that_is_refused_is_in_the_log_and_no_failure_of_ours(
    world: World, logged_errors: LoggedErrors
) -> None:
    world.path.write_text("nonsense")
    world.reloader.request("SIGHUP")
    assert sentences(logged_errors())[-1].startswith("SIGHUP: nothing was changed")
    world.write("")
    world.reloader.request("SIGHUP")
    assert world.reloader.succeeded


def test_a_fault_of_ours_is_logged_as_one(world: World, logged_errors: LoggedErrors) -> None:
    world.follower.fault = ValueError("broken")
    world.reloader.request("SIGHUP")
    [event] = logged_errors()
    assert event["log_failure"].check(ValueError)
    assert world.busy == [True, False]
    assert not world.reloader.succeeded
