"""TLS on a stock transport, beyond the contract."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionLost

from nodebalancer.testing.secure_peers import Authority
from nodebalancer.testing.secure_worlds import Later, SecureWorld
from nodebalancer.transport.engine_reactor import ReactorEngine
from nodebalancer.transport.tls import TLSCodec


async def test_what_cannot_be_encrypted_ends_the_connection(reactor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(codec: TLSCodec, data: bytes) -> None:
        raise SSL.Error([("SSL routines", "", "internal error")])

    clock = Later()
    world = SecureWorld(ReactorEngine(reactor, now=clock), reactor, Authority(), clock)
    recorder, peer = await world.connected()
    monkeypatch.setattr(TLSCodec, "write", fail)
    with recorder.hears_nothing():
        recorder.transport.write(b"secret")
    await world.until(lambda: recorder.ended and peer.below.was_reset)
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionLost
    await world.close()
