"""What the docs say of balancing is what the code has."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from nodebalancer.balancing.pool import PICKED, When
from nodebalancer.balancing.throttle import CLIENTS_MAX, TOLD_MAX
from nodebalancer.control.cookie_key import KEY_BYTES_MAX, KEY_BYTES_MIN
from nodebalancer.control.events import EVENTS_MAX, LINES_A_TURN
from nodebalancer.health.monitor import IN_FLIGHT_MAX
from nodebalancer.health.names import AGAIN_SECONDS
from nodebalancer.health.patterns import SECONDS_MAX, STEPS_MAX
from nodebalancer.proxy.connection import DIALS_MAX

TEXT = (Path(__file__).parents[2] / "docs/balancing.rst").read_text()


def test_the_table_of_who_may_be_picked_is_the_codes_own() -> None:
    [table] = re.findall(r"\.\. csv-table::\n   :header: .*\n\n((?:   .*\n)+)", TEXT)
    words = {When.ALWAYS: "always", When.ALONE: "alone", When.NEVER: "never"}
    expected = [[mode.value, status.value, words[new], words[kept]] for (mode, status), (new, kept) in PICKED.items()]
    assert sorted(csv.reader(table.split("\n"), skipinitialspace=True))[1:] == sorted(expected)


def test_figures_are_the_codes_own() -> None:
    assert f"At most {IN_FLIGHT_MAX} probes" in TEXT
    assert f"more than {STEPS_MAX:,} steps or {SECONDS_MAX * 1000:.0f} ms" in TEXT
    assert f"every {AGAIN_SECONDS:.0f} seconds" in TEXT
    assert f"put {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes" in TEXT
    assert f"- {2 * CLIENTS_MAX:,} clients" in TEXT
    assert f"at most {TOLD_MAX:,} clients a minute" in TEXT
    assert f"- {EVENTS_MAX:,}; {LINES_A_TURN} lines a turn" in TEXT
    assert DIALS_MAX == 3
    assert "- 3 nodes" in TEXT
