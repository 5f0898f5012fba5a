"""Changes to settings as edits of the text they stand in: comments, order and everything else stay as they are.

Rules, which one test holds for all changes there can be: ``load(edited(text, changes)) == apply_all(load(text), changes)``.

* A value is written where it stands; a key that is not there yet comes last in its section.
* A new node comes last in its section, a new config after the last section of its NodeBalancer, all else at the end.
* What goes takes its lines along, from its header to its last entry; comments before and after it stay.
* A key that gets its default is written all the same: [defaults] may say otherwise, and who wrote it wants to see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nodebalancer.changes import Added, Change, Changed, Removed
from nodebalancer.fields import keys_of
from nodebalancer.model import Node, NodeBalancer, PortConfig
from nodebalancer.settings.document import BLANKS, Entry, Section, tokenize
from nodebalancer.settings.node_lines import rewritten
from nodebalancer.settings.sections import section_name
from nodebalancer.settings.writing import (
    config_lines,
    entry_lines,
    node_line,
    nodebalancer_lines,
    nodes_lines,
    section_lines,
)


def edited(text: str, changes: Iterable[Change]) -> str:
    """``text`` with ``changes`` made in it.

    Args:
        text: An INI file that can be loaded.
        changes: Of what it says; those of one plan.

    Raises:
        KeyError: What is to be changed is not in it, with its section; caught by whoever has the file.
    """
    editing = _Editing(text)
    for change in changes:
        editing.make(change)
    return editing.text()


class _Editing:
    """Edits of the lines of one text, which are all made at its end, so that line numbers hold.

    Attributes:
        instead: What stands in place of a line, by its number.
        after: Entries that come after a line, by its number; ``below``: sections that come after those.
        new_nodes: Nodes of configs that have no section for them yet.
    """

    def __init__(self, text: str) -> None:
        document = tokenize(text)
        *most, last = document.lines
        self.line_end = "\r\n" if most and all(line.endswith("\r") for line in most) else "\n"
        self.lines = [*(line.removesuffix("\r") for line in most), last] if self.line_end == "\r\n" else document.lines
        self.sections = {section.name: section for section in document.sections}
        defaults = self.sections.get("defaults")
        self.said = {entry.key for entry in defaults.entries} if defaults else set()
        self.instead: dict[int, list[str]] = {}
        self.after: dict[int, list[str]] = {}
        self.below: dict[int, list[str]] = {}
        self.new_nodes: dict[tuple[str, str], list[Node]] = {}

    def text(self) -> str:
        for (owner, config), nodes in self.new_nodes.items():
            self.add_sections(last_line(self.section("config", owner, config)), [nodes_lines(owner, config, nodes)])
        lines = []
        for number, line in enumerate(self.lines, 1):
            lines += self.instead.get(number, [line])
            lines += self.after.get(number, ())
            lines += self.below.get(number, ())
        return self.line_end.join(lines)

    def make(self, change: Change) -> None:
        if isinstance(change, Changed):
            self.change(change.path, {name: wanted for name, (_, wanted) in change.fields.items()}, change)
        elif isinstance(change, Added):
            self.add(change.path, change.thing)
        else:
            self.remove(change.path, change)

    def change(self, path: tuple[str, ...], wanted: Mapping[str, Any], change: Changed) -> None:
        if not path:
            for name, (now, then) in change.fields.items():
                self.change_top(name, now, then)
        elif len(path) == 1:
            self.set_keys(NodeBalancer, wanted, "nodebalancer", *path)
        elif len(path) == 2:
            self.set_keys(PortConfig, wanted, "config", *path)
        else:
            self.change_node(path, wanted)

    def change_top(self, name: str, now: Any, wanted: Any) -> None:
        """A field of the settings as a whole: firewalls by their names, or a section that is there once."""
        if name == "firewalls":
            for each in {**now, **wanted}:
                self.change_section(now.get(each), wanted.get(each), "firewall", each)
        else:
            self.change_section(now, wanted, name)

    def change_section(self, now: Any, wanted: Any, word: str, *names: str) -> None:
        """``None`` is a thing that is not there, or not to be there."""
        if now == wanted:
            return
        there = section_name(word, *names) in self.sections
        if wanted is None:
            self.remove_section(word, *names)
        elif not there:
            self.add_sections(self.end(), [section_lines(wanted, word, *names)])
        else:
            values = {name: getattr(wanted, name) for name in keys_of(type(wanted))}
            changed = {name: value for name, value in values.items() if value != getattr(now, name)}
            self.set_keys(type(wanted), changed, word, *names)

    def set_keys(self, model: type, wanted: Mapping[str, Any], word: str, *names: str) -> None:
        section = self.section(word, *names)
        for name, value in wanted.items():
            lines = entry_lines(name, keys_of(model)[name][1].kind.write(value))
            entry = next((entry for entry in section.entries if entry.key == name), None)
            if entry is None:
                self.after.setdefault(last_line(section), []).extend(lines)
            else:
                self.rewrite(entry, lines)

    def change_node(self, path: tuple[str, ...], wanted: Mapping[str, Any]) -> None:
        entry = self.node(path)
        self.rewrite(entry, [f"{entry.key} = {rewritten(entry.pieces[0].text, wanted)}"])

    def rewrite(self, entry: Entry, lines: list[str]) -> None:
        """Let the entry say ``lines``; what stands before its value on the first line stays."""
        first, *more = entry.pieces
        line = self.lines[first.line - 1]
        head = re.match(r"[^=]*=[ \t]*", line)[0]  # type: ignore[index]  # an entry has one
        value = lines[0].partition("=")[2].strip(BLANKS)
        said = f"{head}{value}" if first.text else f"{head.rstrip(BLANKS)} {value}"
        self.instead[first.line] = [said.rstrip(BLANKS), *lines[1:]]
        for piece in more:
            self.instead[piece.line] = []

    def add(self, path: tuple[str, ...], thing: Any) -> None:
        if isinstance(thing, NodeBalancer):
            self.add_sections(self.end(), nodebalancer_lines(thing, self.said))
        elif isinstance(thing, PortConfig):
            self.add_sections(self.end_of(path[0]), config_lines(path[0], thing, self.said))
        elif (section := self.sections.get(section_name("nodes", *path[:2]))) is not None:
            self.after.setdefault(last_line(section), []).append(node_line(thing))
        else:
            self.new_nodes.setdefault((path[0], path[1]), []).append(thing)

    def add_sections(self, line: int, sections: Iterable[list[str]]) -> None:
        for lines in sections:
            self.below.setdefault(line, []).extend(["", *lines])

    def remove(self, path: tuple[str, ...], change: Removed) -> None:
        if isinstance(change.thing, NodeBalancer):
            for name in change.thing.configs:
                self.remove_config(path[0], name)
            self.remove_section("nodebalancer", *path)
        elif isinstance(change.thing, PortConfig):
            self.remove_config(path[0], path[1])
        else:
            for piece in self.node(path).pieces:
                self.instead[piece.line] = []

    def remove_config(self, owner: str, name: str) -> None:
        self.remove_section("config", owner, name)
        if section_name("nodes", owner, name) in self.sections:
            self.remove_section("nodes", owner, name)

    def remove_section(self, word: str, *names: str) -> None:
        """Its lines, and the blank one after it."""
        section = self.section(word, *names)
        last = last_line(section)
        if last < len(self.lines) - 1 and not self.lines[last].strip():
            last += 1
        for line in range(section.line, last + 1):
            self.instead[line] = []

    def section(self, word: str, *names: str) -> Section:
        return self.sections[section_name(word, *names)]

    def node(self, path: tuple[str, ...]) -> Entry:
        section = self.section("nodes", *path[:2])
        for entry in section.entries:
            if entry.key == path[2]:
                return entry
        raise KeyError(f"[{section.name}] {path[2]}")

    def end(self) -> int:
        """The last line that says something."""
        return max((number for number, line in enumerate(self.lines, 1) if line.strip()), default=1)

    def end_of(self, owner: str) -> int:
        """The last line of all that is the NodeBalancer's; its own section is there."""
        ours = [section for section in self.sections.values() if belongs(section, owner)]
        if not ours:
            raise KeyError(section_name("nodebalancer", owner))
        return max(map(last_line, ours))


def last_line(section: Section) -> int:
    """The number of the last line that says something in it, its header if nothing else."""
    return max([section.line, *(piece.line for entry in section.entries for piece in entry.pieces)])


def belongs(section: Section, owner: str) -> bool:
    """Whether a section is the NodeBalancer's own, or of one of its configs."""
    word, _, names = section.name.partition(" ")
    return word in ("nodebalancer", "config", "nodes") and names.partition("/")[0] == owner
