"""The directive ``ini-section``: the keys of a section of the INI file, as a table made from the model's own fields.

``.. ini-section:: config`` describes ``[config NODEBALANCER/CONFIG]``; ``node`` stands for the options on a node's line.
What a key is, its default and what this version cannot do yet are written once, in ``nodebalancer.model``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nodebalancer.fields import Choice, Flag, Key, keys_of
from nodebalancer.model import Node
from nodebalancer.settings.sections import SORTS

HEAD = """\
.. list-table::
   :header-rows: 1
   :widths: 17 14 24 37 8

   * - Key
     - Default
     - Expected
     - Meaning
     - Row
"""

REFUSED = "**Not available yet.** The section is checked, then refused.\n\n"


def section_text(word: str) -> str:
    """The description of a section, as reStructuredText.

    Raises:
        KeyError: No section begins with ``word``; ends the build of the docs.
    """
    if word == "node":
        return _table(Node)
    sort = SORTS[word]
    assert sort.model is not None, "the lines of [nodes …] have no keys; describe 'node'"
    return ("" if sort.available else REFUSED) + _table(sort.model)


def _table(model: type) -> str:
    rows = [_row(name, field.default, key) for name, (field, key) in keys_of(model).items()]
    return HEAD + "".join(rows)


def _row(name: str, default: Any, key: Key) -> str:
    written = key.kind.write(default)
    cells = (
        f"``{name}``",
        f"``{written}``" if written else "(empty)",
        _plain(key.kind.expected) + (" May go on in indented lines." if key.continues else ""),
        _plain(key.doc) + "".join(f" {sentence}" for sentence in _not_yet(default, key)),
        key.row,
    )
    return "   * - " + "\n     - ".join(cells) + "\n"


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
        return self.parse_text_to_nodes(section_text(self.arguments[0]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("ini-section", IniSection)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
