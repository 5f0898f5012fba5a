"""TLS over the engines with sockets, against real OpenSSL clients: data, ends and relays."""

from __future__ import annotations

import contextlib
import gc
import hmac
import os
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.logger import LogEvent

from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.secure_worlds import SecureWorld

LoggedErrors = Callable[[], list[LogEvent]]

MUCH = bytes(range(256)) * 32768
"""Eight megabytes: more than the kernel's buffers hold for a peer that does not read."""

VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])


@pytest.fixture(params=["reactor", "epoll"])
def world(request: pytest.FixtureRequest, secure_world: Callable[[str], SecureWorld]) -> SecureWorld:
    return secure_world(request.param)


# Data.


@VERSIONS
async def test_what_was_taken_whole_leaves_nothing_unread(world: SecureWorld, version: int) -> None:
    seen: list[bool] = []

    def look(recorder: Recorder, data: bytes) -> None:
        recorder.transport.pauseProducing()
        seen.append(recorder.transport.has_unread())

    recorder, peer = await world.connected(Recorder(data=look), version)
    peer.send(b"hello")
    await world.until(lambda: seen)
    assert (seen, bytes(recorder.received)) == ([False], b"hello")


async def test_nor_does_a_body_that_was_relayed_whole(world: SecureWorld) -> None:
    seen: list[bool] = []
    secure, client = await world.connected()
    plain, node = await world.dialled()
    world.engine.relay(
        secure.transport, plain.transport, limit=5, done=lambda: seen.append(secure.transport.has_unread())
    )
    client.send(b"hello")
    await world.until(lambda: seen and node.received == b"hello")
    assert seen == [False]


@VERSIONS
async def test_fifty_megabytes_and_back_with_pauses(world: SecureWorld, version: int) -> None:
    size = 50_000_000

    def echo(recorder: Recorder, data: bytes) -> None:
        recorder.received.clear()
        recorder.transport.write(data)
        if recorder.transport.congested:
            recorder.transport.pauseProducing()
            waiting.append(recorder)

    waiting: list[Recorder] = []
    _, peer = await world.connected(Recorder(data=echo), version)
    block = MUCH[:1_000_000]
    echoed = sent = 0
    while echoed < size:
        if sent < size and sent - echoed < 4_000_000:
            peer.send(block)
            sent += len(block)
        await world.settle()
        while waiting and not waiting[0].transport.congested:
            waiting.pop().transport.resumeProducing()
        while len(peer.received) >= len(block):
            assert peer.received[: len(block)] == block
            del peer.received[: len(block)]
            echoed += len(block)


@VERSIONS
async def test_pausing_at_data_holds_the_rest(world: SecureWorld, version: int) -> None:
    """What OpenSSL has decrypted already comes without any event of the network."""
    recorder, peer = await world.connected(Recorder(data=lambda r, _: r.transport.pauseProducing()), version)
    peer.send(MUCH[:200_000])
    peer.half_close()
    while "eof" not in recorder.events:
        before = len(recorder.received)
        await world.until(lambda before=before: len(recorder.received) > before or "eof" in recorder.events)  # type: ignore[misc]
        with recorder.hears_nothing():
            await world.settle()
            recorder.transport.resumeProducing()
    assert recorder.received == MUCH[:200_000]


async def test_a_paused_connection_slows_its_peer_down(world: SecureWorld) -> None:
    recorder, peer = await world.connected()
    recorder.transport.pauseProducing()
    peer.send(MUCH + MUCH)
    await world.settle()
    assert peer.below.unsent
    assert not recorder.received
    recorder.transport.resumeProducing()
    await world.until(lambda: len(recorder.received) == 2 * len(MUCH))


async def test_a_slow_reader_is_seen_as_one(world: SecureWorld) -> None:
    recorder, peer = await world.connected()
    peer.below.reading = False
    written = 0
    while not recorder.transport.congested:
        recorder.transport.write(MUCH[:32768])
        written += 32768
        await world.settle()
        assert written < len(MUCH)
    peer.below.reading = True
    await world.until(lambda: len(peer.received) == written)
    await world.until(lambda: not recorder.transport.congested)


# The ends.


@VERSIONS
@pytest.mark.parametrize("last", [b"", b"last", MUCH])
async def test_the_last_words_come_with_a_close_notify(world: SecureWorld, version: int, last: bytes) -> None:
    recorder, peer = await world.connected(version=version)
    recorder.transport.write(b"first ")
    with recorder.hears_nothing():
        recorder.transport.write_last(last)
        recorder.transport.write(b"too late")
        recorder.transport.loseConnection()
    await world.until(lambda: peer.ended and recorder.ended)
    assert peer.received == b"first " + last
    assert recorder.events == ["made", "shaken", "lost"]
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionDone


