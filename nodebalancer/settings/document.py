"""The INI file as a document: which line is what, and what is wrong with those that are nothing.

The rules, one test each:

* A line that is blank, or begins (after blanks) with ``#`` or ``;``, is a comment; there are no other comments.
* ``[name]`` in the first column, alone on its line, opens a section; runs of blanks inside count as one.
* ``key = value`` in the first column is an entry; the first ``=`` divides it. Blanks around both are cut.
* An indented line goes on with the value of the entry above it, comments in between notwithstanding. Whether that
  entry may go on is for the reader to judge, who knows its kind.
* A section may stand once, and a key once in its section.
* Anything else, and any control character but a tab, is a fault.

The text is the truth and the sections are an index into it: who edits replaces ``lines`` (each piece and each header
knows its number) and tokenizes again, so comments and order stay as they are.
"""

from __future__ import annotations

import re

import attrs

BLANKS = " \t"
BYTE_ORDER_MARK = "\ufeff"
COMMENT = re.compile(r"[ \t]*(?:[#;].*)?")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
"""What no editor shows: control characters but the tab, line separators of Unicode, a byte order mark inside."""


@attrs.frozen
class Piece:
    """What one line says of a value, without the blanks around it; ``line`` counts from 1."""

    line: int
    text: str


@attrs.frozen
class Entry:
    """A key and its value; the first piece stands behind the ``=``, the others are indented lines."""

    key: str
    pieces: list[Piece]


@attrs.frozen
class Section:
    """A header and the entries below it.

    Attributes:
        name: What stands between the brackets: ``config www/secure``.
        line: Where the header is; counts from 1.
        sound: False when the header is a fault, so that ``name`` is a guess.
        entries: In the order of the file; a key that stands twice is there twice.
    """

    name: str
    line: int
    sound: bool = True
    entries: list[Entry] = attrs.field(factory=list)


@attrs.frozen
class Fault:
    """A line that breaks a rule of this module; ``section`` is the name of the one it stands in, empty for a header."""

    line: int
    section: str
    text: str
    message: str


@attrs.frozen
class Document:
    """A text, line by line, and what it says.

    Attributes:
        lines: Without their line feeds, but with a carriage return where there was one.
        sections: In the order of the file; a section that stands twice is there twice.
        faults: In the order of the file.
    """

    lines: list[str]
    sections: list[Section] = attrs.field(factory=list)
    faults: list[Fault] = attrs.field(factory=list)

    def text(self) -> str:
        """The text again, to the byte."""
        return "\n".join(self.lines)


def tokenize(text: str) -> Document:
    """``text`` as a document. Never raises: what is wrong is in ``faults``."""
    return _Tokenizer(text).run()


class _Tokenizer:
    """Goes through the lines once.

    After a line that is a fault, what hangs below it (entries of a broken header, indented lines of a broken entry) is
    taken quietly, so that one slip is told once. That is what the detached section and entries are for.
    """

    def __init__(self, text: str) -> None:
        self.document = Document(text.split("\n"))
        self.section: Section | None = None
        self.entry: Entry | None = None
        self.section_lines: dict[str, int] = {}
        self.key_lines: dict[str, int] = {}

    def run(self) -> Document:
        for number, line in enumerate(self.document.lines, 1):
            self.take(number, line.removesuffix("\r"))
        return self.document

    def take(self, number: int, line: str) -> None:
        if number == 1 and line.startswith(BYTE_ORDER_MARK):
            self.fault(1, line, "begins with a byte order mark; save the file as UTF-8 without one")
            line = line.removeprefix(BYTE_ORDER_MARK)
        if control := CONTROL.search(line):
            self.fault(number, line, f"has the control character U+{ord(control[0]):04X}; remove it")
            self.skip(number, line)
        elif COMMENT.fullmatch(line):
            pass
        elif line[0] in BLANKS:
            self.go_on(Piece(number, line.strip(BLANKS)))
        elif line[0] == "[":
            self.open(number, line.strip(BLANKS))
        else:
            self.add(number, line.strip(BLANKS))

    def fault(self, number: int, line: str, message: str) -> None:
        section = self.section.name if self.section and not line.startswith("[") else ""
        self.document.faults.append(Fault(number, section, line.strip(BLANKS), message))

    def skip(self, number: int, line: str) -> None:
        if line.startswith("["):
            self.enter(Section(_header_name(line), number, sound=False))
        elif line[:1] not in BLANKS:
            self.entry = Entry("", [])

    def enter(self, section: Section) -> None:
        self.document.sections.append(section)
        self.section, self.entry, self.key_lines = section, None, {}

    def open(self, number: int, line: str) -> None:
        name = _header_name(line)
        sound = bool(name) and line.endswith("]") and not re.search(r"[\[\]]", line[1:-1])
        self.enter(Section(name, number, sound))
        if not sound:
            self.fault(number, line, "expected [section] alone on its line; comments stand on lines of their own")
        elif (first := self.section_lines.setdefault(name, number)) != number:
            self.fault(number, line, f"this section stands in line {first} already")

    def add(self, number: int, line: str) -> None:
        key, equals, value = line.partition("=")
        key = key.rstrip(BLANKS)
        self.entry = Entry(key, [Piece(number, value.strip(BLANKS))])
        if self.section is None:
            self.fault(number, line, "stands before the first [section]; begin with one such as [nodebalancer NAME]")
            self.section = Section("", number, sound=False)
        elif not self.section.sound:
            pass
        elif not (key and equals):
            self.fault(number, line, "expected key = value, [section], or a comment that begins with # or ;")
        else:
            self.section.entries.append(self.entry)
            if (first := self.key_lines.setdefault(key, number)) != number:
                self.fault(number, line, f"this key stands in line {first} already")

    def go_on(self, piece: Piece) -> None:
        if self.entry:
            self.entry.pieces.append(piece)
        elif self.section is None or self.section.sound:
            self.fault(piece.line, piece.text, "indented, but nothing above it can go on; begin in the first column")


def _header_name(line: str) -> str:
    """What stands between the brackets, as far as there are any."""
    return " ".join(line[1:].partition("]")[0].split())
