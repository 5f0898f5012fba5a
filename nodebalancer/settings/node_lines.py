r"""A node's line, ``name = ADDRESS:PORT [weight=1-255] [mode=…] [label="any text"]``: read and written.

The options are the keys of ``model.Node``. A value with anything but letters, digits and ``_ . -`` in it is written
between double quotes, where ``\"`` and ``\\`` stand for the two characters that could not be said otherwise.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from nodebalancer.fields import Address, HostPort, keys_of
from nodebalancer.model import NAME, Node
from nodebalancer.settings.document import Section
from nodebalancer.settings.places import Report
from nodebalancer.settings.sections import NAME_RULE, nearest
from nodebalancer.settings.values import read_value, refuse_more_lines

OPTIONS = keys_of(Node)
FORM = " ".join(["ADDRESS:PORT", *(f"[{name}=…]" for name in OPTIONS)])
ADDRESS = HostPort(names=True)
OPTION = re.compile(r'[ \t]+([^ \t="]+)=("(?:[^"\\]|\\["\\])*"|[^ \t"]*)(?![^ \t])')
PLAIN = re.compile(r"[A-Za-z0-9_.-]+")

Tell = Callable[[str], None]


def read_nodes(section: Section, report: Report) -> dict[str, Node]:
    """The nodes of a section by their names; what is wrong goes to the report."""
    nodes: dict[str, Node] = {}
    for entry in section.entries:
        tell = functools.partial(report.entry, section, entry)
        refuse_more_lines(section, entry, report)
        if not re.fullmatch(NAME, entry.key):
            tell(f"{entry.key!r} cannot be the name of a node; {NAME_RULE}")
        node = read_node(entry.key, entry.pieces[0].text, tell)
        if node:
            nodes.setdefault(node.name, node)
    return nodes


def read_node(name: str, text: str, tell: Tell) -> Node | None:
    """The node that ``text``, what stands behind the ``=``, describes.

    Args:
        name: What stands before it.
        text: Without blanks around it.
        tell: Called with a sentence for each thing that is wrong; then there is no node.
    """
    told: list[str] = []
    address, rest = re.fullmatch(r"([^ \t]*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
    where = _read_address(address, told.append)
    options = _read_options(rest, told.append)
    for message in told:
        tell(message)
    return None if told or where is None else Node(name, where, **options)


def _read_address(text: str, tell: Tell) -> Address | None:
    try:
        return ADDRESS.read(text)
    except ValueError as e:
        tell(str(e))
        return None


def _read_options(text: str, tell: Tell) -> dict[str, Any]:
    options: dict[str, Any] = {}
    seen: set[str] = set()
    end = 0
    while match := OPTION.match(text, end):
        end = match.end()
        name, value = match[1], _unquoted(match[2])
        if name in seen:
            tell(f"{name} is given twice")
        elif name in OPTIONS:
            _read_option(name, value, options, tell)
        else:
            tell(f"unknown option {name}; the nearest known one is {nearest(name, OPTIONS)}")
        seen.add(name)
    if rest := text[end:].strip():
        tell(f"cannot read {rest!r}; expected {FORM}")
    return options


def _read_option(name: str, value: str, options: dict[str, Any], tell: Tell) -> None:
    field, key = OPTIONS[name]
    try:
        options[name] = read_value(value.strip(), key, field.default)
    except ValueError as e:
        tell(f"{name}={value}: {e}")


def write_node(node: Node) -> str:
    """The text that ``read_node`` turns into ``node`` again; options at their defaults are left out."""
    words = [str(node.address)]
    for name, (field, key) in OPTIONS.items():
        value = getattr(node, name)
        if value != field.default:
            words.append(f"{name}={_quoted(key.kind.write(value))}")
    return " ".join(words)


def rewritten(text: str, wanted: Mapping[str, Any]) -> str:
    """``text`` of a node's line with other values, and otherwise as it is.

    Args:
        text: What ``read_node`` can read.
        wanted: ``address`` and options by their names; an option that gets its default goes.
    """
    address, rest = re.fullmatch(r"([^ \t]*)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # matches all
    words = {match[1]: match[0] for match in OPTION.finditer(rest)}
    for name, value in wanted.items():
        if name == "address":
            address = str(value)
            continue
        field, key = OPTIONS[name]
        if value == field.default:
            words.pop(name, None)
        else:
            blanks = re.match(r"[ \t]*", words.get(name, " "))[0]  # type: ignore[index]  # matches all
            words[name] = f"{blanks}{name}={_quoted(key.kind.write(value))}"
    return address + "".join(words.values())


def _quoted(text: str) -> str:
    if PLAIN.fullmatch(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _unquoted(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text[1:-1]) if text.startswith('"') else text
