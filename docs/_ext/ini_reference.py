"""The reference of the INI file, made from the model's own fields and from files that the real reader reads.

``.. ini-section:: config`` describes every key of ``[config NODEBALANCER/CONFIG]``; ``node`` stands for the options on a
node's line. What a key is, its default and what this version cannot do yet are written once, in ``nodebalancer.model``; its
example is a line of ``docs/recipes/every-key.ini``. Each key is a target: ``:key:`config.check_timeout```.

``.. ini-mistakes:: FILE`` shows what ``--check`` says of a file, by running it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.roles import XRefRole
from sphinx.util.docutils import SphinxDirective

from nodebalancer.fields import Choice, Flag, Key, keys_of
from nodebalancer.model import Node
from nodebalancer.process.tap import Options
from nodebalancer.settings.document import tokenize
from nodebalancer.settings.sections import SORTS

RECIPES = Path(__file__).parents[1] / "recipes"
REFUSED = "**Not available yet.** The section is checked, then refused.\n\n"


def section_text(word: str) -> str:
    """The description of a section, as reStructuredText.

    Raises:
        KeyError: No section begins with ``word``, or a key has no example; ends the build of the docs.
    """
    sort = SORTS.get(word)
    model = Node if word == "node" else SORTS[word].model
    assert model is not None, "the lines of [nodes …] have no keys; describe 'node'"
    keys = keys_of(model)
    shown = examples()
    links = ", ".join(f":key:`{word}.{name}`" for name in keys)
    text = REFUSED if sort is not None and not sort.available else ""
    text += f"Keys: {links}.\n\n" if len(keys) > 1 else ""
    return text + "".join(
        _key(word, name, field.default, key, shown[word, name]) for name, (field, key) in keys.items()
    )


def examples() -> dict[tuple[str, str], str]:
    """A line for each key, or some where it goes on, by the word of its section and its name."""
    found: dict[tuple[str, str], str] = {}
    for section in tokenize((RECIPES / "every-key.ini").read_text()).sections:
        word = section.name.partition(" ")[0]
        for entry in section.entries:
            first, *others = (piece.text for piece in entry.pieces)
            line = "\n    ".join([f"{entry.key} = {first}".rstrip(), *others])
            if word == "nodes":
                for option in first.split(" ")[1:]:
                    found.setdefault(("node", option.partition("=")[0]), line)
            else:
                found.setdefault((word, entry.key), line)
    return found


def mistakes_text(name: str) -> str:
    """What ``twistd nodebalancer --config NAME --check`` prints for a file among the recipes that is not right.

    Raises:
        ValueError: It is right; ends the build of the docs.
    """
    try:
        with contextlib.chdir(RECIPES), contextlib.redirect_stdout(io.StringIO()):
            Options().parseOptions(["--config", name, "--check"])
    except SystemExit as end:
        if isinstance(end.code, str):
            return end.code
    raise ValueError(f"{name}: no mistake was found")


def _key(word: str, name: str, default: Any, key: Key, example: str) -> str:
    written = key.kind.write(default)
    lines = [
        " ".join([_plain(key.doc), *_not_yet(default, key)]),
        "",
        f":Expected: {_plain(key.kind.expected)}" + (" May go on in indented lines." if key.continues else ""),
        f":Default: {f'``{written}``' if written else 'empty'}",
        *([f":Serves: {key.row} of :doc:`requirements`"] if key.row else []),
        ":Example:",
        "   ::",
        "",
        *(f"      {line}" for line in example.split("\n")),
    ]
    return f".. ini-key:: {word}.{name}\n\n" + "".join(f"   {line}".rstrip() + "\n" for line in lines) + "\n"


def _not_yet(default: Any, key: Key) -> Iterable[str]:
    """What is refused today, found by asking the key itself."""
    if key.available is None:
        return
    assert key.available(default), "a default that is refused"
    if isinstance(key.kind, Choice):
        refused = [key.kind.write(value) for value in key.kind.values if not key.available(value)]
    elif isinstance(key.kind, Flag):
        refused = [key.kind.write(value) for value in (True, False) if not key.available(value)]
    else:
        refused = ["any value but the default"]
    yield f"*Not available yet: {', '.join(refused)}.*"


def _plain(text: str) -> str:
    """``text`` with nothing in it that is markup, and ending as a sentence does."""
    for mark in "\\*`|":
        text = text.replace(mark, "\\" + mark)
    text = text.replace("_ ", "\\_ ")
    return text if text.endswith(".") else text + "."


class IniSection(SphinxDirective):
    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(RECIPES / "every-key.ini"))
        return self.parse_text_to_nodes(section_text(self.arguments[0]))


class IniMistakes(SphinxDirective):
    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(RECIPES / self.arguments[0]))
        text = f"$ twistd nodebalancer --config {self.arguments[0]} --check\n{mistakes_text(self.arguments[0])}"
        return [nodes.literal_block(text, text, language="console")]


def _signature(env: BuildEnvironment, signature: str, node: addnodes.desc_signature) -> str:
    """The key stands alone where it is described; the section is above it."""
    node += addnodes.desc_name(signature, signature.partition(".")[2])
    return signature


class KeyRole(XRefRole):
    """``:key:`config.port``` reads ``port``; its target is the key with its section."""

    def process_link(
        self, env: BuildEnvironment, refnode: nodes.Element, has_explicit_title: bool, title: str, target: str
    ) -> tuple[str, str]:
        return (title if has_explicit_title else target.partition(".")[2]), target


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_object_type("ini-key", "key", "pair: %s; key of the INI file", _signature, objname="key of the INI file")
    app.add_role_to_domain("std", "key", KeyRole(innernodeclass=nodes.literal), override=True)
    app.add_directive("ini-section", IniSection)
    app.add_directive("ini-mistakes", IniMistakes)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
