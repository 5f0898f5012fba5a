"""TLS over the engines with sockets, against real OpenSSL clients: handshakes."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable

import pytest
import trustme
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent

from nodebalancer.errors import HandshakeError
from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.secure_peers import Authority
from nodebalancer.testing.secure_worlds import SecureWorld

LoggedErrors = Callable[[], list[LogEvent]]

MUCH = bytes(range(256)) * 32768
"""Eight megabytes: more than the kernel's buffers hold for a peer that does not read."""

VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])


@pytest.fixture(params=["reactor", "epoll"])
def world(request: pytest.FixtureRequest, secure_world: Callable[[str], SecureWorld]) -> SecureWorld:
    return secure_world(request.param)


async def failed(world: SecureWorld, protocol: Recorder) -> str:
    """Why the handshake failed; nothing else was heard."""
    await world.until(lambda: protocol.ended)
    assert protocol.events == ["made", "lost"]
    assert protocol.reason is not None
    assert isinstance(protocol.reason.value, HandshakeError)
    return protocol.reason.value.reason


# The handshake.


@VERSIONS
async def test_a_handshake_is_heard_once_and_then_data_both_ways(world: SecureWorld, version: int) -> None:
    recorder, peer = await world.connected(version=version)
    assert recorder.events == ["made", "shaken"]
    peer.send(b"hello")
    await world.until(lambda: recorder.received == b"hello")
    recorder.transport.write(b"good ")
    recorder.transport.writeSequence([b"m", b"orning"])
    await world.until(lambda: peer.received == b"good morning")
    assert recorder.events == ["made", "shaken", "data"]
    assert peer.tls.get_protocol_version() == version


@VERSIONS
@pytest.mark.parametrize("key", [trustme.KeyType.ECDSA, trustme.KeyType.RSA], ids=["ecdsa", "rsa"])
async def test_a_client_with_sockets_of_its_own(world: SecureWorld, version: int, key: trustme.KeyType) -> None:
    """Python's ssl has another OpenSSL, blocks, and checks the name."""
    authority = Authority(key)
    served = world.serve_tls(
        lambda: Recorder(data=lambda r, d: r.transport.write_last(d)), tls=authority.server(), client_first=True
    )
    context = ssl.create_default_context()
    authority.ca.configure_trust(context)
    context.minimum_version = context.maximum_version = ssl.TLSVersion(version)

    def echo() -> bytes:
        with (
            socket.create_connection(served.address, timeout=10) as below,
            context.wrap_socket(below, server_hostname="localhost", suppress_ragged_eofs=False) as client,
        ):
            client.sendall(b"over TLS")
            return b"".join(iter(lambda: client.recv(65536), b""))

    assert await deferToThread(echo) == b"over TLS"
    await world.until(lambda: served.built[0].ended)


@VERSIONS
@pytest.mark.parametrize("tickets", [True, False], ids=["tickets", "stored"])
async def test_sessions_are_resumed(world: SecureWorld, version: int, tickets: bool) -> None:
    def adjust(context: SSL.Context) -> None:
        if not tickets:
            context.set_options(SSL.OP_NO_TICKET)

    served = world.serve_tls(
        lambda: Recorder(data=lambda r, _: r.transport.write_last(b"bye")), tls=world.authority.server(adjust=adjust)
    )
    context, session = world.authority.client(version), None
    for _ in range(3):
        peer = world.secure(served.address, context, session)
        peer.send(b"hello")
        await world.until(lambda peer=peer: peer.ended)  # type: ignore[misc]
        assert peer.resumed == (session is not None)
        session = peer.tls.get_session()


@VERSIONS
async def test_tickets_do_not_wait_for_an_answer(world: SecureWorld, version: int) -> None:
    """They acknowledge the end of the handshake; a client with Nagle's algorithm keeps its request until something does."""
    address, context = world.serve_tls().address, world.authority.client(version)
    first = world.secure(address, context)
    await world.until(lambda: first.established)
    for _ in range(20):
        again = world.secure(address, context, first.tls.get_session())
        await world.until(lambda peer=again: peer.established)  # type: ignore[misc]
        if again.resumed:
            return
    pytest.fail("there is no ticket")


async def test_protocols_are_agreed_on(world: SecureWorld) -> None:
    tls = world.authority.server(
        adjust=lambda context: context.set_alpn_select_callback(lambda _, offered: offered[-1])
    )
    context = world.authority.client()
    context.set_alpn_protos([b"h2", b"http/1.1"])
    peer = world.secure(world.serve_tls(tls=tls).address, context)
    await world.until(lambda: peer.established)
    assert peer.tls.get_alpn_proto_negotiated() == b"http/1.1"


