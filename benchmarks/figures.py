"""From samples to figures: pure.

A sample is compared with the reference's sample of the same round, and the median of these ratios is the ratio of the
run: machines drift by half within minutes, but not much within one round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median, quantiles

import attrs


@attrs.frozen
class Sample:
    """One contestant in one round of one discipline.

    Attributes:
        discipline, contestant, round: What was measured.
        value: The discipline's figure, in its unit; less is better.
        user: The share of the CPU time that was spent in the program itself, the rest in the kernel; 0 to 1.
        rate: Requests, bytes or connections a second, as the discipline counts.
        busy: The share of the time in which the balancer's core was busy with it; 1 is all of it.
        p50, p99: Latency in µs; 0 where it was not looked at.
        resident: Resident memory in bytes right after.
        faults: What went wrong, in words; a sample with faults makes its row a failure.
    """

    discipline: str
    contestant: str
    round: int
    value: float
    user: float = 0.0
    rate: float = 0.0
    busy: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    resident: int = 0
    faults: str = ""


@attrs.frozen
class Ratio:
    """How a contestant compares with the reference.

    Attributes:
        median: Of the rounds' ratios; less than 1 is better than the reference.
        low, high: The quartiles of the rounds' ratios; both the median where there are less than three rounds.
        rounds: How many there were.
    """

    median: float
    low: float
    high: float
    rounds: int


@attrs.frozen
class Row:
    """One contestant in one discipline: medians of its samples.

    Attributes:
        middle: A sample of medians; its round is the number of rounds, its faults are all of them.
        ratio: To the reference; None for the reference itself, after a fault, or when there is nothing to compare with.
    """

    middle: Sample
    ratio: Ratio | None


def rows(samples: Sequence[Sample], reference: str) -> list[Row]:
    """A row for each discipline and contestant, in the order in which they first appear."""
    seen = dict.fromkeys((s.discipline, s.contestant) for s in samples)
    found = []
    for discipline in dict.fromkeys(discipline for discipline, _ in seen):
        base = _of(samples, discipline, reference)
        for contestant in (name for of, name in seen if of == discipline):
            mine = _of(samples, discipline, contestant)
            found.append(Row(_middle(mine), ratio(mine, base) if contestant != reference else None))
    return found


def ratio(mine: Sequence[Sample], base: Sequence[Sample]) -> Ratio | None:
    """``mine`` to ``base``, round by round; None when either has a fault or no round is in both."""
    if any(s.faults for s in (*mine, *base)):
        return None
    of_round = {s.round: s.value for s in base}
    found = [s.value / of_round[s.round] for s in mine if of_round.get(s.round)]
    if not found:
        return None
    middle = median(found)
    low, _, high = quantiles(found, n=4, method="inclusive") if len(found) > 2 else (middle,) * 3
    return Ratio(middle, low, high, len(found))


def _of(samples: Iterable[Sample], discipline: str, contestant: str) -> list[Sample]:
    return [s for s in samples if (s.discipline, s.contestant) == (discipline, contestant)]


def _middle(samples: Sequence[Sample]) -> Sample:
    numbers = ("value", "user", "rate", "busy", "p50", "p99")
    return Sample(
        samples[0].discipline,
        samples[0].contestant,
        len(samples),
        **{name: median(getattr(s, name) for s in samples) for name in numbers},
        resident=int(median(s.resident for s in samples)),
        faults="; ".join(dict.fromkeys(s.faults for s in samples if s.faults)),
    )
