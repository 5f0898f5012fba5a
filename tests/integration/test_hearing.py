"""Clients that are paused while they wait for their answer: what they do meanwhile is noticed, on real sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import attrs
import pytest

from nodebalancer.testing.exchanges import GET, body_of, status_of
from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, balancer, free_port
from nodebalancer.transport.sockets import reset

pytestmark = pytest.mark.integration

NOTICED_SECONDS = 5.0
"""The first look is after a second, coarse to another one; the rest is for a busy machine."""

INI = """\
[defaults]
check = none

[nodebalancer www]
listen = 127.0.0.1

[config www/web]
port = {port}

[nodes www/web]
one = 127.0.0.1:{node}
"""


@attrs.frozen
class Site:
    """A balancer before a node that the test plays."""

    port: int
    listening: socket.socket

    def exchange(self, request: bytes) -> tuple[socket.socket, socket.socket]:
        """A client that has sent ``request``, and its node, which has heard the head."""
        client = socket.create_connection((LOOPBACK, self.port), HANG_SECONDS)
        client.sendall(request)
        node, _ = self.listening.accept()
        node.settimeout(HANG_SECONDS)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += node.recv(4096)
        return client, node


@pytest.fixture(scope="module", params=["epoll", "reactor"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    port = free_port()
    with socket.create_server((LOOPBACK, 0)) as listening:
        listening.settimeout(HANG_SECONDS)
        ini = INI.format(port=port, node=listening.getsockname()[1])
        with balancer(tmp_path_factory.mktemp("hearing"), ini, [port], engine=request.param) as program:
            yield Site(port, listening)
            assert "Traceback" not in program.output


@pytest.mark.parametrize("patience", [0.0, 2.5])
def test_a_client_that_resets_takes_its_node_along(site: Site, patience: float) -> None:
    """A node must not work on for nobody: whether the client leaves at once, or after it was looked at first."""
    client, node = site.exchange(GET)
    time.sleep(patience)
    left_at = time.monotonic()
    reset(client)
    with node, pytest.raises(ConnectionResetError):
        node.recv(1)
    assert time.monotonic() - left_at < NOTICED_SECONDS


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"


@pytest.mark.parametrize("patience", [0.0, 2.5])
def test_what_a_client_sends_after_its_request_does_not_cost_it_the_answer(site: Site, patience: float) -> None:
    """Closing a socket with unread input resets it, and destroys what is on its way to the client."""
    client, node = site.exchange(GET)
    client.sendall(GET * 100)
    time.sleep(patience)
    client.sendall(b"x" * 50_000)
    node.sendall(ANSWER + b"y" * 200_000)
    node.close()
    time.sleep(0.3)  # what comes from us now meets a balancer that has handed all to the kernel
    client.sendall(b"and more")
    received = b""
    with client:
        while data := client.recv(65536):
            received += data
    assert status_of(received) == 200
    assert body_of(received) == b"y" * 200_000


def test_an_answer_that_fits_one_piece_is_not_destroyed_either(site: Site) -> None:
    client, node = site.exchange(GET)
    client.sendall(b"x" * 100)
    node.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with client, node:
        time.sleep(0.3)
        received = client.recv(65536)
        while not received.endswith(b"ok"):
            received += client.recv(65536)
        assert status_of(received) == 200
        assert client.recv(1) == b""
