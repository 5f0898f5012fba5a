"""Relays whose source or sink ends before its time, over every engine."""

from __future__ import annotations

from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.worlds import World


async def test_a_sink_that_turns_out_to_be_lost_is_heard_of_before_what_was_meant_for_it(world: World) -> None:
    """Its client has left while nobody looked, and the response's body is right behind its head."""
    pieces: list[int] = []
    pieces_before_the_loss: list[int] = []

    def pass_on(recorder: Recorder, data: bytes) -> None:
        pieces.append(len(data))
        if len(pieces) == 1:
            sink.transport.write(data)
            sink.transport.write(data)
            world.engine.relay(source.transport, sink.transport, done=lambda: None)

    source, node = await world.dialled(Recorder(data=pass_on))
    sink, client = await world.accepted(
        Recorder(
            made=lambda recorder: recorder.transport.pauseProducing(),
            lost=lambda *_: pieces_before_the_loss.extend(pieces),
        )
    )
    source.transport.pauseProducing()
    client.reset()
    node.send(bytes(1 << 18))
    await world.settle()
    source.transport.resumeProducing()
    await world.until(lambda: sink.events[-1] == "lost" and pieces)
    assert len(pieces_before_the_loss) <= 1


async def test_a_half_closed_sink_ends_its_relay(world: World) -> None:
    """What comes is for the source's protocol again, as when the sink is closed."""
    source, client = await world.accepted()
    sink, _ = await world.dialled()
    done: list[int] = []
    relay = world.engine.relay(source.transport, sink.transport, done=lambda: done.append(1))
    client.send(b"hello")
    await world.until(lambda: relay.moved == 5)
    sink.transport.loseWriteConnection()
    client.send(b"world")
    await world.until(lambda: source.received == b"world")
    assert (relay.moved, done) == (5, [])


async def test_a_reset_is_no_end_of_file_for_a_relay(world: World) -> None:
    """Half an answer must not look whole, also when a write was the first to hear of the reset."""
    source, node = await world.dialled()
    sink, _ = await world.accepted()
    done: list[int] = []
    world.engine.relay(source.transport, sink.transport, done=lambda: done.append(1))
    await world.settle()
    node.send(b"half of an answer")
    node.reset()
    source.transport.write(b"more of the upload")
    await world.until(lambda: "lost" in source.events)
    assert done == []
