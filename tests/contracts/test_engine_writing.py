"""What becomes of what a protocol writes, and of how it closes, over every engine."""

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone

from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import World

MUCH = bytes(range(256)) * 32768
"""Eight megabytes: more than the kernel's buffers hold for a peer that does not read."""


class Producer:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def pauseProducing(self) -> None:
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        self.calls.append("resume")

    def stopProducing(self) -> None:
        self.calls.append("stop")


async def test_what_is_written_is_sent_in_order(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.write(b"one ")
    recorder.transport.write(b"")
    recorder.transport.writeSequence([b"two ", b"three"])
    recorder.transport.writeSequence([])
    await world.until(lambda: peer.received == b"one two three")


async def test_much_is_sent_whole_to_a_slow_reader(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(MUCH[:-1])
    recorder.transport.write(MUCH[-1:])
    await world.settle()
    peer.reading = True
    await world.until(lambda: len(peer.received) == len(MUCH))
    assert peer.received == MUCH


async def test_what_the_peer_has_not_taken_is_undelivered(world: World, side: str) -> None:
    """Also what the kernel has taken from us, wherever there is a kernel."""
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(MUCH)
    await world.settle()
    assert len(MUCH) // 2 < recorder.transport.undelivered() <= len(MUCH)
    peer.reading = True
    await world.until(lambda: len(peer.received) == len(MUCH))
    await world.until(lambda: recorder.transport.undelivered() == 0)


async def test_closing_sends_what_was_written_and_ignores_what_comes_after(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(MUCH)
    with recorder.hears_nothing():
        recorder.transport.loseConnection()
        recorder.transport.loseConnection()
        recorder.transport.write(b"too late")
        recorder.transport.loseWriteConnection()
        await world.settle()
    peer.reading = True
    await world.until(lambda: peer.ended and recorder.ended)
    assert peer.received == MUCH
    assert recorder.events == ["made", "lost"]
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionDone


@pytest.mark.parametrize("before", [b"", b"first ", MUCH])
@pytest.mark.parametrize("last", [b"", b"last", MUCH])
async def test_the_last_words_and_the_end_of_file(world: World, side: str, before: bytes, last: bytes) -> None:
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(before)
    with recorder.hears_nothing():
        recorder.transport.write_last(last)
        recorder.transport.write_last(b"too late")
    peer.reading = True
    await world.until(lambda: peer.ended and recorder.ended)
    assert peer.received == before + last
    assert recorder.events == ["made", "lost"]
    assert recorder.reason is not None
    assert recorder.reason.type is ConnectionDone


async def test_nothing_is_read_once_a_protocol_closes(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(MUCH)
    recorder.transport.loseConnection()
    peer.send(b"anybody there?")
    peer.half_close()
    await world.settle()
    assert recorder.events == ["made"]


async def test_a_closing_connection_can_still_be_aborted(world: World, side: str) -> None:
    """A peer that never reads the rest does not hold its connection for ever."""
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(MUCH)
    recorder.transport.loseConnection()
    await world.settle()
    assert not recorder.ended
    recorder.transport.abortConnection()
    await world.until(lambda: recorder.ended)
    peer.reading = True
    await world.until(lambda: peer.was_reset)
    assert len(peer.received) < len(MUCH)


async def test_stop_producing_closes(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.write(b"bye")
    recorder.transport.stopProducing()
    await world.until(lambda: peer.ended and recorder.ended)
    assert peer.received == b"bye"


async def test_half_closing_sends_everything_and_leaves_the_other_direction_open(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(MUCH)
    with recorder.hears_nothing():
        recorder.transport.loseWriteConnection()
        recorder.transport.write(b"too late")
        recorder.transport.loseWriteConnection()
    peer.reading = True
    await world.until(lambda: peer.ended)
    assert peer.received == MUCH
    peer.send(b"thanks")
    await world.until(lambda: recorder.received == b"thanks")
    assert not recorder.ended


async def test_closing_after_a_half_close_still_sends_everything(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(MUCH)
    recorder.transport.loseWriteConnection()
    recorder.transport.loseConnection()
    await world.settle()
    peer.reading = True
    await world.until(lambda: peer.ended and recorder.ended)
    assert peer.received == MUCH
    assert recorder.events == ["made", "lost"]


async def test_aborting_is_a_reset_to_the_peer(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    with recorder.hears_nothing():
        recorder.transport.abortConnection()
        recorder.transport.abortConnection()
    await world.until(lambda: recorder.ended and peer.was_reset)
    assert recorder.events == ["made", "lost"]
    assert not peer.ended


async def test_aborting_forgets_what_is_unsent(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.reading = False
    recorder.transport.write(MUCH)
    recorder.transport.abortConnection()
    await world.until(lambda: recorder.ended)
    peer.reading = True
    await world.until(lambda: peer.was_reset)
    assert len(peer.received) < len(MUCH)


async def test_nothing_comes_between_an_abort_and_the_loss(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.send(b"there already")
    recorder.transport.abortConnection()
    await world.until(lambda: recorder.ended)
    assert recorder.events == ["made", "lost"]


@pytest.mark.parametrize("method", ["loseConnection", "abortConnection"])
async def test_a_protocol_may_close_from_whatever_it_hears(world: World, side: str, method: str) -> None:
    def close(recorder: Recorder, *_: object) -> None:
        getattr(recorder.transport, method)()

    at_once, _ = await world.connection(side, Recorder(made=close))
    await world.until(lambda: at_once.ended)
    at_data, peer = await world.connection(side, Recorder(data=close))
    peer.send(b"hello")
    await world.until(lambda: at_data.ended)
    at_eof, peer = await world.connection(side, Recorder(eof=close))
    peer.half_close()
    await world.until(lambda: at_eof.ended)
    assert at_once.events == ["made", "lost"]
    assert at_data.events == ["made", "data", "lost"]
    assert at_eof.events == ["made", "eof", "lost"]


async def test_congested_from_a_full_buffer_until_all_is_sent(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    transport = recorder.transport
    transport.write(b"a little")
    await world.until(lambda: peer.received)
    assert not transport.congested
    peer.reading = False
    transport.write(MUCH)
    await world.settle()
    assert transport.congested
    peer.reading = True
    await world.until(lambda: not transport.congested)
    await world.until(lambda: len(peer.received) == len(MUCH) + len(b"a little"))


async def test_a_producer_is_paused_while_its_consumer_is_congested(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    producer = Producer()
    recorder.transport.registerProducer(producer, True)
    recorder.transport.write(b"a little")
    await world.until(lambda: peer.received)
    assert producer.calls == []
    peer.reading = False
    recorder.transport.write(MUCH)
    await world.settle()
    assert producer.calls == ["pause"]
    peer.reading = True
    await world.until(lambda: len(producer.calls) > 1)
    assert producer.calls == ["pause", "resume"]


async def test_there_is_one_producer_at_a_time(world: World, side: str) -> None:
    recorder, _ = await world.connection(side)
    transport = recorder.transport
    transport.unregisterProducer()
    transport.registerProducer(Producer(), True)
    with pytest.raises(RuntimeError):
        transport.registerProducer(Producer(), True)
    transport.unregisterProducer()
    transport.registerProducer(Producer(), True)


async def test_an_unregistered_producer_is_left_alone(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    producer = Producer()
    recorder.transport.registerProducer(producer, True)
    recorder.transport.unregisterProducer()
    peer.reading = False
    recorder.transport.write(MUCH)
    await world.settle()
    peer.reading = True
    await world.until(lambda: len(peer.received) == len(MUCH))
    assert producer.calls == []


async def test_a_producer_does_not_hold_back_a_close(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    recorder.transport.registerProducer(Producer(), True)
    peer.reading = False
    recorder.transport.write(MUCH)
    recorder.transport.loseConnection()
    await world.settle()
    peer.reading = True
    await world.until(lambda: peer.ended and recorder.ended)
    assert len(peer.received) == len(MUCH)


async def test_a_reset_that_a_write_hears_of_first_is_no_end_of_file(world: World, side: str) -> None:
    recorder, peer = await world.connection(side)
    peer.send(b"half of what was to come")
    peer.reset()
    recorder.transport.write(b"in the same turn")
    await world.until(lambda: "lost" in recorder.events)
    assert "eof" not in recorder.events
