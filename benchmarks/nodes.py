"""The nodes behind every contestant: one nginx that answers on two ports, and an echo."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

from benchmarks import setups
from benchmarks.machine import free_port
from benchmarks.programs import Program

ANSWER_BYTES = 1024
BULK_BYTES = 256 * 2**20


@attrs.frozen
class Nodes:
    """Where the nodes listen, all on 127.0.0.1.

    Attributes:
        web: Two ports: ``/`` is ``ANSWER_BYTES`` long, ``/bulk`` is ``BULK_BYTES`` long; the connection is closed after it.
        echo: A port that sends back what it gets, until the client closes.
    """

    web: tuple[int, int]
    echo: int


@contextmanager
def running(core: int, directory: Path, root: Path) -> Iterator[Nodes]:
    """The nodes, on ``core``, for as long as the context lasts.

    Args:
        core: They share it with each other.
        directory: For settings and logs.
        root: The checkout.
    """
    nodes = Nodes((free_port(), free_port()), free_port())
    with TemporaryDirectory(prefix="bench-", dir="/dev/shm") as memory:
        config = _configured(nodes, directory, Path(memory))
        echo = [sys.executable, "-m", "benchmarks.echo_node", str(nodes.echo)]
        with (
            Program("node", ["nginx", "-c", str(config)], core, directory) as web,
            Program("echo", echo, core, directory, {"PYTHONPATH": str(root)}) as echoing,
        ):
            web.wait_for(nodes.web)
            echoing.wait_for([nodes.echo])
            yield nodes


def _configured(nodes: Nodes, directory: Path, memory: Path) -> Path:
    memory.chmod(0o755)  # an nginx started by root reads the file as another user
    return setups.write(
        "node.conf",
        directory / "node.conf",
        directory=directory,
        web_1=nodes.web[0],
        web_2=nodes.web[1],
        answer="x" * ANSWER_BYTES,
        bulk=_bulk(memory / "bulk"),
    )


def _bulk(path: Path) -> Path:
    """A file of real pages: holes would all be the same zero page, which no cache ever misses."""
    piece = os.urandom(2**20)
    with path.open("wb") as file:
        for _ in range(BULK_BYTES // len(piece)):
            file.write(piece)
    return path
