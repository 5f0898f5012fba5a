"""The man page, built as ``make docs`` does it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.control.manhole.verbs import VERBS
from nodebalancer.process.tap import DEFAULT_CONFIG, Options
from nodebalancer.settings.sections import SORTS

ROOT = Path(__file__).parents[2]
OPTIONS: list[Any] = [*Options.optParameters, *Options.optFlags]
"""Each begins with its name and ends with what it is for."""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("man")
    argv = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "man", str(ROOT / "docs"), str(directory)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory / "nodebalancer.8"


@pytest.fixture(scope="module")
def read(page: Path) -> str:
    """What a reader sees, in lines that do not break; man has nothing to complain about."""
    argv = ["man", "--warnings", "--no-hyphenation", "--local-file", str(page)]
    environment = {"MANWIDTH": "1000", "MAN_KEEP_FORMATTING": "", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=environment)
    assert done.stderr == ""
    return re.sub(r".\x08", "", done.stdout)


def test_it_has_the_sections_that_people_look_for(read: str) -> None:
    headings = re.findall(r"^[A-Z][A-Z ]+$", read, re.MULTILINE)
    wanted = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "SIGNALS",
        "EXIT STATUS",
        "THE SHELL",
        "EXAMPLES",
        "FILES",
        "THE SETTINGS",
        "SEE ALSO",
    ]
    assert headings == wanted


def test_its_overview_names_every_section_of_the_settings(read: str) -> None:
    missing = [word for word, sort in SORTS.items() if sort.available and f"[{word}" not in read]
    assert missing == []


def test_every_command_of_the_shell_stands_there(read: str) -> None:
    shell = read.partition("THE SHELL")[2].partition("EXAMPLES")[0]
    assert [verb for verb in VERBS if not re.search(rf"^ +(.*, )?{verb}\b", shell, re.MULTILINE)] == []


def test_every_option_stands_there_with_what_it_is_for(read: str) -> None:
    text = re.sub(r" +", " ", read)
    for option in OPTIONS:
        assert re.search(rf"^ +(-\w \w+, )?--{option[0]}\b", read, re.MULTILINE), option
        assert option[-1] in text
    assert DEFAULT_CONFIG in read


def test_its_synopsis_has_every_option(read: str) -> None:
    synopsis = read.partition("SYNOPSIS")[2].partition("DESCRIPTION")[0]
    assert [option[0] for option in OPTIONS if f"--{option[0]}" not in synopsis] == []