@VERSIONS
async def test_an_abort_is_a_truncation_and_a_reset(world: SecureWorld, version: int) -> None:
    recorder, peer = await world.connected(version=version)
    recorder.transport.write(b"half of")
    await world.until(lambda: peer.received == b"half of")
    recorder.transport.abortConnection()
    await world.until(lambda: recorder.ended and peer.below.was_reset)
    assert peer.truncated
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionAborted


@VERSIONS
async def test_half_closing_leaves_the_other_direction_open(world: SecureWorld, version: int) -> None:
    recorder, peer = await world.connected(version=version)
    recorder.transport.write(MUCH)
    recorder.transport.loseWriteConnection()
    recorder.transport.write(b"too late")
    await world.until(lambda: peer.ended)
    assert peer.received == MUCH
    peer.send(b"thanks")
    await world.until(lambda: recorder.received == b"thanks")
    recorder.transport.loseConnection()
    await world.until(lambda: recorder.ended)


@VERSIONS
@pytest.mark.parametrize("how", ["close_notify", "end of file", "both"])
async def test_the_end_of_file_with_and_without_close_notify(world: SecureWorld, version: int, how: str) -> None:
    recorder, peer = await world.connected(version=version)
    peer.send(b"all I have")
    if how != "end of file":
        peer.half_close()
    if how != "close_notify":
        peer.below.half_close()
    await world.until(lambda: "eof" in recorder.events)
    await world.settle()
    recorder.transport.write(b"so be it")
    await world.until(lambda: peer.received == b"so be it")
    assert recorder.events == ["made", "shaken", "data", "eof"]
    recorder.transport.loseConnection()
    await world.until(lambda: recorder.ended and peer.ended)


@VERSIONS
async def test_what_was_garbled_on_the_way_is_a_loss(world: SecureWorld, version: int) -> None:
    recorder, peer = await world.connected(version=version)
    peer.below.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "shaken", "lost"]
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionLost
    await world.until(lambda: peer.truncated)


async def test_a_peer_that_resets_is_a_loss(world: SecureWorld) -> None:
    recorder, peer = await world.connected()
    peer.below.reset()
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "shaken", "lost"]
    assert recorder.reason is not None
    assert recorder.reason.type is not ConnectionDone


async def test_a_client_may_not_renegotiate(world: SecureWorld) -> None:
    recorder, peer = await world.connected(version=SSL.TLS1_2_VERSION)
    peer.tls.renegotiate()
    with contextlib.suppress(SSL.WantReadError):
        peer.tls.do_handshake()
    await world.until(lambda: peer.error is not None)
    assert "no renegotiation" in str(peer.error)
    peer.below.close()
    await world.until(lambda: recorder.ended or "eof" in recorder.events)


def hellos(tls: SSL.Connection, numbers: range) -> bytes:
    """Records of TLS 1.2 that begin another handshake, with AES-128-GCM and SHA-256 (RFC 5246, 5 and 6.3; RFC 5288, 3).

    OpenSSL's own client would begin one and wait.
    """
    secret = tls.master_key()
    assert secret is not None
    seed = link = b"key expansion" + (tls.server_random() or b"") + (tls.client_random() or b"")
    block = b""
    while len(block) < 36:
        link = hmac.digest(secret, link, "sha256")
        block += hmac.digest(secret, link + seed, "sha256")
    cipher, salt = AESGCM(block[:16]), block[32:36]
    hello, records = b"\x01\0\0\0", bytearray()
    for number in numbers:
        nonce = number.to_bytes(8, "big")
        records += b"\x16\x03\x03\x00\x1c" + nonce
        records += cipher.encrypt(salt + nonce, hello, nonce + b"\x16\x03\x03\x00\x04")
    return bytes(records)


async def test_refusals_to_renegotiate_do_not_pile_up(world: SecureWorld) -> None:
    """For a client that asks for ever and reads none of them."""
    protocol = Recorder()
    context = world.authority.client(SSL.TLS1_2_VERSION)
    context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    peer = world.secure(world.serve_tls(lambda: protocol).address, context)
    await world.until(lambda: peer.established and "shaken" in protocol.events)
    peer.below.reading = False
    for first in range(1, 400_000, 20_000):  # Finished was 0; the kernel's buffers come to some 4 MB
        if not protocol.ended:
            peer.below.send(hellos(peer.tls, range(first, first + 20_000)))
            await world.until(lambda: not peer.below.unsent or protocol.ended)
    await world.until(lambda: protocol.ended)
    peer.below.reading = True  # or it may not hear of it, if all was sent before
    await world.until(lambda: peer.below.was_reset)
    assert protocol.events == ["made", "shaken", "lost"]
    assert protocol.reason is not None
    assert protocol.reason.type is ConnectionLost


