"""However connections fail, and however many: no descriptor stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Self

import attrs
import pytest

from nodebalancer.process.limits import raise_descriptors
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, Program, balancer, free_port, wait_until
from nodebalancer.transport.epoll.pipes import PIPE_BYTES, POOL_BYTES
from nodebalancer.transport.sockets import RESET

pytestmark = pytest.mark.integration

INI = """\
[defaults]
timeout_request = 2
timeout_connect = 1
timeout_client = 2
timeout_server = 2
timeout_tunnel = 2
timeout_half_closed = 2
upgrades = websocket

[nodebalancer lb]
listen = 127.0.0.1
max_connections = 2000

[config lb/http]
port = {http}
[nodes lb/http]
node = 127.0.0.1:{node}

[config lb/http-refused]
port = {http_refused}
[nodes lb/http-refused]
node = 127.0.0.1:{refused}

[config lb/http-silent]
port = {http_silent}
[nodes lb/http-silent]
node = 127.0.0.1:{silent}

[config lb/tcp]
port = {tcp}
protocol = tcp
[nodes lb/tcp]
node = 127.0.0.1:{node}

[config lb/tcp-refused]
port = {tcp_refused}
protocol = tcp
[nodes lb/tcp-refused]
node = 127.0.0.1:{refused}

[nodebalancer narrow]
listen = 127.0.0.1
max_connections = 5

