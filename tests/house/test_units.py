"""The systemd units that are shipped."""

from __future__ import annotations

import configparser
import shlex
from pathlib import Path

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


def test_systemd_waits_longer_for_the_end_than_connections_may_take() -> None:
    assert int(unit("nodebalancer.service")["Service"]["TimeoutStopSec"]) > Service().grace_period


def test_where_the_state_is_agrees_with_the_settings() -> None:
    assert f"/var/lib/{unit('nodebalancer.service')['Service']['StateDirectory']}" == Service().state_dir
