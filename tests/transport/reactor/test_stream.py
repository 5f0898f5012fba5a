"""A connection on a stock transport, beyond the contract."""

from __future__ import annotations

from typing import Any

from nodebalancer.testing.worlds import RealWorld
from nodebalancer.transport.engine_reactor import ReactorEngine


async def test_after_the_loss_it_lets_go_of_the_stock_transport(reactor: Any) -> None:
    world = RealWorld(ReactorEngine(reactor), reactor)
    recorder, peer = await world.accepted()
    stream = recorder.transport
    stock = stream._stock
    assert "writeSomeData" in vars(stock)
    peer.reset()
    await world.until(lambda: recorder.ended)
    assert stream._stock is None
    assert "writeSomeData" not in vars(stock)
    await world.close()
