"""What is installed is what is here."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def requirements(text: str) -> list[str]:
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def name_of(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower().replace("_", "-")


def test_all_packages_on_disk_are_installed_and_no_others() -> None:
    on_disk = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "nodebalancer").rglob("__init__.py")}
    assert set(SETUP["options"]["packages"].split()) == on_disk | {"twisted.plugins"}


def test_every_room_is_told_of() -> None:
    told = set(re.findall(r"^   \* - ``([a-z0-9.]+)``$", (ROOT / "docs/architecture.rst").read_text(), re.MULTILINE))
    rooms = {name.removeprefix("nodebalancer.") for name in SETUP["options"]["packages"].split()}
    assert told == rooms - {"nodebalancer", "twisted.plugins"}


@pytest.mark.parametrize("directory", ["twisted", "twisted/plugins"])
def test_twisted_stays_twisteds_own_package(directory: str) -> None:
    assert not (ROOT / directory / "__init__.py").exists()


def test_every_development_tool_and_runtime_dependency_is_locked() -> None:
    wanted = requirements(SETUP["options"]["install_requires"]) + requirements(SETUP["options.extras_require"]["dev"])
    locked = requirements((ROOT / "requirements-dev.txt").read_text())
    assert [line for line in locked if "==" not in line] == []
    assert {name_of(line) for line in wanted} - {name_of(line) for line in locked} == set()


def test_nothing_names_a_package_registry() -> None:
    files = ["Makefile", "requirements-dev.txt", "setup.cfg", "pyproject.toml", ".ci/run", ".ci/venv"]
    assert [name for name in files if re.search(r"index-url|find-links|https?://", (ROOT / name).read_text())] == []
