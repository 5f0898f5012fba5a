"""The directive ``metrics``: all metrics, as tables made from the list that the collector has them from."""

from __future__ import annotations

from collections.abc import Iterable

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from nodebalancer.control.metrics.names import FAMILIES, Family

HEAD = """
.. list-table:: {title}
   :header-rows: 1
   :widths: 38 9 20 33

   * - Metric
     - Type
     - Labels
     - Meaning
"""


def metrics_text() -> str:
    """The tables, as reStructuredText."""
    return "".join(HEAD.format(title=title) + "".join(_rows(families)) for title, families in FAMILIES.items())


def _rows(families: Iterable[Family]) -> Iterable[str]:
    for family in families:
        meaning = family.meaning + (" Not with tcp." if family.http else "")
        cells = f"``{family.name}``", family.kind, ", ".join(family.labels), meaning
        yield "   * - " + "\n     - ".join(cells) + "\n"


class Metrics(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(metrics_text())


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("metrics", Metrics)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
