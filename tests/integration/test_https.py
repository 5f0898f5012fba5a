"""HTTPS as clients meet it, in front of nginx (R10 to R12): openssl s_client and curl have an OpenSSL of their own."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nodebalancer.testing.nodes import HANG_SECONDS, LOOPBACK, balancer, curl, free_port, wait_until

pytestmark = pytest.mark.integration

REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"

PEAK_BYTES = 8_000_000
"""What the balancer may hold more at any time while the big file passes."""


@pytest.fixture(scope="module", params=["epoll", "reactor"])
def secured(request: pytest.FixtureRequest, run_secured: Callable[[str], Iterator[Any]]) -> Iterator[Any]:
    yield from run_secured(request.param)


@pytest.fixture
def s_client(secured: Any) -> Callable[..., str]:
    """Runs ``openssl s_client`` and answers all it says."""

    def run(*arguments: str, to: str = "secure") -> str:
        argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{secured.ports[to]}", "-CAfile", "ca.pem", "-ign_eof"]
        done = subprocess.run(
            [*argv, *arguments],
            input=REQUEST,
            cwd=secured.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=HANG_SECONDS,
        )
        return done.stdout.decode(errors="replace")

    return run


def to_secure(secured: Any, name: str = "www.example.org") -> list[str]:
    """Options of curl that lead ``name`` to us."""
    return [
        "--cacert",
        f"{secured.directory}/ca.pem",
        "--connect-to",
        f"{name}:443:127.0.0.1:{secured.ports['secure']}",
    ]


@pytest.fixture
def connect(secured: Any) -> Iterator[Callable[..., ssl.SSLSocket]]:
    """Connects with Python's TLS, which tells an end from a truncation."""
    context = ssl.create_default_context(cafile=f"{secured.directory}/ca.pem")
    with contextlib.ExitStack() as stack:

        def run(port: int = secured.ports["secure"]) -> ssl.SSLSocket:
            below = socket.create_connection((LOOPBACK, port), HANG_SECONDS)
            return stack.enter_context(
                context.wrap_socket(below, server_hostname="www.example.org", suppress_ragged_eofs=False)
            )

        yield run


def everything(client: ssl.SSLSocket) -> bytes:
    """What comes until a close_notify."""
    return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize("name", ["www.example.org", "shop.example"])
@pytest.mark.parametrize("tickets", [(), ("-no_ticket",)], ids=["tickets", "session ids"])
def test_tls_1_2_sessions_are_resumed_again_and_again(
    s_client: Callable[..., str], name: str, tickets: tuple[str, ...]
) -> None:
    said = s_client("-tls1_2", "-reconnect", "-servername", name, *tickets)
    assert (said.count("\nNew, TLSv1.2"), said.count("\nReused, TLSv1.2")) == (1, 5)
    assert "Compression: NONE" in said


@pytest.mark.parametrize("name", ["www.example.org", "shop.example"])
def test_tls_1_3_sessions_are_resumed_and_take_no_early_data(s_client: Callable[..., str], name: str) -> None:
    first = s_client("-tls1_3", "-servername", name, "-sess_out", "session.pem", "-verify_hostname", name)
    assert "\nNew, TLSv1.3" in first
    assert "Verification: OK" in first
    assert "Max Early Data: 0" in first
    assert "\nReused, TLSv1.3" in s_client("-tls1_3", "-servername", name, "-sess_in", "session.pem")


def test_unknown_names_get_the_default_certificate(s_client: Callable[..., str]) -> None:
    assert "Verification: OK" in s_client("-servername", "unknown.example", "-verify_hostname", "www.example.org")
    assert "Verification: OK" in s_client("-noservername", "-verify_hostname", "www.example.org")
    assert "Verification: OK" in s_client("-servername", "shop.example", "-verify_hostname", "shop.example")


def test_http_1_1_is_agreed_on_or_nothing(s_client: Callable[..., str]) -> None:
    assert "ALPN protocol: http/1.1" in s_client("-alpn", "h2,http/1.1")
    assert "alert no application protocol" in s_client("-alpn", "h2")
    assert "served over https" in s_client()


