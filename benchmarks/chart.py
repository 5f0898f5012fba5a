"""A bar chart of the ratios as SVG: pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import attrs

from benchmarks.contestants import AGAIN
from benchmarks.report import Report

WIDTH, LEFT, TOP, BAR, GAP, SCALE = 860, 230, 46, 16, 26, 160
"""Pixels; SCALE is the length of a bar of ratio 1."""
MOST = 3.5
"""Longer bars are cut here; their label says how long they would be."""
NEAR = 0.75
"""Between here and 1 a label stands behind the reference's line, which would go through it."""
COLOURS = ("#3b6ea5", "#c8862b", "#5b9a57", "#a5493b", "#77669c", "#4f8f96")
NOISE = "#bbbbbb"


@attrs.frozen
class Bar:
    """One bar: who, in what, and the ratio to the reference."""

    group: str
    name: str
    ratio: float


def bars(report: Report) -> list[Bar]:
    """Every ratio of the report; the reference's copy stands for the noise."""
    titles = {d.name: d.title for d in report.disciplines if d.name != "concurrent"}
    return [
        Bar(titles[row.middle.discipline], row.middle.contestant, row.ratio.median)
        for row in report.rows
        if row.ratio and row.middle.discipline in titles
    ]


def svg(report: Report) -> str:
    """The chart; the line is the reference."""
    found = bars(report)
    groups = list(dict.fromkeys(bar.group for bar in found))
    colours = _colours([bar.name for bar in found])
    parts, y = [], TOP
    for group in groups:
        parts.append(f'<text x="8" y="{y - 6}" font-weight="bold">{escape(group)}</text>')
        for bar in (b for b in found if b.group == group):
            parts += _bar(bar, y, colours[bar.name])
            y += BAR + 3
        y += GAP
    parts.append(f'<path d="M{LEFT + SCALE} {TOP - 20}V{y - GAP + 4}" stroke="#222" stroke-dasharray="4 3"/>')
    return "\n".join([_head(report.reference, y), *parts, "</svg>", ""])


def _head(reference: str, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="13">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
        f'<text x="{LEFT + SCALE}" y="18" text-anchor="middle">{escape(reference)} = 1, less is better</text>'
    )


def _bar(bar: Bar, y: int, colour: str) -> list[str]:
    width = round(min(bar.ratio, MOST) * SCALE, 1)
    label = SCALE if NEAR < bar.ratio < 1 else width
    name = f"{bar.name.removesuffix(AGAIN)} (A/A)" if bar.name.endswith(AGAIN) else bar.name
    return [
        f'<text x="{LEFT - 8}" y="{y + BAR - 3}" text-anchor="end">{escape(name)}</text>',
        f'<rect x="{LEFT}" y="{y}" width="{width}" height="{BAR}" fill="{colour}"/>',
        f'<text x="{LEFT + label + 6}" y="{y + BAR - 3}">{bar.ratio:.2f}</text>',
    ]


def _colours(names: Sequence[str]) -> dict[str, str]:
    """A colour a contestant; grey for the noise."""
    real = [name for name in dict.fromkeys(names) if not name.endswith(AGAIN)]
    chosen = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(real)}
    return {name: chosen.get(name, NOISE) for name in names}
