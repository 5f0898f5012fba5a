"""That a secure world is one, and can be left."""

from __future__ import annotations

import time
from typing import Any

from nodebalancer.testing.secure_peers import Authority
from nodebalancer.testing.secure_worlds import Later, SecureWorld
from nodebalancer.transport.engine_reactor import ReactorEngine


async def test_what_it_has_forgotten_it_does_not_wait_for(reactor: Any) -> None:
    clock = Later()
    world = SecureWorld(ReactorEngine(reactor, now=clock), reactor, Authority(), clock)
    recorder, peer = await world.connected()
    recorder.transport.abortConnection()
    await world.until(lambda: recorder.ended and peer.below.was_reset)
    world._listeners[0].close()
    world.forget()
    peer.received += b"no step clears or adds to this"
    await world.turn()
    await world.close()


def test_time_can_be_put_forward() -> None:
    clock = Later()
    before = time.monotonic()
    clock.ahead = 100
    assert clock() >= before + 100