@VERSIONS
async def test_a_hello_that_comes_byte_by_byte(world: SecureWorld, version: int) -> None:
    served = world.serve_tls()
    peer = world.client(served.address)
    client = SSL.Connection(world.authority.client(version))
    client.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    for byte in client.bio_read(65536):
        peer.send(bytes([byte]))
        await world.turn()
    await world.until(lambda: len(peer.received) > 100)
    assert not served.built[0].ended


async def test_each_connection_asks_for_a_context(world: SecureWorld) -> None:
    tls = world.authority.server()
    served = world.serve_tls(tls=tls)
    for count in (1, 2):
        peer = world.secure(served.address)
        await world.until(lambda peer=peer: peer.established)  # type: ignore[misc]
        assert tls.asked == count


async def test_an_inherited_socket_speaks_tls(world: SecureWorld) -> None:
    fd, address = world.inherited()
    built: list[Recorder] = []

    class Factory:
        def buildProtocol(self, addr: Address) -> Recorder:
            built.append(Recorder())
            return built[-1]

    listener = world.engine.adopt(fd, Factory(), tls=world.authority.server())
    peer = world.secure(address)
    await world.until(lambda: peer.established and "shaken" in built[0].events)
    built[0].transport.abortConnection()
    listener.close()
    await world.until(lambda: built[0].ended)


async def test_who_is_not_admitted_costs_no_context(world: SecureWorld) -> None:
    tls = world.authority.server()
    served = world.serve_tls(tls=tls, admit=lambda _: False)
    peer = world.client(served.address)
    peer.send(b"\x16\x03\x01")
    await world.until(lambda: peer.was_reset or peer.ended)
    assert tls.asked == 0
    assert served.clients == []


async def test_a_context_that_cannot_be_had_costs_one_connection(
    world: SecureWorld, logged_errors: LoggedErrors
) -> None:
    class Broken:
        def context(self) -> SSL.Context:
            raise ValueError("no context")

    served = world.serve_tls(tls=Broken())
    peer = world.client(served.address)
    peer.send(b"\x16\x03\x01")
    await world.until(lambda: served.built and served.built[0].ended)
    assert served.built[0].events == ["made", "lost"]
    assert len(logged_errors()) == 1


# Handshakes that fail.


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: www\r\n\r\n", "a plain HTTP request"),
        (b"CONNECT www:443 HTTP/1.1\r\nHost: www\r\n\r\n", "a plain HTTP request"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not TLS"),
        (bytes(range(7, 256)), "not TLS"),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", "unexpected message"),
    ],
    ids=["HTTP", "HTTP proxy", "SSH", "garbage", "no hello"],
)
async def test_what_is_not_a_handshake(world: SecureWorld, sent: bytes, reason: str) -> None:
    served = world.serve_tls()
    peer = world.client(served.address)
    peer.send(sent)
    await world.until(lambda: served.built)
    assert await failed(world, served.built[0]) == reason
    await world.until(lambda: peer.ended or peer.was_reset)


async def test_nothing_in_common(world: SecureWorld) -> None:
    only_new = world.authority.server(adjust=lambda context: context.set_min_proto_version(SSL.TLS1_3_VERSION))
    served = world.serve_tls(tls=only_new)
    world.secure(served.address, world.authority.client(SSL.TLS1_2_VERSION))
    await world.until(lambda: served.built)
    assert await failed(world, served.built[0]) == "unsupported protocol version"


async def test_no_cipher_in_common_and_the_client_is_told(world: SecureWorld) -> None:
    strong = world.authority.server(adjust=lambda context: context.set_cipher_list(b"ECDHE-ECDSA-AES256-GCM-SHA384"))
    served = world.serve_tls(tls=strong)
    context = world.authority.client(SSL.TLS1_2_VERSION)
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    peer = world.secure(served.address, context)
    await world.until(lambda: served.built)
    assert await failed(world, served.built[0]) == "no shared cipher"
    await world.until(lambda: peer.truncated)
    assert "handshake failure" in str(peer.error)


