from __future__ import annotations

from nodebalancer.fields import Address
from nodebalancer.testing.memory import MemoryNetwork
from nodebalancer.testing.memory_ends import MemoryPeer, connected

ONE, ANOTHER = Address("10.0.0.1", 1), Address("10.0.0.2", 2)


def peers(network: MemoryNetwork) -> tuple[MemoryPeer, MemoryPeer]:
    one, another = connected(network, ONE, ANOTHER)
    return MemoryPeer(one), MemoryPeer(another)


def test_what_one_sends_the_other_reads() -> None:
    network = MemoryNetwork()
    one, another = peers(network)
    one.send(b"hello")
    assert not another.received
    network.pump()
    assert another.received == b"hello"
    assert one.address == ONE


def test_what_is_not_read_stays_with_the_sender() -> None:
    network = MemoryNetwork(pipe_bytes=10)
    one, another = peers(network)
    another.reading = False
    one.send(bytes(25))
    one.close()
    network.pump()
    assert one.unsent == 15
    assert not another.reading
    another.reading = True
    network.pump()
    assert len(another.received) == 25
    assert another.ended
    assert one.unsent == 0


def test_closing_with_unread_input_is_a_reset_that_destroys_what_was_sent() -> None:
    network = MemoryNetwork()
    one, another = peers(network)
    one.reading = another.reading = False
    another.send(b"a body that nobody reads")
    one.send(b"an answer")
    network.pump()
    one.close()
    another.reading = True
    network.pump()
    assert another.was_reset
    assert not another.received


def test_sending_to_one_that_has_closed_is_answered_with_a_reset() -> None:
    network = MemoryNetwork()
    one, another = peers(network)
    one.close()
    network.pump()
    assert another.ended
    assert not another.was_reset
    another.send(b"anybody there?")
    network.pump()
    assert another.was_reset


def test_a_reset_is_final() -> None:
    network = MemoryNetwork()
    one, another = peers(network)
    one.reset()
    one.reset()
    another.reset()
    another.send(b"too late")
    another.half_close()
    network.pump()
    assert another.was_reset
    assert not one.was_reset
    assert not one.received
