"""A connection on one of Twisted's own transports."""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from nodebalancer.transport.sockets import has_input, undelivered
from nodebalancer.transport.stream import Stream


class ReactorStream(Stream):
    """A connection on a stock transport."""

    _stock: Any = None

    def makeConnection(self, transport: Any) -> None:
        """The stock transport is connected."""
        self._stock = transport
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        self._count_what_is_sent()
        super().makeConnection(self)

    def connectionLost(self, reason: Failure) -> None:
        """The stock transport is gone; nothing refers to it any more."""
        stock, self._stock = self._stock, None
        vars(stock).pop("writeSomeData", None)
        super().connectionLost(reason)

    def _count_what_is_sent(self) -> None:
        send = self._stock.writeSomeData

        def send_and_count(data: bytes) -> int | BaseException:
            result: int | BaseException = send(data)
            if isinstance(result, int) and result > 0:
                self._sent(result)
            return result

        self._stock.writeSomeData = send_and_count

    def _lower_write(self, data: bytes) -> None:
        self._stock.write(data)

    def _lower_read(self, wanted: bool) -> None:
        if wanted:
            self._stock.resumeProducing()
        else:
            self._stock.pauseProducing()

    def _lower_has_input(self) -> bool:
        return has_input(self._stock.fileno())

    def _lower_undelivered(self) -> int:
        return undelivered(self._stock.fileno())

    def _lower_end(self) -> None:
        self._stock.loseWriteConnection()

    def _lower_close(self) -> None:
        if self._write_shut:
            # After a half-close the stock transport would call connectionLost before it returns.
            self._stock.pauseProducing()
            self._engine.later(self._stock.loseConnection)
        else:
            self._stock.loseConnection()

    def _lower_reset(self) -> None:
        self._stock.abortConnection()
