"""The shipped file for keepalived."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from nodebalancer.model import Metrics

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="keepalived looks at scripts as the user who is to run them")
FILE = Path(__file__).parents[2] / "etc/keepalived/keepalived.conf"


def problems(text: str, machine: str, directory: Path) -> tuple[int, str]:
    # Debian 12's keepalived 2.2.7 ends itself in a config test where scripts have another user than root.
    text = text.replace("script_user nobody", "script_user root")
    (directory / "keepalived.conf").write_text(text)
    argv = ["keepalived", f"--config-test={directory}/said", f"--config-id={machine}"]
    done = subprocess.run(
        [*argv, f"--use-file={directory}/keepalived.conf"], capture_output=True, text=True, check=False
    )
    return done.returncode, (directory / "said").read_text()


@as_root
@pytest.mark.parametrize("machine", ["lb-1", "lb-2"])
def test_keepalived_finds_nothing_wrong_with_it(machine: str, tmp_path: Path) -> None:
    assert problems(FILE.read_text(), machine, tmp_path) == (0, "")


@as_root
def test_it_would_find_what_is_wrong(tmp_path: Path) -> None:
    status, said = problems(FILE.read_text().replace("advert_int", "advert_interval"), "lb-1", tmp_path)
    assert status != 0
    assert "advert_interval" in said


def test_it_asks_for_health_where_that_is_by_default() -> None:
    asked = re.search(r'script "/bin/sh -c .* http://(\S+)/health \| /bin/grep -qx ok', FILE.read_text())
    assert asked is not None
    assert asked[1] == str(Metrics().listen)
