"""WebSocket through a running balancer, with a real client and a real server, over http and https and every engine."""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Opcode
from websockets.sync.server import ServerConnection, serve

from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, balancer, free_port

pytestmark = pytest.mark.integration

MESSAGE_BYTES_MAX = 32 * 2**20

INI = """\
[defaults]
check = none
check_passive = false

[nodebalancer www]
listen = 127.0.0.1

[config www/ws]
port = {ws}

[nodes www/ws]
one = 127.0.0.1:{node}

[config www/wss]
port = {wss}
protocol = https
ssl_cert = {directory}/pair.pem
ssl_key = {directory}/pair.pem

[nodes www/wss]
one = 127.0.0.1:{node}

[config www/short]
port = {short}
timeout_tunnel = 1

[nodes www/short]
one = 127.0.0.1:{node}

[config www/none]
port = {none}
upgrades =

[nodes www/none]
one = 127.0.0.1:{node}
"""


def answer(connection: ServerConnection) -> None:
    """Says what it has heard, until it is told to say goodbye; and what it knows of the client."""
    assert connection.request is not None
    connection.send(connection.request.headers["X-Forwarded-Proto"])
    for message in connection:
        if message == "goodbye":
            connection.close(4000, "as you wish")
            return
        connection.send(message)


@attrs.frozen
class Site:
    """A balancer before one WebSocket server."""

    ports: dict[str, int]
    context: ssl.SSLContext

    def connect(self, config: str, **options: Any) -> Any:
        """A client, to be awaited or used in an ``async with`` statement. (One with threads needs a later Python than 3.11.)"""
        secure = self.context if config == "wss" else None
        uri = f"{'wss' if secure else 'ws'}://{LOOPBACK}:{self.ports[config]}/chat"
        return connect(uri, ssl=secure, max_size=MESSAGE_BYTES_MAX, compression=None, proxy=None, **options)

    def socket(self, config: str) -> socket.socket:
        """A bare connection."""
        bare = socket.create_connection((LOOPBACK, self.ports[config]), HANG_SECONDS)
        return self.context.wrap_socket(bare, server_hostname=LOOPBACK) if config == "wss" else bare


@pytest.fixture(scope="module", params=["epoll", "reactor"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory: Path = tmp_path_factory.mktemp("websocket")
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    authority.issue_cert(LOOPBACK).private_key_and_cert_chain_pem.write_to_path(directory / "pair.pem")
    (directory / "pair.pem").chmod(0o600)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with serve(answer, LOOPBACK, 0, max_size=MESSAGE_BYTES_MAX, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        ports = {name: free_port() for name in ("ws", "wss", "short", "none")}
        ini = INI.format(directory=directory, node=server.socket.getsockname()[1], **ports)
        with balancer(directory, ini, ports.values(), engine=request.param) as program:
            yield Site(ports, context)
            assert "Traceback" not in program.output
        server.shutdown()
        thread.join(HANG_SECONDS)


def in_asyncio(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Runs a test in a loop of its own."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**arguments), HANG_SECONDS))

    return run


CONFIGS = pytest.mark.parametrize("config", ["ws", "wss"])


@CONFIGS
@in_asyncio
async def test_messages_go_both_ways(site: Site, config: str) -> None:
    async with site.connect(config) as client:
        assert await client.recv() == ("https" if config == "wss" else "http")
        for message in ("hello", b"\x00\xff" * 100, "", "ä" * 70_000):
            await client.send(message)
            assert await client.recv() == message
        await (await client.ping())


@CONFIGS
@in_asyncio
async def test_a_message_may_be_larger_than_every_buffer(site: Site, config: str) -> None:
    """And of parts, with the other direction full at the same time."""
    large = os.urandom(12_000_000)
    async with site.connect(config) as client:
        await client.recv()

        async def send() -> None:
            await client.send(large)
            await client.send([large[:5], large[5:]])

        sending = asyncio.create_task(send())
        assert await client.recv() == large
        assert await client.recv() == large
        await sending


@CONFIGS
@in_asyncio
async def test_a_goodbye_arrives_with_its_reason_from_either_side(site: Site, config: str) -> None:
    async with site.connect(config) as client:
        await client.recv()
        await client.send("goodbye")
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert (client.close_code, client.close_reason) == (4000, "as you wish")
    async with site.connect(config) as client:
        await client.recv()
        await client.close(1001)
        assert client.close_code == 1001


@CONFIGS
@in_asyncio
async def test_many_are_open_at_once(site: Site, config: str) -> None:
    clients = await asyncio.gather(*(site.connect(config) for _ in range(20)))
    for number, client in enumerate(clients):
        await client.send(f"I am {number}")
    for number, client in enumerate(clients):
        assert [await client.recv(), await client.recv()][1] == f"I am {number}"
    await asyncio.gather(*(client.close() for client in clients))


UPGRADE = b"""\
GET /chat HTTP/1.1\r
Host: a\r
Connection: Upgrade\r
Upgrade: websocket\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r
\r
"""


def frame(text: bytes, opcode: Opcode = Opcode.TEXT) -> bytes:
    """A short frame as clients send it, masked with zeros."""
    return bytes([0x80 | opcode, 0x80 | len(text), 0, 0, 0, 0]) + text


def read_until(client: socket.socket, end: bytes) -> bytes:
    """All that comes up to ``end``, or to the end of the connection if that is nothing."""
    received = b""
    while not end or not received.endswith(end):
        data = client.recv(4096)
        if not data:
            break
        received += data
    return received


@CONFIGS
def test_what_is_sent_ahead_of_the_101_is_not_lost(site: Site, config: str) -> None:
    """RFC 9110 7.8: a client may speak at once, if it is sure of its server."""
    with site.socket(config) as client:
        client.sendall(UPGRADE + frame(b"early"))
        assert read_until(client, b"early").startswith(b"HTTP/1.1 101 ")
        client.sendall(frame(b"late"))
        assert read_until(client, b"late").endswith(b"\x81\x04late")


@CONFIGS
def test_a_client_that_sends_no_more_still_hears_the_rest(site: Site, config: str) -> None:
    """A half-close after the last frame: the node's goodbye arrives."""
    with site.socket(config) as client:
        client.sendall(UPGRADE)
        read_until(client, b"http" if config == "ws" else b"https")
        client.sendall(frame(b"\x03\xe8", Opcode.CLOSE))
        if not isinstance(client, ssl.SSLSocket):  # Python's cannot half-close
            client.shutdown(socket.SHUT_WR)
        assert read_until(client, b"") == b"\x88\x02\x03\xe8"


@in_asyncio
async def test_a_silent_tunnel_ends(site: Site) -> None:
    """After ``timeout_tunnel``, coarse; words keep it open."""
    async with site.connect("short", ping_interval=None) as client:
        await client.recv()
        for _ in range(4):
            await client.send("not yet")
            assert await client.recv() == "not yet"
            await asyncio.sleep(0.6)
        with pytest.raises(ConnectionClosed):
            await client.recv()
        assert client.close_code == 1006


@in_asyncio
async def test_where_no_upgrade_is_allowed_the_node_sees_none(site: Site) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await site.connect("none")
    assert caught.value.response.status_code == 426
