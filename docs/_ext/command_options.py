"""The directive ``command-options``: the options of ``twistd nodebalancer``, as the program itself has them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nodebalancer.process.tap import Options


def options_text() -> str:
    """All options with what they are for, as reStructuredText.

    Raises:
        KeyError: An option that takes a value, and the synopsis does not call it anything; ends the build of the docs.
    """
    return "".join(_options())


def _options() -> Iterable[str]:
    values = dict(re.findall(r"--([\w-]+) ([A-Z]+)", Options.synopsis))
    for name, letter, default, text in Options.optParameters:
        short = f"-{letter} {values[name]}, " if letter else ""
        said = f" Default: ``{default}``." if default else ""
        yield f".. option:: {short}--{name} {values[name]}\n\n   {text}{said}\n\n"
    for name, letter, text in Options.optFlags:
        yield f".. option:: {f'-{letter}, ' if letter else ''}--{name}\n\n   {text}\n\n"


class CommandOptions(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(options_text())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("command-options", CommandOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