@pytest.mark.parametrize("event", ["made", "shaken", "data", "eof"])
async def test_a_protocol_that_raises_loses_its_own_connection_only(
    world: SecureWorld, event: str, logged_errors: LoggedErrors
) -> None:
    def fault(*_: object) -> None:
        raise ValueError("a fault of the protocol")

    builds = iter([Recorder(**{event: fault}), Recorder()])
    served = world.serve_tls(lambda: next(builds))
    peer = world.secure(served.address)
    peer.send(b"hello")
    await world.until(lambda: served.built and (peer.established or served.built[0].ended))
    if not served.built[0].ended:
        peer.half_close()
    await world.until(lambda: peer.truncated and served.built[0].ended)
    assert len(logged_errors()) == 1
    other = world.secure(served.address)
    other.send(b"hello")
    await world.until(lambda: other.established and served.built[1].received == b"hello")


@pytest.mark.parametrize("method", ["loseConnection", "abortConnection"])
@pytest.mark.parametrize("event", ["shaken", "data", "eof"])
async def test_a_protocol_may_close_from_whatever_it_hears(world: SecureWorld, event: str, method: str) -> None:
    served = world.serve_tls(lambda: Recorder(**{event: lambda r, *_: getattr(r.transport, method)()}))
    peer = world.secure(served.address)
    peer.send(b"hello")
    if event == "eof":
        await world.until(lambda: peer.established)
        peer.below.half_close()
    await world.until(lambda: served.built and served.built[0].ended)
    assert served.built[0].events[-2:] == [event, "lost"]


# Relays.


@pytest.mark.parametrize("limit", [None, 700_000])
@pytest.mark.parametrize("direction", ["to plain", "from plain"])
async def test_a_relay_between_tls_and_plain(world: SecureWorld, direction: str, limit: int | None) -> None:
    done: list[bool] = []
    secure, client = await world.connected(Recorder(made=lambda r: r.transport.pauseProducing()))
    plain, node = await world.dialled(Recorder(made=lambda r: r.transport.pauseProducing()))
    source, sink = (secure, plain) if direction == "to plain" else (plain, secure)
    relay = world.engine.relay(source.transport, sink.transport, limit=limit, done=lambda: done.append(True))
    if direction == "to plain":
        client.send(MUCH)
        client.half_close()
    else:
        node.send(MUCH)
        node.half_close()
    await world.until(lambda: done)
    wanted = MUCH[:limit]
    reader: Any = node if direction == "to plain" else client
    await world.until(lambda: len(reader.received) == len(wanted))
    assert reader.received == wanted
    assert (relay.moved, relay.ended) == (len(wanted), limit is None)
    if limit is not None:
        await world.until(lambda: "eof" in source.events)
        assert source.received == MUCH[limit:]


async def test_a_relay_that_begins_before_the_handshake(world: SecureWorld) -> None:
    secure = Recorder()
    served = world.serve_tls(lambda: secure)
    below = world.client(served.address)
    await world.until(lambda: secure.transport is not None)
    plain, node = await world.dialled()
    world.engine.relay(plain.transport, secure.transport, done=secure.transport.loseConnection)
    node.send(MUCH)
    node.half_close()
    await world.settle()
    client = world.secure_over(below)
    await world.until(lambda: client.ended)
    assert client.received == MUCH


# What is left behind.


async def test_connections_leave_neither_garbage_nor_descriptors(world: SecureWorld) -> None:
    async def lives() -> None:
        served = world.serve_tls(lambda: Recorder(data=lambda r, d: r.transport.write_last(d)))
        peers = [world.secure(served.address) for _ in range(5)]
        for peer in peers[:3]:
            peer.send(b"hello")
        peers[3].below.reset()
        plain = world.client(served.address)
        plain.send(b"GET / HTTP/1.0\r\n\r\n")
        await world.until(lambda: all(p.ended for p in peers[:3]) and len(served.built) == 6)
        served.built[4].transport.abortConnection()
        await world.until(lambda: all(r.ended for r in served.built))
        served.listener.close()
        for peer in peers:
            peer.below.reset()
        plain.reset()
        await world.settle()

    def ours() -> list[object]:
        return [one for one in gc.get_objects() if type(one).__name__ in {"TLSTransport", "TLSStream", "TLSCodec"}]

    await lives()
    world.forget()
    gc.collect()
    elsewhere = ours()  # the log remembers failures of other tests, and they their frames
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()
    try:
        await lives()
        world.forget()
        assert [one for one in ours() if one not in elsewhere] == []
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()
