"""Code blocks of the documents, so that tests can run what readers will type."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import attrs

from nodebalancer.testing.nodes import ROOT

BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\w+)\n"
    r"(?P<options>(?:(?P=indent) +:.*\n)*)\n"
    r"(?P<text>(?:(?:(?P=indent) +.*)?\n)+)",
    re.MULTILINE,
)
PROMPT = re.compile(r"(?:\$ |# (?=[a-z/]))(?P<command>.+)")
"""Output may begin with ``#`` as well (``# HELP``), but not with what could be a command."""


@attrs.frozen
class Block:
    """What stands below a ``code-block``.

    Attributes:
        place: The file and the block's number in it, from 1: ``docs/tls.rst 2``.
        language: Of the block: ``ini``, ``console`` …
        file: The name of the file that a reader makes of it (``:caption:``, or ``:name:``), or empty.
        text: Without its indentation.
    """

    place: str
    language: str
    file: str
    text: str


@attrs.frozen
class Step:
    """A command behind a prompt (``$``, or ``#`` for root) and what it prints, without the line end after the last line.

    Lines that end in a backslash are one command.
    """

    command: str
    output: str


def documents() -> list[Path]:
    """All that people read: README, CONTRIBUTING and docs/."""
    return [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").rglob("*.rst"))]


def blocks(path: Path, root: Path = ROOT) -> Iterator[Block]:
    """The code blocks of a document below ``root``, in their order."""
    for number, found in enumerate(BLOCK.finditer(path.read_text()), 1):
        file = re.search(r":(?:caption|name): (\S+)", found["options"])
        text = textwrap.dedent(found["text"]).strip("\n") + "\n"
        yield Block(f"{path.relative_to(root)} {number}", found["language"], file[1] if file else "", text)


def steps(text: str) -> list[Step]:
    """What a ``console`` block has somebody type, and what they see.

    Raises:
        ValueError: It does not begin with a prompt; fails the test.
    """
    found: list[Step] = []
    for line in text.replace("\\\n", "").splitlines():
        prompt = PROMPT.fullmatch(line)
        if prompt:
            found.append(Step(" ".join(prompt["command"].split()), ""))
        elif found:
            found[-1] = attrs.evolve(found[-1], output=f"{found[-1].output}{line}\n")
        else:
            raise ValueError(f"no prompt ($ or #) in {line!r}")
    return [attrs.evolve(step, output=step.output.rstrip("\n")) for step in found]
