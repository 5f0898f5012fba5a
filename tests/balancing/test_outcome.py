"""Every way a connection can end has one word, and one place in the counters."""

from __future__ import annotations

from nodebalancer.balancing.outcome import Outcome, no_outcomes


def test_the_words_are_those_that_logs_and_metrics_have() -> None:
    """Renaming one breaks somebody's dashboard; this test makes it a decision."""
    assert [outcome.word for outcome in Outcome] == [
        "served",
        "no_node",
        "connect_failed",
        "overloaded",
        "timed_out",
        "server_error",
        "cut_short",
        "idle",
        "client_left",
        "client_error",
        "client_timed_out",
        "refused",
        "stopped",
        "handshake_failed",
    ]


def test_each_outcome_is_its_own_index_in_a_list_of_counts() -> None:
    counts = no_outcomes()
    for outcome in Outcome:
        counts[outcome] += 1
    assert counts == [1] * len(Outcome)
