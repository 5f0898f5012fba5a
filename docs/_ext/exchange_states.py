"""The directive ``exchange-states``: the states of an HTTP exchange as the code has them.

What a state is stands below it in the code; what it does in a happening is the name of a handler, in words.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from itertools import pairwise
from types import ModuleType

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nodebalancer.proxy import tcp
from nodebalancer.proxy.connection import HAPPENINGS, IGNORE, NEVER, Row
from nodebalancer.proxy.http import client


def states_text() -> str:
    """All states with their happenings, as reStructuredText.

    Raises:
        KeyError: A state without a description; ends the build of the docs.
    """
    described = {**descriptions(tcp, "tunnel_"), **descriptions(client)}
    return "".join(_state(name, row, described[name]) for name, row in client.STATES.items())


def descriptions(module: ModuleType, prefix: str = "") -> dict[str, str]:
    """The string below each assignment of a state in a module, by the state's name."""
    found = {}
    for body in _bodies(ast.parse(inspect.getsource(module))):
        for one, following in pairwise(body):
            name = _assigned(one)
            if name.isupper() and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                found[prefix + name.lower()] = str(following.value.value)
    return found


def _bodies(tree: ast.Module) -> Iterable[list[ast.stmt]]:
    yield tree.body
    yield from (one.body for one in tree.body if isinstance(one, ast.ClassDef))


def _assigned(statement: ast.stmt) -> str:
    if isinstance(statement, ast.Assign):
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign):
        target = statement.target
    else:
        return ""
    return target.id if isinstance(target, ast.Name) else ""


def _state(name: str, row: Row, description: str) -> str:
    lines = [f"\n**{_words(name)}**: {' '.join(description.split())}\n"]
    for happening in HAPPENINGS:
        handler = row[happening]
        if handler is not NEVER:
            done = "*nothing*" if handler is IGNORE else _words(handler.__name__)
            lines.append(f"* {_words(happening)}: {done}")
    impossible = [_words(happening) for happening in HAPPENINGS if row[happening] is NEVER]
    if impossible:
        lines.append(f"* impossible: {', '.join(impossible)}")
    return "\n".join(lines) + "\n"


def _words(name: str) -> str:
    return name.strip("_").replace("_", " ")


class ExchangeStates(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(states_text())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("exchange-states", ExchangeStates)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
