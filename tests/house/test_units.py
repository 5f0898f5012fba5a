"""The systemd units that are shipped."""

from __future__ import annotations

import configparser
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from nodebalancer.model import Service
from nodebalancer.process.tap import Options

ROOT = Path(__file__).parents[2]


def unit(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # systemd's keys have capitals
    parser.read(ROOT / "etc" / name)
    return parser


def test_the_command_has_only_options_that_there_are(tmp_path: Path) -> None:
    words = shlex.split(unit("nodebalancer.service")["Service"]["ExecStart"])
    ours = words[words.index("nodebalancer") + 1 :]
    file = tmp_path / "nodebalancer.ini"
    file.write_text("[nodebalancer www]\n")
    options = Options()
    options.parseOptions([str(file) if word.endswith(".ini") else word for word in ours])
    options.launch.started()
    assert options["or-last-good"]


def test_a_reload_asks_about_the_same_settings_before_it_sends_the_signal() -> None:
    lines = (ROOT / "etc/nodebalancer.service").read_text().splitlines()
    asked, sent = (line.partition("=")[2] for line in lines if line.startswith("ExecReload="))
    options, command = "-n --pidfile= ", unit("nodebalancer.service")["Service"]["ExecStart"]
    assert asked == command.replace(options, "").replace("--or-last-good", "--check")
    assert sent == "/bin/kill -HUP $MAINPID"


def test_systemd_waits_longer_for_the_end_than_connections_may_take() -> None:
    assert int(unit("nodebalancer.service")["Service"]["TimeoutStopSec"]) > Service().grace_period


def test_where_the_state_is_agrees_with_the_settings() -> None:
    assert f"/var/lib/{unit('nodebalancer.service')['Service']['StateDirectory']}" == Service().state_dir


EXPOSURE_MAX = 20
"""Tenths of what ``systemd-analyze security`` counts, from 0 (shut off) to 100; 20 is its "OK"."""


def run(*argv: str) -> tuple[int, str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_service_is_shut_off_from_the_system() -> None:
    unit = str(ROOT / "etc/nodebalancer.service")
    status, told = run("systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", unit)
    assert status == 0, told


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    for name in ("nodebalancer.service", "nodebalancer.socket"):
        text = (ROOT / "etc" / name).read_text()
        # What it names need not be on this machine.
        text = text.replace("/opt/nodebalancer/bin/twistd", sys.executable).replace(
            "Documentation=man:nodebalancer(8)\n", ""
        )
        (tmp_path / name).write_text(text)
    status, told = run("systemd-analyze", "verify", "--man=no", *(str(path) for path in tmp_path.iterdir()))
    assert (status, told) == (0, "")


@pytest.mark.parametrize("key", ["User", "Group"])
def test_its_user_is_made_by_the_file_for_systemd_sysusers(key: str) -> None:
    [line] = [line for line in (ROOT / "etc/nodebalancer.sysusers").read_text().splitlines() if line.startswith("u ")]
    status, told = run("systemd-sysusers", "--dry-run", "--inline", line)
    assert status == 0, told
    assert unit("nodebalancer.service")["Service"][key] == shlex.split(line)[1] == "nodebalancer"


def test_what_it_writes_may_be_written() -> None:
    """Settings, state and access log; the rest of the system is read-only."""
    service = unit("nodebalancer.service")["Service"]
    settings = shlex.split(service["ExecStart"])[-2]
    assert service["ReadWritePaths"] == str(Path(settings).parent) == f"/etc/{service['ConfigurationDirectory']}"
    assert service["LogsDirectory"] == "nodebalancer"
    assert service["ProtectSystem"] == "strict"
