"""The command line, as far as it goes before anything is begun."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from twisted.application.service import Application, IServiceCollection, MultiService
from twisted.logger import ILogObserver, LogLevel

from nodebalancer.control.last_good import LastGood
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.process import tap
from nodebalancer.process.demo import Demo
from nodebalancer.process.single import Balancer, ProcessWide
from nodebalancer.process.systemd.notify import Systemd
from nodebalancer.process.tap import DEFAULT_CONFIG, Options, makeService
from nodebalancer.settings.reading import load
from nodebalancer.testing.nodes import LOOPBACK, answers, free_port

INI = "[nodebalancer www]\nlisten = 127.0.0.1\n[config www/web]\nport = {port}\n[nodes www/web]\na = 127.0.0.1:9\n"


def typed(*arguments: str) -> Options:
    """The options after ``twistd nodebalancer ARGUMENTS``."""
    options = Options()
    options.parseOptions(list(arguments))
    return options


def refused(*arguments: str) -> str:
    """What standard error gets when the command is refused."""
    with pytest.raises(SystemExit) as ended:
        typed(*arguments)
    assert isinstance(ended.value.code, str)  # which Python prints to standard error, and exits 1
    return ended.value.code


@pytest.fixture
def ini(tmp_path: Path) -> Path:
    file = tmp_path / "nodebalancer.ini"
    file.write_text(INI.format(port=free_port()))
    return file


def test_the_settings_lie_in_etc_unless_another_file_is_named() -> None:
    if Path(DEFAULT_CONFIG).exists():
        pytest.skip(f"this machine has {DEFAULT_CONFIG}")
    assert refused() == (
        "/etc/nodebalancer/nodebalancer.ini: there is no such file; name yours with --config FILE, "
        "or try --demo, which needs none"
    )


def test_a_relative_path_still_holds_after_twistd_has_changed_its_directory(
    ini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ini.parent)
    options = typed("--config", ini.name)
    assert options["config"] == str(ini)
    assert options.settings is not None
    options.launch.started()


def test_every_problem_is_a_sentence_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "bad.ini"
    file.write_text("[nodebalancer www]\nlisten = nowhere\n[config www/web]\nport = 0\n")
    first, second = refused("--config", str(file)).splitlines()
    assert first.startswith(f"{file}:2: [nodebalancer www] listen = nowhere: ")
    assert second.startswith(f"{file}:4: [config www/web] port = 0: ")


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    file = tmp_path / "bad.ini"
    file.write_bytes(b"[nodebalancer \xff]\n")
    assert "UTF-8" in refused("--config", str(file))


def test_warnings_keep_nobody_from_starting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "idle.ini"
    file.write_text("[nodebalancer www]\n")
    typed("--config", str(file)).launch.started()
    assert f"warning: {file}:1: [nodebalancer www]: listens on nothing" in capsys.readouterr().err


def test_check_prints_what_would_run_and_begins_nothing(ini: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        typed("--check", "--config", str(ini))
    assert ended.value.code == 0
    assert "[config www/web] http on 127.0.0.1:" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--check", "--plan"])
def test_what_followers_see_is_told_with_its_line(ini: Path, ran: Path, flag: str) -> None:
    ini.write_text(ini.read_text().replace("port =", "protocol = https\nssl_cert = none\nssl_key = none\nport ="))
    assert f"{ini}:7: [config www/web] ssl_cert = none: there is no such file" in refused(flag, "--config", str(ini))


def test_there_is_nothing_to_check_in_the_demo() -> None:
    assert "exclude each other" in refused("--check", "--demo")


def test_there_is_nothing_to_plan_in_the_demo() -> None:
    assert "exclude each other" in refused("--plan", "--demo")


STATE = "[service]\nstate_dir = {state}\n"


@pytest.fixture
def ran(ini: Path, tmp_path: Path) -> Path:
    """``last-good.ini`` as a start with the settings leaves it, which name it."""
    ini.write_text(STATE.format(state=tmp_path) + ini.read_text())
    last = tmp_path / "last-good.ini"
    last.write_text(ini.read_text())
    return last


def planned(ini: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        typed("--plan", "--config", str(ini))
    assert ended.value.code == 0
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_a_plan_tells_what_a_reload_would_change(ini: Path, ran: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, line = planned(ini, capsys)
    assert header.startswith(f"compared with {ran}, which ran last (20")
    assert line == "nothing would change"
    ini.write_text(ini.read_text() + "b = 127.0.0.1:10\n")
    assert planned(ini, capsys)[1:] == ["[nodes www/web] b is added: 127.0.0.1:10"]


def test_a_plan_of_a_file_that_is_to_come_tells_whose_settings_it_is_compared_with(
    ini: Path, ran: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ran.read_text()
    LastGood().keep(load(text, "f"), SettingsFile(str(ini)), text)
    assert planned(ini, capsys)[0].endswith("):")
    to_come = tmp_path / "next.ini"
    to_come.write_text(text + "b = 127.0.0.1:10\n")
    header, line = planned(to_come, capsys)
    assert header.startswith(f"compared with {ran}, which ran last (20")
    assert header.endswith(f") and was made from {ini}:")
    assert line == "[nodes www/web] b is added: 127.0.0.1:10"


def test_a_plan_needs_to_know_what_runs(ini: Path, ran: Path) -> None:
    ran.write_text("[nonsense]\n")
    assert f"{ran}:1" in refused("--plan", "--config", str(ini))
    ran.unlink()
    assert refused("--plan", "--config", str(ini)).startswith(
        f"{ran}: there is no last-good.ini yet, so nothing to compare with; every start and reload"
    )
    ran.symlink_to(ran)
    assert refused("--plan", "--config", str(ini)).startswith(f"{ran}: cannot be read: ")


def test_a_plan_of_a_bad_file_tells_its_problems(ini: Path, ran: Path) -> None:
    ini.write_text(ini.read_text() + "b = nowhere\n")
    assert "b = nowhere" in refused("--plan", "--config", str(ini))


def test_a_broken_file_gives_way_to_what_ran_last_loudly(
    ini: Path, ran: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ini.write_text(ini.read_text() + "b = nowhere\n")
    assert "b = nowhere" in refused("--config", str(ini))
    options = typed("--config", str(ini), "--or-last-good")
    assert [len(s.nodebalancers["www"].configs["web"].nodes) for s in options.wanted()] == [1]
    options.launch.started()
    told = capfd.readouterr().err
    assert "b = nowhere: expected ADDRESS:PORT" in told
    assert f"{ini} CANNOT BE USED; starting from {ran}, which is what ran last" in told


def test_settings_that_cannot_be_followed_give_way_to_what_ran_last(
    ini: Path, ran: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ini.write_text(ini.read_text() + "b = 127.0.0.1:10\n")
    options = typed("--config", str(ini), "--or-last-good")
    wanted = options.wanted()
    assert len(next(wanted).nodebalancers["www"].configs["web"].nodes) == 2
    assert "cannot be followed" not in capfd.readouterr().err
    assert len(next(wanted).nodebalancers["www"].configs["web"].nodes) == 1
    assert f"{ini} cannot be followed; starting from {ran}, which is what ran last" in capfd.readouterr().err
    options.launch.started()
    assert list(typed("--config", str(ini)).wanted()) == [options.settings]


def test_what_could_not_be_followed_is_not_tried_twice(ini: Path, ran: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ran.write_text("# the same in other words\n" + ran.read_text())
    options = typed("--config", str(ini), "--or-last-good")
    assert list(options.wanted()) == [options.settings]
    options.launch.started()
    assert capfd.readouterr().err == ""


def test_nobody_starts_from_what_ran_for_another_file(
    ini: Path, ran: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = SettingsFile(str(tmp_path / "other.ini"))
    other_settings, text = load(ran.read_text(), "f"), ran.read_text()
    LastGood().keep(other_settings, other, text)
    sentence = f"{ran}: it was made from {other.path}, not from {ini}, so it is nothing to fall back on"
    ini.write_text(ini.read_text() + "b = 127.0.0.1:10\n")
    options = typed("--config", str(ini), "--or-last-good")
    assert list(options.wanted()) == [options.settings]
    options.launch.started()
    assert sentence in capfd.readouterr().err
    ini.write_text(ini.read_text() + "c = nowhere\n")
    assert sentence in refused("--config", str(ini), "--or-last-good")


def test_without_anything_that_ran_last_all_problems_are_told(
    ini: Path, ran: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options = typed("--config", str(ini), "--or-last-good")
    ran.unlink()
    assert len(list(options.wanted())) == 1
    options.launch.started()
    assert f"{ran}: there is no last-good.ini yet, so nothing to fall back on" in capfd.readouterr().err
    ini.write_text(ini.read_text() + "b = nowhere\n")
    told = refused("--config", str(ini), "--or-last-good")
    assert "b = nowhere" in told
    assert f"{ran}: there is no last-good.ini yet, so nothing to fall back on" in told


def test_a_file_that_is_no_text_still_says_where_to_find_what_ran_last(
    ini: Path, ran: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ini.write_bytes(b"# caf\xe9\n" + ini.read_bytes())
    options = typed("--config", str(ini), "--or-last-good")
    options.launch.started()
    told = capfd.readouterr().err
    assert "byte 0xe9 is not UTF-8" in told
    assert f"starting from {ran}, which is what ran last" in told


def test_without_the_file_what_ran_last_is_looked_for_where_it_is_by_default(
    ini: Path, ran: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = SettingsFile(str(tmp_path / "default/last-good.ini"))
    monkeypatch.setattr(tap, "last_good_of", {"": default}.get)
    ini.unlink()
    told = refused("--config", str(ini), "--or-last-good")
    assert f"{ini}: there is no such file" in told
    assert f"{default.path}: there is no last-good.ini yet, so nothing to fall back on" in told
    assert f"(the default state_dir, since {ini} cannot be asked for another)" in told


def test_engines_that_do_not_exist_are_told_with_those_that_do() -> None:
    assert refused("--demo", "--engine", "steam") == "--engine steam: expected one of auto, epoll, reactor"


def test_an_engine_that_this_system_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodebalancer.transport.engine_epoll", None)
    assert refused("--demo", "--engine", "epoll").startswith("--engine epoll: not on this system")


def test_help_names_every_option() -> None:
    options = Options()
    options.parent = cast(Any, Parent())
    usage = str(options)
    assert all(name in usage for name in ("--config", "--check", "--demo", "--engine"))


class Parent(dict[str, Any]):
    """twistd's own options."""

    subCommand = "nodebalancer"

    def getSynopsis(self) -> str:
        return "Usage: twistd [options]"


