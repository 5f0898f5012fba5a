"""From the text of a value to the value, for this version: what is not built yet is refused here, in one place."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from nodebalancer.fields import Key, keys_of
from nodebalancer.settings.document import Entry, Section
from nodebalancer.settings.places import Report
from nodebalancer.settings.sections import SORTS, Sort, nearest


def read_value(text: str, key: Key, default: Any) -> Any:
    """The value of a key.

    Args:
        text: Stripped, with line feeds between the lines of a list.
        key: What the key is.
        default: Its default, which is always available.

    Raises:
        ValueError: With a sentence for the operator; caught by the reader.
    """
    try:
        value = key.kind.read(text)
    except ValueError as e:
        # The habit of other INI files, and the message about the value alone would not lead to it.
        hint = "; comments stand on lines of their own" if re.search(r"(?:^|\s)[#;]", text) else ""
        raise ValueError(f"{e}{hint}") from None
    if key.available and not key.available(value):
        raise ValueError(f"not available yet in this version; {_what_is_available(key, default)}")
    return value


def _what_is_available(key: Key, default: Any) -> str:
    assert key.available
    values = [value for value in key.kind.values if key.available(value)] or [default]
    texts = ", ".join(map(key.kind.write, values))
    return f"available: {texts}" if texts else "leave it empty"


def read_keys(section: Section, sort: Sort, report: Report) -> dict[str, Any]:
    """The values that a section gives; what is wrong goes to the report. ``sort`` is one with a model."""
    assert sort.model
    keys = keys_of(sort.model)
    values: dict[str, Any] = {}
    for entry in section.entries:
        if entry.key not in keys:
            report.entry(section, entry, _unknown(entry.key, keys))
            report.doubt((section.name, ""))
            continue
        field, key = keys[entry.key]
        if not key.continues:
            refuse_more_lines(section, entry, report)
        text = "\n".join(piece.text for piece in entry.pieces) if key.continues else entry.pieces[0].text
        try:
            values.setdefault(entry.key, read_value(text, key, field.default))
        except ValueError as e:
            report.entry(section, entry, str(e))
    return values


def refuse_more_lines(section: Section, entry: Entry, report: Report) -> None:
    """For entries that are no lists: an indented line below them is probably another key, so the section is in doubt."""
    for piece in entry.pieces[1:]:
        message = f"indented, but {entry.key} takes one line only; begin in the first column"
        report.line(piece.line, section.name, piece.text, message)
        report.doubt((section.name, ""))


def _unknown(key: str, known: Collection[str]) -> str:
    sorts = [sort for sort in SORTS.values() if sort.model and key in keys_of(sort.model)]
    owners = " or ".join(sort.form for sort in sorts if sort.word != "defaults")
    if owners:
        return f"unknown key here; it belongs to {owners}"
    return f"unknown key; the nearest known one is {nearest(key, known)}"