async def test_a_client_that_does_not_trust_us(world: SecureWorld) -> None:
    served = world.serve_tls()
    peer = world.secure(served.address, Authority().client(SSL.TLS1_2_VERSION))
    await world.until(lambda: served.built)
    assert await failed(world, served.built[0]) == "the peer refused: unknown ca"
    assert peer.error is not None


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["at once", "in the middle"])
async def test_a_client_that_closes_before_it_is_done(world: SecureWorld, sent: bytes) -> None:
    served = world.serve_tls()
    peer = world.client(served.address)
    peer.send(sent)
    peer.close()
    await world.until(lambda: served.built)
    assert await failed(world, served.built[0]) == "the peer closed"


async def test_a_client_that_resets_before_it_is_done(world: SecureWorld) -> None:
    served = world.serve_tls()
    peer = world.client(served.address)
    peer.send(b"\x16\x03\x01\x02\x00\x01")
    await world.until(lambda: served.built)
    await world.settle()
    peer.reset()
    assert await failed(world, served.built[0]) == "the peer was gone"


@pytest.mark.parametrize("paused", [False, True])
async def test_a_handshake_has_a_deadline(world: SecureWorld, paused: bool) -> None:
    served = world.serve_tls(lambda: Recorder(made=lambda r: paused and r.transport.pauseProducing()))
    world.client(served.address).send(b"\x16")
    await world.until(lambda: served.built)
    peer = world.secure(served.address)
    await world.until(lambda: peer.established)
    world.clock.ahead = 10
    assert await failed(world, served.built[0]) == "timed out"
    assert not served.built[1].ended


# What a protocol does before the handshake is done.


async def test_what_is_written_before_the_handshake_waits_for_it(world: SecureWorld) -> None:
    recorder = Recorder(made=lambda r: r.transport.write(b"early "), shaken=lambda r: r.transport.write(b"late"))
    _, peer = await world.connected(recorder)
    await world.until(lambda: peer.received == b"early late")


async def test_much_that_is_written_before_the_handshake_congests(world: SecureWorld) -> None:
    seen: list[bool] = []

    def write(recorder: Recorder) -> None:
        recorder.transport.write(MUCH)
        seen.append(recorder.transport.congested)

    recorder, peer = await world.connected(Recorder(made=write))
    await world.until(lambda: len(peer.received) == len(MUCH))
    await world.until(lambda: not recorder.transport.congested)
    assert seen == [True]


async def test_a_paused_connection_shakes_hands_and_hears_nothing_else(world: SecureWorld) -> None:
    recorder, peer = await world.connected(Recorder(made=lambda r: r.transport.pauseProducing()))
    peer.send(b"hello")
    await world.settle()
    assert recorder.events == ["made", "shaken"]
    with recorder.hears_nothing():
        recorder.transport.resumeProducing()
    await world.until(lambda: recorder.received == b"hello")


async def test_closing_before_the_handshake_sends_what_was_written(world: SecureWorld) -> None:
    served = world.serve_tls(lambda: Recorder(made=lambda r: r.transport.write_last(b"bye")))
    peer = world.secure(served.address)
    await world.until(lambda: peer.ended and served.built[0].ended)
    assert peer.received == b"bye"
    assert served.built[0].events == ["made", "lost"]
    assert served.built[0].reason is not None
    assert served.built[0].reason.type is ConnectionDone


async def test_closing_before_the_handshake_with_nothing_to_say_is_at_once(world: SecureWorld) -> None:
    served = world.serve_tls(lambda: Recorder(made=lambda r: r.transport.loseConnection()))
    peer = world.client(served.address)
    await world.until(lambda: peer.ended and served.built[0].ended)
    assert served.built[0].events == ["made", "lost"]


async def test_half_closing_before_the_handshake(world: SecureWorld) -> None:
    def end(recorder: Recorder) -> None:
        recorder.transport.write(b"all")
        recorder.transport.loseWriteConnection()
        recorder.transport.write(b"too late")

    recorder, peer = await world.connected(Recorder(made=end))
    await world.until(lambda: peer.ended)
    assert peer.received == b"all"
    peer.send(b"thanks")
    await world.until(lambda: recorder.received == b"thanks")


async def test_aborting_before_the_handshake(world: SecureWorld) -> None:
    served = world.serve_tls(lambda: Recorder(made=lambda r: (r.transport.write(b"x"), r.transport.abortConnection())))
    peer = world.secure(served.address)
    await world.until(lambda: peer.truncated and served.built[0].ended)
    assert served.built[0].reason is not None
    assert served.built[0].reason.type is ConnectionAborted
