"""Where the settings say what: how a problem finds its line, and how all of them come together."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from nodebalancer.errors import Problem, SettingsError
from nodebalancer.settings.document import Document, Entry, Fault, Section

Spot = tuple[str, str]
"""Section and key, ``("config www/secure", "port")``; with an empty key the section as a whole."""

SHOWN_MAX = 100
"""Characters of a line that a message repeats."""


@attrs.frozen
class Finding:
    """Something about settings as a whole, not tied to a file.

    Attributes:
        spots: What it rests on, the place to tell it at first; at least one.
        message: What is wrong and what was expected.
    """

    spots: tuple[Spot, ...]
    message: str


@attrs.frozen
class Places:
    """What a file said where. Without a file (settings that came by the API) it knows nothing and names section and key.

    Attributes:
        file: Its path as the operator gave it.
        said: For each section and each key the line, and the text as it is repeated to the operator.
    """

    file: str = ""
    said: Mapping[Spot, tuple[int, str]] = attrs.field(factory=dict)

    def spot(self, finding: Finding) -> Spot:
        """Where to tell it: the first of its keys that the file names."""
        return next((spot for spot in finding.spots if spot in self.said), finding.spots[0])

    def line(self, spot: Spot) -> int:
        """The line of the key, or else of its section; 0 when there is none."""
        return self._said(spot)[0]

    def where(self, spot: Spot) -> str:
        """The place in words: ``etc/nodebalancer.ini:14: [config www/secure] check_timeout = 45``."""
        line, text = self._said(spot)
        return self.at(line, spot[0], text) if line else f"[{spot[0]}] {text}".rstrip()

    def placed(self, problem: Problem) -> Problem:
        """What a part that knows no lines has told, with its place in this file if it has one here."""
        if problem.spot is None or not self.line(problem.spot):
            return problem
        return Problem(self.where(problem.spot), problem.message, problem.spot)

    def at(self, line: int, section: str, text: str) -> str:
        """A line of the file in words; ``text`` is what it says and is cut when it is long."""
        words = " ".join(filter(None, (f"[{section}]" if section else "", shown(text))))
        return f"{self.file}:{line}: {words}" if words else f"{self.file}:{line}"

    def _said(self, spot: Spot) -> tuple[int, str]:
        section, key = spot
        return self.said.get(spot) or (self.said.get((section, ""), (0, ""))[0], key)


NOWHERE = Places()
"""For settings that came from no file."""


def places_of(file: str, document: Document) -> Places:
    """Where ``document`` says what; what stands twice is remembered where it stands first."""
    said: dict[Spot, tuple[int, str]] = {}
    for section in document.sections:
        said.setdefault((section.name, ""), (section.line, ""))
        for entry in section.entries:
            said.setdefault((section.name, entry.key), (entry.pieces[0].line, assignment(entry)))
    return Places(file, said)


def assignment(entry: Entry) -> str:
    """The first line of an entry, spelt as everywhere: ``key = value``."""
    return f"{entry.key} = {entry.pieces[0].text}".rstrip()


def shown(text: str) -> str:
    """``text`` cut to what a message can take, with everything escaped that a terminal would not print."""
    cut = text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


class Report:
    """Everything that is found wrong with one file, and what is therefore not known.

    Attributes:
        doubtful: What the file says in a way that was refused. A finding that rests on one of these is dropped: it may
            only follow from the slip that is told already.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.doubtful: set[Spot] = set()
        self._problems: list[tuple[int, Problem]] = []

    def doubt(self, spot: Spot) -> None:
        self.doubtful.add(spot)

    def fault(self, fault: Fault) -> None:
        self.line(fault.line, fault.section, fault.text, fault.message)
        self.doubt((fault.section, ""))

    def header(self, section: Section, message: str) -> None:
        """Something is wrong with a section as a whole."""
        self.line(section.line, section.name, "", message)
        self.doubt((section.name, ""))

    def entry(self, section: Section, entry: Entry, message: str) -> None:
        """Something is wrong with the value of an entry."""
        self.line(entry.pieces[0].line, section.name, assignment(entry), message)
        self.doubt((section.name, entry.key))

    def finding(self, finding: Finding) -> None:
        for section, key in finding.spots:
            if (section, key) in self.doubtful or (section, "") in self.doubtful:
                return
        spot = self.places.spot(finding)
        self._add(self.places.line(spot), self.places.where(spot), finding.message)

    def line(self, line: int, section: str, text: str, message: str) -> None:
        """Something is wrong with a line."""
        self._add(line, self.places.at(line, section, text), message)

    def file(self, message: str) -> None:
        """Something is wrong with the file as a whole; it is told first."""
        self._add(0, self.places.file, message)

    def close(self) -> None:
        """Tell everything.

        Raises:
            SettingsError: There is something to tell; caught by whoever wanted the settings.
        """
        if self._problems:
            ordered = sorted(self._problems, key=lambda told: told[0])
            raise SettingsError(tuple(problem for _, problem in ordered))

    def _add(self, line: int, where: str, message: str) -> None:
        self._problems.append((line, Problem(where, message)))
