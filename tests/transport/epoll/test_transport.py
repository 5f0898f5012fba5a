"""Connections on the epoll loop, beyond the contract: resets, last words, urgent data."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.engine_epoll import EpollEngine

MUCH = bytes(range(256)) * 16384
"""Four megabytes: more than the kernel's buffers hold."""


@pytest.fixture
def world(reactor: Any) -> Iterator[RealWorld]:
    made = RealWorld(EpollEngine(reactor), reactor)
    yield made
    pytest_twisted.blockon(Deferred.fromCoroutine(made.close()))


async def test_a_paused_client_that_resets_is_heard_at_once(world: RealWorld) -> None:
    """A node that is being dialled for it need not be."""
    recorder, peer = await world.accepted()
    recorder.transport.pauseProducing()
    peer.reset()
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "lost"]


async def test_what_came_before_a_reset_is_delivered_first(world: RealWorld) -> None:
    """A whole answer is worth having, although its sender did not end well."""
    recorder, peer = await world.dialled()
    recorder.transport.pauseProducing()
    peer.send(MUCH[:1000])
    await world.settle()
    peer.reset()
    await world.settle()
    assert not recorder.ended
    recorder.transport.resumeProducing()
    await world.until(lambda: recorder.ended)
    assert recorder.received == MUCH[:1000]
    assert recorder.events == ["made", "data", "lost"]


async def test_after_the_end_of_file_a_reset_is_heard_at_once(world: RealWorld) -> None:
    recorder, peer = await world.accepted()
    peer.half_close()
    await world.until(lambda: "eof" in recorder.events)
    peer.reset()
    await world.until(lambda: recorder.ended)


async def test_an_answer_that_comes_with_a_refusal_to_read_is_heard(world: RealWorld) -> None:
    """A node may answer 413 and close, and what we send meanwhile resets the connection."""
    recorder, peer = await world.dialled(Recorder(data=lambda r, _: r.transport.pauseProducing()))
    peer.send(b"no")
    await world.until(lambda: recorder.received == b"no")
    peer.send(b" thanks")
    peer.close()
    await world.settle()
    recorder.transport.write(b"x")  # is answered by a reset
    await world.settle()
    recorder.transport.resumeProducing()
    recorder.transport.write(b"x")  # fails
    await world.until(lambda: recorder.ended)
    assert recorder.received == b"no thanks"


async def test_nothing_is_heard_after_closing_a_broken_connection(world: RealWorld) -> None:
    def close(recorder: Recorder, _: bytes) -> None:
        recorder.transport.loseConnection()

    recorder, peer = await world.dialled(Recorder(data=close))
    recorder.transport.pauseProducing()
    peer.send(MUCH[:200_000])
    await world.settle()
    peer.reset()
    await world.settle()
    recorder.transport.resumeProducing()
    recorder.transport.write(b"x")
    await world.until(lambda: recorder.ended)
    assert 0 < len(recorder.received) <= 65536


async def test_bytes_behind_an_urgent_one_are_delivered(world: RealWorld) -> None:
    """Telnet sends them; a read stops there although there is more."""
    served = world.serve()
    with socket.create_connection(served.address) as client:
        await world.until(lambda: served.built)
        served.built[0].transport.pauseProducing()
        for data, flags in ((b"before", 0), (b"!", socket.MSG_OOB), (b"behind", 0)):
            client.send(data, flags)
        await world.settle()
        served.built[0].transport.resumeProducing()
        await world.until(lambda: served.built[0].received == b"beforebehind")


async def test_a_protocol_without_half_close_is_closed_at_the_end_of_file(world: RealWorld) -> None:
    class Plain:
        lost = False

        def makeConnection(self, transport: Any) -> None:
            """Nothing to do."""

        def connectionLost(self, reason: Any) -> None:
            self.lost = True

    class Plains:
        def buildProtocol(self, addr: Any) -> Plain:
            return plain

    plain = Plain()

    listener = world.engine.listen(Address("127.0.0.1", 0), Plains())
    world.client(listener.address).half_close()
    await world.until(lambda: plain.lost)
    listener.close()


async def test_after_the_loss_our_end_has_no_name(world: RealWorld) -> None:
    recorder, peer = await world.accepted()
    transport = recorder.transport
    assert transport.getHost().port != 0
    peer.reset()
    await world.until(lambda: recorder.ended)
    assert transport.getHost() == Address("0.0.0.0", 0)
    transport.registerProducer(object(), True)
