"""A gigabyte passes through, either way and however it is framed, and our memory does not notice."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from nodebalancer.testing.nodes import LOOPBACK, Program, balancer, curl, free_port, nginx

pytestmark = [pytest.mark.proof, pytest.mark.integration]

GIGABYTE = 2**30
PIECE = 2**20

GROWTH_BYTES = 8 * 2**20
"""A few buffers, and what the interpreter takes for itself; a thousandth of what passes."""

NODE = """\
root {directory};
location /put/ {{ dav_methods PUT; create_full_put_path on; }}
location /chunked/ {{ alias {directory}/; sub_filter_types *; sub_filter "no such text in there" ""; }}
"""

INI = """\
[nodebalancer www]
listen = 127.0.0.1
max_connections = 100

[config www/{protocol}]
port = {port}
protocol = {protocol}

[nodes www/{protocol}]
one = 127.0.0.1:{one}
"""


@attrs.frozen
class Way:
    """Through the balancer to an nginx that serves ``directory``, and stores there what is put."""

    protocol: str
    directory: Path
    url: str
    program: Program
    tell: Callable[[str], None]


@pytest.fixture(params=["http", "tcp"])
def way(tmp_path: Path, request: pytest.FixtureRequest, tell: Callable[[str], None]) -> Iterator[Way]:
    node, one = nginx(tmp_path, NODE.format(directory=tmp_path))
    port = free_port()
    with node, balancer(tmp_path, INI.format(protocol=request.param, port=port, one=one), [port]) as program:
        yield Way(request.param, tmp_path, f"http://{LOOPBACK}:{port}", program, tell)
    for file in tmp_path.rglob("*.gigabyte"):
        file.unlink()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A gigabyte in which no piece is like another."""
    file = tmp_path / "source.gigabyte"
    noise = os.urandom(PIECE)
    with file.open("wb") as out:
        for number in range(GIGABYTE // PIECE):
            out.write(number.to_bytes(8, "big") + noise[8:])
    return file


def digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def flat(way: Way, what: str) -> Iterator[None]:
    """Hold the balancer to its memory in the block, and print the figures."""
    before, began = way.program.resident_bytes(), time.monotonic()
    way.program.forget_peak()
    yield
    growth, took = way.program.peak_bytes() - before, time.monotonic() - began
    way.tell(f"{what}: {took:.1f} s, memory {before / 2**20:.1f} MiB, at most {growth / 2**20:.2f} MiB more")
    assert growth < GROWTH_BYTES


@pytest.mark.parametrize("path", ["", "chunked/"])
def test_a_gigabyte_down(way: Way, source: Path, path: str) -> None:
    got = way.directory / "got.gigabyte"
    head = way.directory / "head"
    with flat(way, f"{way.protocol}, 1 GB down, {path or 'Content-Length'}"):
        curl("-o", str(got), "-D", str(head), f"{way.url}/{path}{source.name}")
    assert ("chunked" in head.read_text()) == bool(path)
    assert digest(got) == digest(source)


@pytest.mark.parametrize("framing", ["Content-Length", "Transfer-Encoding: chunked"])
def test_a_gigabyte_up(way: Way, source: Path, framing: str) -> None:
    fields = ["-H", framing] if ":" in framing else []
    with flat(way, f"{way.protocol}, 1 GB up, {framing}"):
        curl("-T", str(source), *fields, f"{way.url}/put/target.gigabyte")
    assert digest(way.directory / "put/target.gigabyte") == digest(source)