@pytest.mark.parametrize(("option", "version"), [("-tls1", "TLSv1"), ("-tls1_1", "TLSv1.1")])
def test_old_clients_get_in_where_legacy_says_so(s_client: Callable[..., str], option: str, version: str) -> None:
    arguments = (option, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in s_client(*arguments)
    said = s_client(*arguments, to="legacy")
    assert f"Protocol  : {version}\n" in said
    assert "served over https" in said


@pytest.mark.parametrize("name", ["www.example.org", "shop.example"])
def test_curl_is_served(secured: Any, name: str) -> None:
    said = curl(*to_secure(secured, name), "-w", " %{http_version} %{ssl_verify_result}", f"https://{name}/")
    assert said == "served over https 1.1 0"


def test_plain_http_to_the_port_is_one_line_in_the_log(secured: Any) -> None:
    done = subprocess.run(
        ["curl", "-sS", "--max-time", "10", f"http://127.0.0.1:{secured.ports['rsa']}/"], capture_output=True
    )
    assert done.returncode != 0
    line = "[config www/rsa] a TLS handshake with 127.0.0.1 failed: a plain HTTP request; "
    wait_until(lambda: line in secured.program.output, "the line in the log")
    assert "HTTP/1." not in done.stdout.decode()


def test_a_client_may_end_its_side_without_a_close_notify(connect: Callable[..., ssl.SSLSocket]) -> None:
    client = connect()
    client.sendall(REQUEST)
    with socket.socket(fileno=client.fileno()) as below:
        below.shutdown(socket.SHUT_WR)
        below.detach()
    assert everything(client).endswith(b"served over https")


def test_half_a_body_is_seen_as_half_a_body(secured: Any, connect: Callable[..., ssl.SSLSocket]) -> None:
    """A client to whom a body goes on until the end has nothing else to tell it by."""
    with a_node(lambda node: node.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + bytes(500))) as port:
        ini, listening = secure_before(port)
        with balancer(secured.directory, ini, [listening], name="half", engine=secured.engine):
            client = connect(listening)
            client.sendall(REQUEST)
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                everything(client)


INI = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/secure]
port = {port}
protocol = https
check = none
ssl_cert = www.pem
ssl_key = www.pem

[nodes www/secure]
one = 127.0.0.1:{one}
"""


def secure_before(node: int) -> tuple[str, int]:
    """Settings for a balancer before one node, and its port."""
    port = free_port()
    return INI.format(port=port, one=node), port


@contextlib.contextmanager
def a_node(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A node that reads the head of one request, calls ``serve`` and closes; its port."""

    def run() -> None:
        with contextlib.suppress(OSError), listening.accept()[0] as node:
            head = b""
            while b"\r\n\r\n" not in head:
                head += node.recv(1)
            serve(node)

    with socket.create_server((LOOPBACK, 0)) as listening:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(HANG_SECONDS)


def test_a_large_download_by_a_slow_reader_takes_little_memory(secured: Any) -> None:
    program = secured.program
    curl(*to_secure(secured), "https://www.example.org/")
    program.forget_peak()
    before = program.resident_bytes()
    rate = ["--limit-rate", "50M", "-o", "/dev/null", "-w", "%{http_code} %{size_download}"]
    assert curl(*to_secure(secured), *rate, "https://www.example.org/big") == f"200 {secured.big.stat().st_size}"
    assert program.peak_bytes() - before < PEAK_BYTES


def test_a_large_upload_to_a_slow_node_takes_little_memory(secured: Any) -> None:
    digest, sent = hashlib.sha256(), secured.big.read_bytes()

    def read_slowly(node: socket.socket) -> None:
        left = len(sent)
        while left:
            piece = node.recv(min(left, 1_000_000))
            digest.update(piece)
            left -= len(piece)
            time.sleep(0.002)
        node.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nread")

    with a_node(read_slowly) as port:
        ini, listening = secure_before(port)
        with balancer(secured.directory, ini, [listening], name="upload", engine=secured.engine) as program:
            program.forget_peak()
            before = program.resident_bytes()
            options = ["--cacert", f"{secured.directory}/ca.pem", "-T", str(secured.big), "-H", "Expect:"]
            where = ["--connect-to", f"www.example.org:443:127.0.0.1:{listening}", "https://www.example.org/"]
            assert curl(*options, *where) == "read"
            assert program.peak_bytes() - before < PEAK_BYTES
    assert digest.digest() == hashlib.sha256(sent).digest()


def test_a_reload_brings_in_what_was_renewed_and_keeps_what_was_broken(
    secured: Any, connect: Callable[..., ssl.SSLSocket]
) -> None:
    program, file = secured.program, secured.directory / "www.pem"

    def reload() -> str:
        at = len(program.output)
        program.send(signal.SIGHUP)
        wait_until(lambda: "SIGHUP: " in program.output[at:], "the reload")
        said: str = program.output[at:]
        return said

    early = connect()
    file.write_bytes(secured.issue())
    reload()
    renewed = connect().getpeercert(True)
    assert renewed != early.getpeercert(True)
    file.write_bytes(b"nothing that serves")
    assert "; the certificate that was loaded before goes on serving" in reload()
    assert connect().getpeercert(True) == renewed
    early.sendall(REQUEST)
    assert everything(early).endswith(b"served over https")
