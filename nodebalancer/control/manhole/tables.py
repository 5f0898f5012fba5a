"""Answers that print well: tables of values, which columns they have, and texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, overload

from nodebalancer.balancing.member import Status
from nodebalancer.model import Mode
from nodebalancer.wire.http1.lines import escaped

T = TypeVar("T")
Columns = Mapping[str, Callable[[Any], object]]
"""By their heads: what a row says there. Numbers stand on the right."""

GAP = "  "

STATUS: Final[Columns] = {
    "NAME": lambda line: line.name,
    "MODE": lambda line: line.mode,
    "WEIGHT": lambda line: line.weight,
    "STATUS": lambda line: line.status,
    "SINCE": lambda line: line.since,
    "OPEN": lambda line: line.open,
    "TOTAL": lambda line: line.total,
    "IN": lambda line: line.bytes_in,
    "OUT": lambda line: line.bytes_out,
    "WHY": lambda line: line.why,
}
NODES: Final[Columns] = {
    "NODE": lambda node: node.path,
    "ADDRESS": lambda node: node.address,
    "MODE": lambda node: node.mode.value,
    "WEIGHT": lambda node: node.weight,
    "STATUS": lambda node: node.status.value,
    "SINCE": lambda node: moment(node.since),
    "OPEN": lambda node: node.open,
    "TOTAL": lambda node: node.total,
    "CHANGES": lambda node: node.flaps,
    "WHY": lambda node: node.why,
}
CONNECTIONS: Final[Columns] = {
    "CONFIG": lambda one: one.config,
    "CLIENT": lambda one: one.client,
    "NODE": lambda one: one.node or "-",
    "IDLE": lambda one: f"{one.idle:.1f} s",
}
EVENTS: Final[Columns] = {
    "WHEN": lambda change: moment(change.at),
    "NODE": lambda change: f"{change.config}/{change.node}",
    "IS": lambda change: change.new.value,
    "WAS": lambda change: change.old.value,
    "CHANGE": lambda change: change.number,
    "WHY": lambda change: change.reason,
}
PROSPECTS: Final[Columns] = {
    "CONFIG": lambda one: one.config,
    "FATE": lambda one: one.fate,
    "FIREWALL": lambda one: one.firewall or "-",
    "THROTTLE": lambda one: one.throttle or "-",
    "CONNECTIONS": lambda one: one.cap,
    "STICKINESS": lambda one: one.stickiness or "-",
}
UNSERVED: Final[Columns] = {
    "WHEN": lambda one: moment(one.at),
    "CONFIG": lambda one: one.config,
    "OUTCOME": lambda one: one.outcome.word,
    "NODE": lambda one: one.node or "-",
    "TRIED": lambda one: ", ".join(one.tried) or "-",
    "NODES THEN": lambda one: states_in_one_line(one.nodes),
}
HELP: Final[Columns] = {"VERB": lambda row: row[0], "WHAT IT DOES": lambda row: row[1]}


class Text(str):
    """Text that a shell shows as it is, not as a Python literal."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Table(Sequence[T], Generic[T]):
    """Values that are shown as rows of a table, and can be asked like any other list.

    Args:
        rows: The values.
        columns: What is shown of each.
        without: What is shown when there are none.
        more: A line below the table.
    """

    def __init__(self, rows: Iterable[T], columns: Columns, *, without: str, more: str = "") -> None:
        self._rows = tuple(rows)
        self._columns = columns
        self._without = without
        self._more = more

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._rows[index]

    def __repr__(self) -> str:
        if not self._rows:
            return self._without
        return "\n".join((*self._lines(), *filter(None, (self._more,))))

    def _lines(self) -> Iterator[str]:
        values = [[value(row) for value in self._columns.values()] for row in self._rows]
        cells = [list(self._columns), *([shown(value) for value in row] for row in values)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        right = [all(isinstance(value, int) or value == "" for value in column) for column in zip(*values, strict=True)]
        for row in cells:
            columns = zip(row, widths, right, strict=True)
            yield GAP.join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in columns).rstrip()


def shown(value: object) -> str:
    """A value in a cell; whatever a terminal might not print is escaped."""
    return escaped(str(value).encode(errors="backslashreplace"))


def moment(at: float) -> str:
    """``at``, seconds since the epoch, in the time of this machine: ``2026-11-21 07:20:37``."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def size(count: int) -> str:
    """A number of bytes in three digits: ``999 B``, ``1.20 kB``, ``33.0 MB``; powers of 1000."""
    number = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{count} B" if unit == "B" else f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def states_in_one_line(states: Iterable[tuple[str, Mode, Status]]) -> str:
    """Nodes and how they were: ``app-1 UP, app-2 DOWN, app-3 UP (drain)``."""
    return ", ".join(
        f"{name} {status.value}{'' if mode is Mode.ACCEPT else f' ({mode.value})'}" for name, mode, status in states
    )
