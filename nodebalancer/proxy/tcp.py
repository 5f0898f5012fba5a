"""A TCP connection: bytes both ways (R6).

Rules:

* Nothing is read from the client before a node is connected.
* An end of file on one side becomes a half-close of the other; what was sent before it arrives first.
* Both ended: both are closed. A reset on one side is a reset on the other, so that half an answer never looks whole.
* No node: the client is closed at once (R17).
* Nobody sends for ``timeout_tunnel`` (``timeout_half_closed`` after one side has finished): both are reset.
"""

from __future__ import annotations

from typing import Final

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.errors import DialError
from nodebalancer.proxy.connection import ClientSide, Row, row


class TCPClient(ClientSide):
    """A client of a tcp config, and its connection to a node."""

    __slots__ = ()

    def begin(self) -> None:
        self.transport.pauseProducing()
        if not self.dial_next():
            refuse(self, Outcome.NO_NODE)


def refuse(self: ClientSide, outcome: Outcome) -> None:
    """Nobody can serve this client."""
    self.transport.loseConnection()
    self.end(outcome)


def try_next_node(self: ClientSide, error: DialError) -> None:
    outcome = self.give_up_node(error)
    if not self.dial_next():
        refuse(self, outcome)


def relay_both_ways(self: ClientSide) -> None:
    """The node is connected: from here on the engine moves the bytes."""
    assert self.node is not None
    engine = self.live.engine
    self.praise_node()
    self.state = RELAYING
    self.up = engine.relay(self.transport, self.node, done=self.client_finished)
    self.down = engine.relay(self.node, self.transport, done=self.node_finished)
    self.arm(self.live.wanted.timeout_tunnel)


def half_close_node(self: ClientSide) -> None:
    assert self.node is not None
    self.state = CLIENT_FINISHED
    self.node.loseWriteConnection()
    self.arm(self.live.wanted.timeout_half_closed)


def half_close_client(self: ClientSide) -> None:
    self.state = NODE_FINISHED
    self.transport.loseWriteConnection()
    self.arm(self.live.wanted.timeout_half_closed)


def close_both(self: ClientSide) -> None:
    """Both have finished; what is still unsent is sent, then the client's loss ends it."""
    assert self.node is not None
    self.state = FINISHED
    self.node.loseConnection()
    self.transport.loseConnection()
    self.arm(self.live.wanted.timeout_half_closed)


def lose_client(self: ClientSide, clean: bool) -> None:
    self.leave_node(reset=True)
    self.end(Outcome.CLIENT_LEFT)


def lose_node(self: ClientSide, clean: bool) -> None:
    self.transport.abortConnection()
    self.end(Outcome.CUT_SHORT)


def see_client_off(self: ClientSide, clean: bool) -> None:
    """All was said, and sent if the close was clean."""
    self.leave_node(reset=True)
    self.end(Outcome.SERVED if clean else Outcome.CLIENT_LEFT)


def wait_for_client(self: ClientSide, clean: bool) -> None:
    """The node is gone after it has finished; the client still gets what is unsent."""


def close_if_idle(self: ClientSide) -> None:
    _close_if_idle(self, self.live.wanted.timeout_tunnel)


def close_if_half_idle(self: ClientSide) -> None:
    _close_if_idle(self, self.live.wanted.timeout_half_closed)


def _close_if_idle(self: ClientSide, seconds: float) -> None:
    left = seconds - self.idle_seconds()
    if left > 0:
        self.arm(left)
    else:
        self.abort(Outcome.IDLE)


def end_at_once(self: ClientSide) -> None:
    self.abort(Outcome.STOPPED)


def introduce_client(self: ClientSide) -> None:
    """The node is connected, and first of all hears who the client is, if it is to."""
    assert self.node is not None
    header = self.live.proxy_header
    if header is not None:
        self.node.write(header(self.transport.getPeer(), self.transport.getHost()))
    relay_both_ways(self)


DIALLING: Final[Row] = row(
    node_connected=introduce_client,
    node_unreachable=try_next_node,
    client_lost=lose_client,
    stopped=end_at_once,
)
"""A node is being dialled; the client is paused."""

RELAYING: Final[Row] = row(
    client_finished=half_close_node,
    node_finished=half_close_client,
    client_lost=lose_client,
    node_lost=lose_node,
    expired=close_if_idle,
    stopped=end_at_once,
)
"""Both directions are open."""

CLIENT_FINISHED: Final[Row] = row(
    node_finished=close_both,
    client_lost=lose_client,
    node_lost=lose_node,
    expired=close_if_half_idle,
    stopped=end_at_once,
)
"""The client sends no more; the node still answers."""

NODE_FINISHED: Final[Row] = row(
    client_finished=close_both,
    client_lost=lose_client,
    node_lost=lose_node,
    expired=close_if_half_idle,
    stopped=end_at_once,
)
"""The node sends no more; the client still does."""

FINISHED: Final[Row] = row(
    client_lost=see_client_off,
    node_lost=wait_for_client,
    expired=close_if_half_idle,
    stopped=end_at_once,
)
"""Both sent their end of file and are being closed."""

TCPClient.FIRST = DIALLING

STATES: Final = {
    "dialling": DIALLING,
    "relaying": RELAYING,
    "client_finished": CLIENT_FINISHED,
    "node_finished": NODE_FINISHED,
    "finished": FINISHED,
}
