"""From figures to text: the table, the page for the documentation, JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import attrs

from benchmarks.contestants import AGAIN
from benchmarks.disciplines import Discipline
from benchmarks.figures import Ratio, Row, Sample

COLUMNS = (
    "contestant",
    "figure",
    "user",
    "system",
    "ratio",
    "middle half",
    "A/A",
    "a second",
    "core",
    "p50",
    "p99",
    "RSS",
)


@attrs.frozen
class Report:
    """What a run found.

    Attributes:
        about: Facts of the run for the reader: machine, versions, command, rounds; label to text.
        reference: Whom the others are compared with.
        disciplines: In order.
        rows: The figures.
        samples: What they were made from.
    """

    about: dict[str, str]
    reference: str
    disciplines: Sequence[Discipline]
    rows: Sequence[Row]
    samples: Sequence[Sample]

    def text(self) -> str:
        """A table for each discipline, for a terminal."""
        parts = [f"{label}: {fact}" for label, fact in self.about.items()]
        for discipline in self.disciplines:
            lines = self.table(discipline)
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            parts += ["", self.title(discipline)]
            parts += ["  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines]
        return "\n".join(parts) + "\n"

    def rst(self) -> str:
        """The same for Sphinx."""
        parts = [f":{label}: ``{fact}``" for label, fact in self.about.items()]
        for discipline in self.disciplines:
            parts += ["", f".. csv-table:: {self.title(discipline)}", "   :header-rows: 1", ""]
            parts += ["   " + ", ".join(f'"{cell}"' for cell in line) for line in self.table(discipline)]
        return "\n".join(parts) + "\n"

    def json(self) -> str:
        """Everything, with each single sample."""
        return json.dumps(
            {
                "about": self.about,
                "reference": self.reference,
                "rows": [attrs.asdict(row) for row in self.rows],
                "samples": [attrs.asdict(sample) for sample in self.samples],
            },
            indent=1,
        )

    def title(self, discipline: Discipline) -> str:
        """The head of a discipline's table."""
        rounds = max((row.middle.round for row in self.of(discipline)), default=0)
        return f"{discipline.title} ({discipline.unit}); asked of ours: {discipline.bar}; {rounds} rounds"

    def of(self, discipline: Discipline) -> list[Row]:
        """The rows of one discipline."""
        return [row for row in self.rows if row.middle.discipline == discipline.name]

    def table(self, discipline: Discipline) -> list[tuple[str, ...]]:
        """A discipline's table: its head and its lines, without columns that have nothing to say."""
        columns = zip(COLUMNS, *self._lines(discipline), strict=True)
        return list(zip(*(column for column in columns if any(column[1:])), strict=True))

    def _lines(self, discipline: Discipline) -> Iterator[tuple[str, ...]]:
        """All cells; the reference's copy has no line of its own, it is the column A/A."""
        rows = self.of(discipline)
        noise = next((row.ratio for row in rows if row.middle.contestant.endswith(AGAIN)), None)
        for row in rows:
            if not row.middle.contestant.endswith(AGAIN):
                yield _cells(row, noise, discipline, row.middle.contestant == self.reference)


def _cells(row: Row, noise: Ratio | None, discipline: Discipline, reference: bool) -> tuple[str, ...]:
    m = row.middle
    split = bool(m.busy) and discipline.name != "latency"
    return (
        m.contestant,
        f"failed: {m.faults}" if m.faults else number(m.value),
        number(m.value * m.user) if split else "",
        number(m.value * (1 - m.user)) if split else "",
        "1" if reference else f"{row.ratio.median:.2f}" if row.ratio else "",
        f"{row.ratio.low:.2f}–{row.ratio.high:.2f}" if row.ratio and row.ratio.rounds > 2 else "",
        f"{noise.median:.2f}" if noise else "",
        _rate(m.rate, discipline.counts),
        f"{m.busy:.0%}" if m.busy else "",
        _latency(m.p50),
        _latency(m.p99),
        f"{m.resident / 1e6:.0f} MB",
    )


def number(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _rate(rate: float, counts: str) -> str:
    if not rate:
        return ""
    return f"{rate / 1e9:.2f} GB" if counts == "bytes" else f"{rate:,.0f}"


def _latency(micros: float) -> str:
    return f"{micros / 1e3:.2f} ms" if micros else ""
