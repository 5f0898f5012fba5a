from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import answers
from nodebalancer.testing.stages import Stage, exchanged


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as programs:
        yield Stage(tmp_path, programs)


def test_words_are_exchanged_whole_and_once() -> None:
    assert exchanged("port 80, 8080 and :80", {"80": "90", "90": "91"}) == "port 90, 8080 and :90"


def test_what_is_printed_is_as_the_page_shows_it(stage: Stage) -> None:
    port = stage.port(8080)
    assert stage.type("echo 8080 > port; cat port") == "8080\n"
    assert (stage.directory / "port").read_text() == f"{port}\n"


def test_a_status_is_known_to_the_next_command(stage: Stage) -> None:
    assert stage.type("false") == ""
    assert stage.status == 1
    assert stage.type("echo $?") == "1\n"
    assert stage.status == 0


def test_files_that_are_shown_are_made_in_the_stage(stage: Stage) -> None:
    stage.write("/etc/nodebalancer/nodebalancer.ini", "[nodebalancer www]\n")
    assert (stage.etc / "nodebalancer.ini").read_text().startswith("[nodebalancer www]\n")


@pytest.mark.parametrize("command", ["touch /etc/hostname", "ls -l >/var/log/x", "rm /usr/local/bin/x"])
def test_the_machine_is_not_touched(stage: Stage, command: str) -> None:
    with pytest.raises(AssertionError, match="would touch this machine"):
        stage.type(command)


def test_what_stays_is_waited_for_and_is_ended_by_its_number(stage: Stage) -> None:
    port = stage.port(8081)
    assert stage.type("python3 -m http.server --bind 127.0.0.1 8081 &") == ""
    assert answers(port)
    assert stage.type("kill %1") == ""
    assert not answers(port)
    assert stage.jobs == {}
