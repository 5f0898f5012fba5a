"""Counters begin at nothing and are nobody else's."""

from __future__ import annotations

import pytest

from nodebalancer.balancing.counters import ConfigCounters, NodeCounters
from nodebalancer.balancing.outcome import Outcome


def test_a_config_begins_with_nothing_counted() -> None:
    counters = ConfigCounters()
    assert (counters.open, counters.total, counters.bytes_in, counters.bytes_out) == (0, 0, 0, 0)
    assert counters.outcomes == [0] * len(Outcome)
    assert counters.refused_by_rule == {}


def test_what_is_not_open_any_more_was_released() -> None:
    counters = NodeCounters()
    assert (counters.open, counters.picks, counters.releases, sum(counters.outcomes)) == (0, 0, 0, 0)
    assert counters.flaps == 0
    counters.picks, counters.open = 5, 2
    assert counters.releases == 3


@pytest.mark.parametrize("counters", [ConfigCounters, NodeCounters])
def test_no_two_share_a_count(counters: type[ConfigCounters | NodeCounters]) -> None:
    one, other = counters(), counters()
    one.outcomes[Outcome.SERVED] += 1
    assert other.outcomes[Outcome.SERVED] == 0


@pytest.mark.parametrize("counters", [ConfigCounters(), NodeCounters()])
def test_a_slip_of_the_pen_counts_nothing_new(counters: object) -> None:
    """There are slots only: a misspelt counter fails instead of counting where nobody looks."""
    with pytest.raises(AttributeError):
        counters.opened = 1  # type: ignore[attr-defined]
