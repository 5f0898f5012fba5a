"""The wheel, as somebody gets it who has nothing of this project: into an empty environment, away from the clone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
HANG_SECONDS = 600
"""For one command; installing takes a minute where nothing was downloaded before."""

INI = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = 8080

[nodes www/web]
app-1 = 127.0.0.1:8081
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this clone, built from a copy, so that nothing is left behind here."""
    copy = tmp_path_factory.mktemp("source")
    for name in ("nodebalancer", "twisted"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache"))
    for name in ("setup.cfg", "pyproject.toml", "README.rst", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "dist", ".", cwd=copy)
    [built] = (copy / "dist").iterdir()
    return built


@pytest.fixture
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of an environment that has the wheel, its dependencies in the locked versions, and nothing else."""
    home = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", home, cwd=home)
    lock = ROOT / "requirements-dev.txt"
    run(home / "bin/pip", "install", "--quiet", "--constraint", lock, wheel, cwd=home)
    return home / "bin"


def test_the_wheel_has_the_plugin_and_leaves_twisted_to_twisted(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("twisted/")] == ["twisted/plugins/nodebalancer_plugin.py"]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"nodebalancer", "twisted"}
    assert "nodebalancer/py.typed" in names


def test_twistd_has_the_command_while_the_wheel_is_installed(installed: Path, tmp_path: Path) -> None:
    """After pip install twistd lists nodebalancer, and --check finds a good file good; pip uninstall takes nothing of Twisted's along."""
    assert "nodebalancer" in run(installed / "twistd", "--help", cwd=tmp_path)
    (tmp_path / "first.ini").write_text(INI)
    shown = run(installed / "twistd", "nodebalancer", "--config", "first.ini", "--check", cwd=tmp_path)
    assert "[config www/web]" in shown
    assert [path.name for path in tmp_path.iterdir()] == ["first.ini"]

    run(installed / "pip", "uninstall", "--quiet", "--yes", "nodebalancer", cwd=tmp_path)
    shown = run(installed / "twistd", "--help", cwd=tmp_path)
    assert "nodebalancer" not in shown
    assert "portforward" in shown