[config narrow/http]
port = {narrow}
[nodes narrow/http]
node = 127.0.0.1:{node}
"""

BULK = bytes(1 << 20)
"""Far beyond where splicing begins."""

PIECE = bytes(1 << 16)


def reset(writer: Writer) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


# The node does what the request's path says.


async def serve(reader: Reader, writer: Writer) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        await DOINGS[head.split()[1].decode()](reader, writer)
    writer.transport.abort()


async def answer(_: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def say_nothing(reader: Reader, _: Writer) -> None:
    await reader.read()


async def talk_rubbish(reader: Reader, writer: Writer) -> None:
    writer.write(b"what?\r\n")
    await reader.read()


async def hang_up(_: Reader, writer: Writer) -> None:
    reset(writer)


async def begin_and_hang_up(_: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await asyncio.sleep(0.05)
    reset(writer)


async def pour(_: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    while True:
        writer.write(PIECE)
        await writer.drain()


async def pour_and_hang_up(_: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    writer.write(BULK)
    await asyncio.sleep(0.05)
    reset(writer)


async def swallow(reader: Reader, _: Writer) -> None:
    while await reader.read(1 << 18):
        pass


async def switch(reader: Reader, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    while data := await reader.read(100):
        if data == b"hang up":
            reset(writer)
            return
        writer.write(data)


DOINGS: dict[str, Callable[[Reader, Writer], Awaitable[None]]] = {
    "/answer": answer,
    "/silence": say_nothing,
    "/rubbish": talk_rubbish,
    "/reset": hang_up,
    "/half": begin_and_hang_up,
    "/bulk": pour,
    "/bulk-reset": pour_and_hang_up,
    "/swallow": swallow,
    "/switch": switch,
}


# The clients, and what they see.


@attrs.frozen
class Site:
    """Where everything is.

    Attributes:
        ports: Of the balancer, by config.
        program: The balancer.
    """

    ports: dict[str, int]
    program: Program


class Client:
    """One connection to the balancer."""

    reader: Reader
    writer: Writer

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(LOOPBACK, self._port, limit=1 << 16)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def ask(self, path: str, fields: bytes = b"", method: str = "GET") -> None:
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: a\r\n".encode() + fields + b"\r\n")
        await self.writer.drain()

    async def seen(self) -> str:
        """How it goes on: the status of an answer, ``closed`` or ``reset``; ``cut`` if an answer ends in a reset."""
        got = b""
        try:
            while data := await self.reader.read(1 << 16):
                got = got or data
        except ConnectionResetError:
            return "cut" if got else "reset"
        return got[9:12].decode() if got else "closed"

    async def leave(self) -> str:
        """Reset the connection."""
        await asyncio.sleep(0.05)
        reset(self.writer)
        return "left"


async def sent(client: Client, data: bytes) -> str:
    client.writer.write(data)
    return await client.seen()


async def sent_and_left(client: Client, data: bytes) -> str:
    client.writer.write(data)
    return await client.leave()


async def asked(client: Client, path: str, fields: bytes = b"") -> str:
    await client.ask(path, fields)
    return await client.seen()


async def asked_and_left(client: Client, path: str, fields: bytes = b"") -> str:
    await client.ask(path, fields)
    return await client.leave()


async def asked_and_half_closed(client: Client, path: str) -> str:
    await client.ask(path)
    client.writer.write_eof()
    return await client.seen()


async def half_closed(client: Client, data: bytes) -> str:
    client.writer.write(data)
    client.writer.write_eof()
    return await client.seen()


async def took_some_and_left(client: Client) -> str:
    await client.ask("/bulk")
    await client.reader.readexactly(1 << 19)
    return await client.leave()


async def uploaded(client: Client, fields: bytes, piece: bytes, then: str) -> str:
    """An upload that breaks off, by a reset or by silence."""
    await client.ask("/swallow", fields, "POST")
    client.writer.write(piece)
    return await (client.leave() if then == "leave" else client.seen())


async def switched(client: Client, then: str) -> str:
    await client.ask("/switch", b"Connection: upgrade\r\nUpgrade: websocket\r\n")
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    client.writer.write(b"hello")
    assert await client.reader.readexactly(5) == b"hello"
    if then == "hang up":
        client.writer.write(b"hang up")
    return await (client.leave() if then == "leave" else client.seen())


LENGTH = b"Content-Length: 100000000\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n"
CHUNK = b"100000\r\n" + BULK + b"\r\n"

FAILURES: list[tuple[str, Callable[[Client], Awaitable[str]], str]] = [
    ("http", lambda c: c.leave(), "left"),
    ("http", lambda c: c.seen(), "closed"),
    ("http", lambda c: sent_and_left(c, b"GET / HT"), "left"),
    ("http", lambda c: half_closed(c, b"GET / HT"), "closed"),
    ("http", lambda c: sent(c, b"GET / HT"), "408"),
    ("http", lambda c: sent(c, b"\x16\x03\x01\r\n\r\n"), "400"),
    ("http", lambda c: asked(c, "/answer"), "200"),
    ("http", lambda c: asked_and_half_closed(c, "/answer"), "200"),
    ("http", lambda c: asked_and_left(c, "/silence"), "left"),
    ("http", lambda c: asked(c, "/silence"), "504"),
    ("http", lambda c: asked(c, "/rubbish"), "502"),
    ("http", lambda c: asked(c, "/reset"), "502"),
    ("http", lambda c: asked(c, "/half"), "cut"),
    ("http", lambda c: asked(c, "/bulk-reset"), "cut"),
    ("http", took_some_and_left, "left"),
    ("http", lambda c: asked_and_left(c, "/bulk"), "left"),
    ("http", lambda c: uploaded(c, LENGTH, BULK, "leave"), "left"),
    ("http", lambda c: uploaded(c, LENGTH, BULK, "wait"), "408"),
    ("http", lambda c: uploaded(c, CHUNKS, CHUNK, "leave"), "left"),
    ("http", lambda c: uploaded(c, CHUNKS, CHUNK + b"what?\r\n", "wait"), "400"),
    ("http", lambda c: switched(c, "leave"), "left"),
    ("http", lambda c: switched(c, "hang up"), "reset"),
    ("http", lambda c: switched(c, "wait"), "reset"),
    ("http_refused", lambda c: asked(c, "/answer"), "503"),
    ("http_silent", lambda c: asked(c, "/answer"), "503"),
    ("http_silent", lambda c: asked_and_left(c, "/answer"), "left"),
    ("tcp", lambda c: c.leave(), "left"),
    ("tcp", lambda c: c.seen(), "reset"),
    ("tcp", lambda c: half_closed(c, b"GET / HT"), "closed"),
    ("tcp", lambda c: asked(c, "/answer"), "200"),
    ("tcp", lambda c: asked(c, "/reset"), "reset"),
    ("tcp", lambda c: asked(c, "/bulk-reset"), "cut"),
    ("tcp", took_some_and_left, "left"),
    ("tcp", lambda c: asked_and_left(c, "/bulk"), "left"),
    ("tcp", lambda c: asked(c, "/silence"), "reset"),
    ("tcp", lambda c: uploaded(c, b"", BULK, "leave"), "left"),
    ("tcp_refused", lambda c: c.seen(), "closed"),
    # At the cap those that wait, or have not said what they want, may have to go.
    ("narrow", lambda c: asked(c, "/answer"), "200 reset"),
    ("narrow", lambda c: asked_and_left(c, "/answer"), "left reset"),
]
"""Config, what the client does, what it may see."""


# The storm.


async def fail(site: Site, config: str, do: Callable[[Client], Awaitable[str]]) -> str:
    try:
        async with asyncio.timeout(HANG_SECONDS), Client(site.ports[config]) as client:
            return await do(client)
    except (ConnectionResetError, BrokenPipeError):
        return "reset"


async def storm(site: Site, waves: int, clients: int) -> int:
    """In every wave ``clients`` fail in each way at once; how many that were."""
    server = await asyncio.start_server(serve, LOOPBACK, site.ports["node"], backlog=4096)
    storming = [failure for failure in FAILURES for _ in range(clients)]
    async with server:
        for _ in range(waves):
            seen = await asyncio.gather(*(fail(site, config, do) for config, do, _ in storming))
            wrong = Counter(
                (number // clients, config, expected, what)
                for number, ((config, _, expected), what) in enumerate(zip(storming, seen, strict=True))
                if what not in expected.split()
            )
            assert not wrong
        await famine(site)
    return waves * len(storming)


async def famine(site: Site) -> None:
    """A hundred clients come to a balancer that has room for ten more descriptors."""
    pid = site.program.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (site.program.descriptors().total() + 10, limits[1]))
    clients = [
        asyncio.ensure_future(fail(site, config, lambda c: asked(c, "/answer")))
        for config in ("tcp", "http")
        for _ in range(50)
    ]
    await asyncio.sleep(2)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert set(await asyncio.gather(*clients)) <= {"200", "503", "closed", "reset"}
    assert await fail(site, "http", lambda c: asked(c, "/answer")) == "200"


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that never answers a dial: the kernel ignores whom a full queue has no room for."""
    with socket.create_server((LOOPBACK, free_port()), backlog=0) as full, contextlib.ExitStack() as stack:
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


@pytest.mark.parametrize("engine", ["epoll", "reactor"])
@pytest.mark.parametrize(
    ("waves", "clients"), [(3, 18), pytest.param(40, 13, marks=pytest.mark.proof)], ids=["2,000", "20,000"]
)
def test_no_failure_leaves_a_descriptor(tmp_path: Path, silent: int, engine: str, waves: int, clients: int) -> None:
    raise_descriptors(8192)
    names = ["http", "http_refused", "http_silent", "tcp", "tcp_refused", "narrow"]
    ports = {name: free_port() for name in (*names, "node", "refused")}
    ini = INI.format(**ports, silent=silent)
    with balancer(tmp_path, ini, [ports[name] for name in names], engine=engine) as program:
        before = program.descriptors()
        assert asyncio.run(storm(Site(ports, program), waves, clients)) > 2000

        def kept() -> Counter[str]:
            return program.descriptors() - before

        wait_until(lambda: set(kept()) <= {"pipe"}, "everything to be closed")
        # Pipes are lent to whoever needs one next.
        assert kept()["pipe"] <= 2 * POOL_BYTES / PIPE_BYTES
        assert program.stop() == 0
        assert "Traceback" not in program.output
