"""TLS on the epoll loop, beyond the contract: turns, resets, what never happens on a quiet network."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost

from nodebalancer.errors import HandshakeError
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.secure_peers import Authority
from nodebalancer.testing.secure_worlds import Later, SecureWorld
from nodebalancer.transport.engine_epoll import EpollEngine
from nodebalancer.transport.epoll import tls
from nodebalancer.transport.epoll.relay import EpollRelay
from nodebalancer.transport.epoll.tls import TLSTransport
from nodebalancer.transport.tls import TLSCodec

MUCH = bytes(range(256)) * 32768
"""Eight megabytes: more than the kernel's buffers hold."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def world(reactor: Any, authority: Authority) -> Iterator[SecureWorld]:
    clock = Later()
    made = SecureWorld(EpollEngine(reactor, now=clock), reactor, authority, clock)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


async def test_a_fast_sender_lets_others_have_their_turn(world: SecureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "TURN_BYTES", 1)
    recorder, peer = await world.connected()
    peer.send(MUCH[:500_000])
    peer.half_close()
    await world.until(lambda: "eof" in recorder.events)
    assert recorder.received == MUCH[:500_000]


async def test_a_paused_client_that_resets_is_heard_at_once(world: SecureWorld) -> None:
    recorder, peer = await world.connected()
    recorder.transport.pauseProducing()
    peer.below.reset()
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "shaken", "lost"]


async def test_ciphertext_is_never_spliced(world: SecureWorld) -> None:
    secure, client = await world.connected()
    plain, node = await world.dialled()
    relay = world.engine.relay(plain.transport, secure.transport, done=secure.transport.loseConnection)
    node.send(MUCH)
    node.half_close()
    await world.until(lambda: client.ended)
    assert client.received == MUCH
    assert isinstance(relay, EpollRelay)
    assert relay.spliced == 0


@pytest.mark.parametrize("end", ["loseConnection", "loseWriteConnection"])
async def test_close_notify_waits_behind_what_is_unsent(world: SecureWorld, end: str) -> None:
    recorder, peer = await world.connected()
    peer.below.reading = False
    recorder.transport.write(MUCH)
    getattr(recorder.transport, end)()
    await world.settle()
    assert not recorder.ended
    peer.below.reading = True
    await world.until(lambda: peer.ended)
    assert peer.received == MUCH


class Full:
    """A socket whose kernel takes nothing now."""

    def __init__(self, real: socket.SocketType) -> None:
        self.real = real

    def send(self, data: bytes, flags: int) -> int:
        raise BlockingIOError

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


async def test_last_words_that_the_kernel_refuses_are_encrypted_once(world: SecureWorld) -> None:
    recorder, peer = await world.connected()
    recorder.transport._connection = Full(recorder.transport._socket())
    recorder.transport.write_last(b"bye")
    await world.until(lambda: peer.ended and recorder.ended)
    assert peer.received == b"bye"


async def test_a_peer_that_takes_no_more_may_still_have_said_something(
    world: SecureWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Much is sent in pieces; after the first that fails there are no others."""

    def fail(fd: int, data: bytes) -> int:
        raise BrokenPipeError

    recorder, peer = await world.connected()
    recorder.transport.pauseProducing()
    peer.send(b"last words")
    await world.until(recorder.transport.has_unread)
    recorder.transport.resumeProducing()
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        recorder.transport.write(MUCH[:100_000])
    await world.until(lambda: recorder.ended)
    assert recorder.received == b"last words"


async def test_a_hand_that_cannot_be_shaken_back(world: SecureWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client was gone before it had our answer."""
    monkeypatch.setattr(TLSTransport, "_send_pending", lambda transport: transport._break(BrokenPipeError()))
    served = world.serve_tls()
    world.secure(served.address)
    await world.until(lambda: served.built and served.built[0].ended)
    assert served.built[0].events == ["made", "lost"]
    assert served.built[0].reason is not None
    assert isinstance(served.built[0].reason.value, HandshakeError)


async def test_what_cannot_be_encrypted_ends_the_connection(
    world: SecureWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(codec: TLSCodec, data: bytes) -> None:
        raise SSL.Error([("SSL routines", "", "internal error")])

    recorder, peer = await world.connected()
    monkeypatch.setattr(TLSCodec, "write", fail)
    with recorder.hears_nothing():
        recorder.transport.write(b"secret")
    await world.until(lambda: recorder.ended and peer.below.was_reset)
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionLost


async def test_a_closed_connection_forgets_its_deadline(world: SecureWorld) -> None:
    served = world.serve_tls(lambda: Recorder(made=lambda r: r.transport.abortConnection()))
    world.secure(served.address)
    await world.until(lambda: served.built and served.built[0].ended)
    recorder, _ = await world.connected()
    assert isinstance(world.engine, EpollEngine)
    assert len(world.engine._deadlines) == 0
    assert not recorder.ended
