"""The settings of nodes and contestants, as files: ``@{name}`` stands for a value of the run."""

from __future__ import annotations

import string
from pathlib import Path


class Setup(string.Template):
    """Text with ``@{name}`` in it, which none of these programs uses itself."""

    delimiter = "@"


def write(template: str, target: Path, **values: object) -> Path:
    """Write the file ``template`` of this directory to ``target`` with its values filled in; answers ``target``."""
    text = (Path(__file__).parent / template).read_text()
    target.write_text(Setup(text).substitute(values))
    return target