def test_twistds_own_options_are_known_to_the_launch(ini: Path, tmp_path: Path) -> None:
    pidfile = tmp_path / "twistd.pid"
    pidfile.touch()
    options = Options()
    options.parent = cast(Any, Parent(pidfile=str(pidfile)))
    options.parseOptions(["--config", str(ini)])
    with pytest.raises(SystemExit):
        options.launch.failed([])
    assert not pidfile.exists()


def services(options: Options) -> list[type]:
    tree: Any = makeService(options)
    assert IServiceCollection.providedBy(tree)
    options.launch.started()
    return [type(service) for service in tree]


def test_one_tree_of_services_does_everything_and_has_nothing_open_yet(ini: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    options = typed("--config", str(ini))
    assert services(options) == [ProcessWide, Systemd, Balancer]
    assert len(os.listdir("/proc/self/fd")) == before
    assert options.settings is not None
    [config] = options.settings.nodebalancers["www"].configs.values()
    assert not answers(config.port, LOOPBACK)


def test_the_demo_starts_its_nodes_before_it_balances_them() -> None:
    assert services(typed("--demo")) == [ProcessWide, Systemd, Demo, Balancer]


class Run:
    """What twistd does with a command: it makes the tree, puts it into an application and asks that for an observer."""

    def __init__(self, ini: Path, **twistd: Any) -> None:
        options = Options()
        options.parent = cast(Any, Parent({"nodaemon": True, **twistd}))
        options.parseOptions(["--config", str(ini)])
        try:
            application = Application("nodebalancer")
            tree: Any = makeService(options)
            tree.setServiceParent(application)
        finally:
            options.launch.started()
        self.observer: Any = application.getComponent(ILogObserver, None)

    def log(self, **event: Any) -> None:
        self.observer({"log_level": LogLevel.info, "log_format": "so", "log_time": 0.0, **event})


def test_twistd_gets_its_observer_from_us_with_the_settings_of_the_file(
    ini: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ini.write_text("[service]\nlog_format = json\nlog_level = warn\n" + ini.read_text())
    run = Run(ini)
    run.log()
    run.log(log_level=LogLevel.warn)
    [line] = capfd.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "so"


def test_an_observer_that_was_asked_for_by_name_is_left_alone(ini: Path) -> None:
    assert Run(ini, logger=print).observer is None


@pytest.mark.parametrize(
    ("twistd", "sentence"),
    [
        ({"logfile": "/nowhere/x.log"}, "--logfile=/nowhere/x.log: cannot be opened: no such file or directory"),
        ({"logfile": "-", "nodaemon": False}, "--logfile=-: a daemon has no standard output; name a file, or stay"),
    ],
)
def test_a_log_that_cannot_be_opened_is_a_sentence(ini: Path, twistd: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SystemExit) as ended:
        Run(ini, **twistd)
    assert str(ended.value.code).startswith(sentence)


def test_whoever_runs_our_services_without_twistd_has_a_log_already(ini: Path) -> None:
    options = typed("--config", str(ini))
    tree: Any = makeService(options)
    options.launch.started()
    tree.setServiceParent(MultiService())
