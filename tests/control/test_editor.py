"""Changes that are no reload, and the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from nodebalancer.control.editor import Editor
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.errors import SettingsError
from nodebalancer.model import Mode, Node, Settings
from nodebalancer.settings.reading import load

INI = """\
[service]
state_dir = {state}

[nodebalancer www]
[config www/web]
port = 80

# the nodes
[nodes www/web]
a = 192.0.2.1:80 weight=7
b = 192.0.2.2:80
"""


class World:
    def __init__(self, directory: Path) -> None:
        self.state = directory / "state"
        self.state.mkdir()
        self.path = directory / "lb.ini"
        self.path.write_text(INI.format(state=self.state))
        self.plane = ControlPlane([])
        self.plane.want(load(self.path.read_text(), "lb.ini"))
        self.editor = Editor(SettingsFile(str(self.path), "lb.ini"), self.plane, LastGood())

    @property
    def text(self) -> str:
        return self.path.read_text()

    def node(self, name: str) -> Node:
        return self.plane.current.nodebalancers["www"].configs["web"].nodes[name]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def result(deferred: Deferred[Any]) -> Any:
    got: list[Any] = []
    deferred.addBoth(got.append)
    [answer] = got
    return getattr(answer, "value", answer)


def refusal(deferred: Deferred[Any]) -> str:
    error = result(deferred)
    assert isinstance(error, SettingsError)
    return str(error)


def test_a_node_that_is_drained_is_drained_in_the_file_too_and_back(world: World) -> None:
    before = world.text
    assert len(result(world.editor.set_node("www/web/a", mode=Mode.DRAIN))) == 1
    assert world.node("a").mode is Mode.DRAIN
    assert world.text == before.replace("weight=7", "weight=7 mode=drain")
    assert (world.state / "last-good.ini").read_text().endswith(f"/lb.ini\n{world.text}")
    result(world.editor.set_node("www/web/a", mode=Mode.ACCEPT, weight=8))
    assert world.text == before.replace("weight=7", "weight=8")


def test_what_is_so_already_writes_nothing(world: World) -> None:
    stamp = world.path.stat()
    assert result(world.editor.set_node("www/web/a", weight=7)) == ()
    assert world.path.stat() == stamp


@pytest.mark.parametrize("path", ["www/web/c", "www/none/a", "none/web/a", "a", "", "www/web/a/b"])
def test_a_node_that_is_not_there_is_told(world: World, path: str) -> None:
    assert "there is no such node; expected NODEBALANCER/CONFIG/NODE" in refusal(world.editor.set_node(path, weight=1))


def test_what_somebody_has_written_by_hand_goes_on_waiting_for_its_reload(world: World) -> None:
    world.path.write_text(world.text + "c = 192.0.2.3:80\n")
    result(world.editor.set_node("www/web/a", mode=Mode.REJECT))
    assert "mode=reject\nb = 192.0.2.2:80\nc = 192.0.2.3:80\n" in world.text
    assert "c" not in world.plane.current.nodebalancers["www"].configs["web"].nodes
    assert load((world.state / "last-good.ini").read_text(), "f") == world.plane.current


def test_a_node_that_is_gone_from_the_file_is_told(world: World) -> None:
    world.path.write_text(world.text.replace("a = 192.0.2.1:80 weight=7\n", ""))
    assert "it was edited and not loaded, reload first" in refusal(world.editor.set_node("www/web/a", weight=1))
    assert world.node("a").weight == 7


def test_a_file_that_is_broken_or_gone_refuses_the_change_and_says_why(world: World) -> None:
    world.path.write_text("[nonsense]\n")
    assert "lb.ini:1: [nonsense]" in refusal(world.editor.set_node("www/web/a", weight=1))
    world.path.unlink()
    assert "there is no such file" in refusal(world.editor.set_node("www/web/a", weight=1))
    assert world.node("a").weight == 7


def test_a_file_that_cannot_be_written_refuses_the_change_and_says_why(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.text

    def refuse(source: str, target: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("os.replace", refuse)
    assert "lb.ini: cannot be written: read-only file system; nothing was changed" in refusal(
        world.editor.set_node("www/web/a", weight=1)
    )
    assert (world.node("a").weight, world.text) == (7, before)


@pytest.mark.parametrize("label", ["x\ny = 192.0.2.9:80", "x\x00", "x\n[nodes www/other]"])
def test_control_characters_never_get_into_the_file(world: World, label: str) -> None:
    before = world.text
    assert refusal(world.editor.change(lambda current: labelled(current, label)))
    assert world.text == before
    assert world.node("a").label == ""


def test_what_would_be_read_as_something_else_is_not_written(world: World) -> None:
    """Blanks around a text are no part of it in the file."""
    assert "read as it is meant" in refusal(world.editor.change(lambda current: labelled(current, " x ")))


def labelled(settings: Settings, label: str) -> Settings:
    www = settings.nodebalancers["www"]
    web = www.configs["web"]
    nodes = {**web.nodes, "a": attrs.evolve(web.nodes["a"], label=label)}
    return attrs.evolve(
        settings, nodebalancers={"www": attrs.evolve(www, configs={"web": attrs.evolve(web, nodes=nodes)})}
    )
