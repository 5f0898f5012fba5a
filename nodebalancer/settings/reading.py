"""From the text of the INI file to the settings it stands for, or to everything that is wrong with it."""

from __future__ import annotations

from typing import Any

import attrs

from nodebalancer.errors import Problem, SettingsError
from nodebalancer.model import Api, Firewall, Manhole, Metrics, Node, NodeBalancer, PortConfig, Service, Settings
from nodebalancer.settings.checks import findings, warnings_of
from nodebalancer.settings.document import Document, Section, tokenize
from nodebalancer.settings.node_lines import read_nodes
from nodebalancer.settings.places import Places, Report, places_of
from nodebalancer.settings.sections import SORTS, Sort, nearest, section_name
from nodebalancer.settings.values import read_keys

Names = tuple[str, ...]


@attrs.frozen
class Loaded:
    """A file that can be used.

    Attributes:
        settings: What it asks for.
        warnings: What may have been forgotten in it, in the order of the file.
        places: What it says where, for whoever has a problem with the settings later.
    """

    settings: Settings
    warnings: tuple[Problem, ...]
    places: Places


def load(text: str | bytes, file: str) -> Settings:
    """The settings that a file asks for; see ``read``."""
    return read(text, file).settings


def read(text: str | bytes, file: str) -> Loaded:
    """The settings that a file asks for, what may have been forgotten in it, and what it says where.

    Args:
        text: What is in the file; bytes are to be UTF-8.
        file: Its path, for messages.

    Raises:
        SettingsError: With every problem, in the order of the file; caught by the command line and by a reload.
    """
    if isinstance(text, bytes):
        text = decoded(text, file)
    return _Reader(file, tokenize(text)).run()


def decoded(data: bytes, file: str) -> str:
    """What is in a file, as text.

    Raises:
        SettingsError: It is not UTF-8; as for ``read``.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        message = f"byte 0x{data[e.start]:02x} is not UTF-8; save the file as UTF-8"
        raise SettingsError((Problem(f"{file}:{line}", message),)) from None


@attrs.frozen
class Part:
    """A section whose word is known; ``names`` is None when they cannot be names."""

    sort: Sort
    names: Names | None
    section: Section


class _Reader:
    """Reads all that can be read, so that every problem is told at once.

    Attributes:
        known: The names of the sections that are there, or were meant to be: nothing is called missing when only its
            header has a slip.
        puzzled: Whether there is a header that may be anything, so that a [nodebalancer …] may be meant by it.
    """

    def __init__(self, file: str, document: Document) -> None:
        self.places = places_of(file, document)
        self.report = Report(self.places)
        self.document = document
        self.known: set[str] = set()
        self.puzzled = bool(document.faults and not document.sections)

    def run(self) -> Loaded:
        for fault in self.document.faults:
            self.report.fault(fault)
        settings = self.settings([part for section in self.document.sections if (part := self.part(section))])
        for finding in findings(settings):
            self.report.finding(finding)
        self.report.close()
        return Loaded(settings, warnings_of(settings, self.places), self.places)

    def part(self, section: Section) -> Part | None:
        word, _, rest = section.name.partition(" ")
        sort = SORTS.get(word)
        if sort is None or not section.sound:
            self.puzzle(section, nearest(word, SORTS), rest)
            return None
        self.known.add(section.name)
        try:
            return Part(sort, sort.read_names(rest), section)
        except ValueError as e:
            self.report.header(section, str(e))
            return Part(sort, None, section)

    def puzzle(self, section: Section, word: str, rest: str) -> None:
        meant = section_name(word, rest)
        self.known.add(meant)
        self.puzzled = True
        self.report.doubt((meant, ""))
        if section.name == "DEFAULT":
            self.report.header(section, "unknown section; what holds for every config stands in [defaults]")
        elif section.sound:
            self.report.header(section, f"unknown section; the nearest known one is {SORTS[word].form}")

    def settings(self, parts: list[Part]) -> Settings:
        given = {word: self.values(parts, sort) for word, sort in SORTS.items() if sort.model}
        defaults = given["defaults"].get((), {})
        nodes = self.nodes(parts)
        self.missing(parts)
        self.inherit_doubts(parts)
        configs: dict[str, dict[str, PortConfig]] = {}
        for (owner, name), values in given["config"].items():
            config = PortConfig(name, nodes.get((owner, name), {}), **{**defaults, **values})
            configs.setdefault(owner, {})[name] = config
        return Settings(
            {
                name: NodeBalancer(name, configs.get(name, {}), **values)
                for (name,), values in given["nodebalancer"].items()
            },
            {name: Firewall(name, **values) for (name,), values in given["firewall"].items()},
            Service(**given["service"].get((), {})),
            Manhole(**given["manhole"][()]) if given["manhole"] else None,
            Metrics(**given["metrics"][()]) if given["metrics"] else None,
            Api(**given["api"][()]) if given["api"] else None,
        )

    def values(self, parts: list[Part], sort: Sort) -> dict[Names, dict[str, Any]]:
        """What the sections of one sort say, by their names; where one stands twice, the first."""
        given: dict[Names, dict[str, Any]] = {}
        for part in parts:
            if part.sort is sort:
                values = read_keys(part.section, sort, self.report)
                if not sort.available:
                    self.report.header(part.section, "not available yet in this version; leave the section out")
                if part.names is not None:
                    given.setdefault(part.names, values)
        return given

    def nodes(self, parts: list[Part]) -> dict[Names, dict[str, Node]]:
        given: dict[Names, dict[str, Node]] = {}
        for part in parts:
            if part.sort.word == "nodes":
                nodes = read_nodes(part.section, self.report)
                if part.names is not None:
                    given.setdefault(part.names, nodes)
        return given

    def missing(self, parts: list[Part]) -> None:
        """What sections hang on and is not there."""
        for part in parts:
            if part.names and part.sort.word == "config":
                self.need(part.section, "nodebalancer", part.names[0])
            elif part.names and part.sort.word == "nodes":
                self.need(part.section, "config", *part.names)
        if not self.puzzled and not any(part.sort.word == "nodebalancer" for part in parts):
            self.report.file("has no section [nodebalancer NAME], so there is nothing to balance; add one")

    def need(self, section: Section, word: str, *names: str) -> None:
        wanted = section_name(word, *names)
        if wanted not in self.known:
            there = sorted(name for name in self.known if name.startswith(f"{word} "))
            hint = f"; the nearest one there is [{nearest(wanted, there)}]" if there else ""
            self.report.header(section, f"there is no section [{wanted}]; add it{hint}")

    def inherit_doubts(self, parts: list[Part]) -> None:
        """What cannot be read in [defaults] is not known of any config that does not say it itself."""
        keys = [key for section, key in self.report.doubtful if section == "defaults"]
        for part in parts:
            if part.sort.word == "config":
                for key in keys:
                    if (part.section.name, key) not in self.places.said or not key:
                        self.report.doubt((part.section.name, key))
