"""What the contract tests cannot see from outside; they hold the rest (``tests/contracts``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodebalancer.fields import Address
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.testing.memory_ends import MemoryPeer
from nodebalancer.testing.recorder import Recorder, Recorders
from nodebalancer.transport.engine import BUFFER_BYTES
from nodebalancer.transport.stream import Stream

WWW, NODE = Address("203.0.113.1", 80), Address("10.0.0.1", 80)

PIPE_BYTES = 1000


class Sides:
    """A client's connection and a node's, with little room on the way."""

    def __init__(self) -> None:
        self.network = MemoryNetwork(pipe_bytes=PIPE_BYTES)
        self.engine = MemoryEngine(self.network)
        factory, self.sink = Recorders(), Recorder()
        self.engine.listen(WWW, factory)
        nodes = self.network.node(NODE)
        self.client: MemoryPeer = self.network.client(WWW)
        self.engine.connect(NODE, self.sink, timeout=1)
        self.network.pump()
        (self.node,), (self.source,) = nodes, factory.built


@pytest.fixture
def sides() -> Sides:
    return Sides()


def test_at_most_one_buffer_waits_between_source_and_sink(sides: Sides) -> None:
    sides.node.reading = False
    relay = sides.engine.relay(sides.source.transport, sides.sink.transport, done=lambda: None)
    sides.client.send(bytes(3 * BUFFER_BYTES))
    sides.network.pump()
    assert 0 < relay.moved - PIPE_BYTES <= BUFFER_BYTES


def test_a_relay_counts_any_unsent_byte_as_congestion(sides: Sides) -> None:
    sides.node.reading = False
    sides.engine.relay(sides.source.transport, sides.sink.transport, done=lambda: None)
    sides.client.send(bytes(PIPE_BYTES))
    sides.network.pump()
    assert not sides.sink.transport.congested
    sides.client.send(b"1")
    sides.network.pump()
    assert sides.sink.transport.congested


def test_what_the_sink_had_unsent_before_counts_too(sides: Sides) -> None:
    sides.node.reading = False
    sides.sink.transport.write(bytes(PIPE_BYTES + 1))
    relay = sides.engine.relay(sides.source.transport, sides.sink.transport, done=lambda: None)
    sides.client.send(b"more")
    sides.network.pump()
    assert sides.sink.transport.congested
    assert relay.moved == 0


def test_a_producer_that_comes_to_a_congested_consumer_is_paused(sides: Sides) -> None:
    sides.node.reading = False
    sides.sink.transport.write(bytes(2 * BUFFER_BYTES))
    sides.sink.transport.registerProducer(sides.source.transport, True)
    sides.client.send(b"hello")
    sides.network.pump()
    assert not sides.source.received
    sides.node.reading = True
    sides.network.pump()
    assert sides.source.received == b"hello"


@pytest.mark.parametrize("when", ["before the loss", "after the loss"])
def test_a_producer_outlives_its_consumer(sides: Sides, when: str) -> None:
    """A node that is lost does not take its client along: the client is owed an answer."""
    transport = sides.sink.transport
    if when == "before the loss":
        transport.registerProducer(sides.source.transport, True)
    sides.node.reset()
    sides.network.pump()
    if when == "after the loss":
        transport.registerProducer(sides.source.transport, True)
    sides.client.send(b"still here")
    sides.network.pump()
    assert sides.source.received == b"still here"


def test_one_relay_a_source_and_one_a_sink(sides: Sides) -> None:
    sides.engine.relay(sides.source.transport, sides.sink.transport, done=lambda: None)
    with pytest.raises(AssertionError):
        sides.engine.relay(sides.source.transport, sides.sink.transport, done=lambda: None)


def test_the_lower_half_is_somebody_elses(sides: Sides) -> None:
    bare = Stream(sides.network, Recorder(), WWW, NODE)
    acts: list[Callable[[], None]] = [
        lambda: bare.write(b"x"),
        bare.loseWriteConnection,
        bare.pauseProducing,
        bare.loseConnection,
        bare.abortConnection,
    ]
    for act in acts:
        with pytest.raises(NotImplementedError):
            act()
    bare.connectionMade()
    bare.writeConnectionLost()
