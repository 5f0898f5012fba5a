"""An HTTP exchange: what is known of it, and how it ends.

Note [Deadline]. An exchange goes through its states in microseconds, and arming costs something in each. So it is not armed
when a state is entered: the deadline never lies further ahead than the shortest of the time-outs, and the handler of
``expired`` in each state computes from the time of the last byte what is left of its own, and looks again then.

Note [Hearing]. Once its request is whole a client is paused: listening costs something, and most have their answer before
they could say anything. The first look, after a second, begins to listen to those that have not, so that a client that leaves
is noticed. What it has sent beyond its request is asked for at the end. One that waits for a 101 stays paused: what it sends is
for the tunnel.

Note [Pace]. A peer that moves a byte now and then is never idle, and could hold its connection for ever. So the looks also
count: over each minute in which we wait for the client to send its body, for it to take the response, or for the node to take
the body, ``min_rate`` bytes a second have to move. What a reader has taken is what it has acknowledged: the kernel takes
megabytes at once from us and then none for minutes. A node that sends has no such minimum: an event stream is slow
and is worth its connection, and ``timeout_server`` ends one that is silent.
"""

from __future__ import annotations

from math import inf
from typing import ClassVar, Final

from nodebalancer.accesslog.entry import KEPT_BYTES, Entry
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.fields import Address
from nodebalancer.proxy.connection import NOT_YET, ClientSide, Row
from nodebalancer.proxy.live import RATE_SECONDS, LiveConfig, http_date
from nodebalancer.transport.engine import Transport
from nodebalancer.wire.answers import answer
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.http1.body import ChunkedReader
from nodebalancer.wire.http1.head import RequestHead

LINGER_SECONDS: Final = 2.0
"""How long a client may be silent after our answer before we close; nginx's lingering_timeout is 5, HAProxy waits 1."""

LINGER_SECONDS_MAX: Final = 30.0
"""How long it may go on sending, which is read and forgotten; as nginx's lingering_time. There is no limit in bytes: the reset
that would enforce it overtakes the answer, and whoever uploads to a node that is gone would see no 503."""


FIRST_LOOK_SECONDS: Final = 1.0
"""When a client is looked at first, if it is still there; at least every time-out's grain. See Note [Hearing]."""


NOT_REFUSED: Final = ("", b"")
"""The rule by which a request was refused, and what it began with: neither."""

SENDS, READS, NODE_READS = range(3)
"""What we wait for: the client to send, the client to read, the node to read."""


class Pace:
    """What has moved while we wait for one and the same peer. See Note [Pace].

    Attributes:
        waits_for: ``SENDS``, ``READS`` or ``NODE_READS``.
        since: When its minute began, in engine time; ``start``: bytes that had moved until then.
        moved: Bytes that had moved at the last look; ``moved_at``: the look that saw the last of them.
    """

    __slots__ = ("moved", "moved_at", "since", "start", "waits_for")

    def __init__(self, waits_for: int, moved: int, now: float) -> None:
        self.waits_for = waits_for
        self.since = now
        self.start = self.moved = moved
        self.moved_at = -inf


class Exchange(ClientSide):
    """A client of an http config, its request, and the connection to a node.

    Attributes:
        answered_at: Engine time at which the head of a node's response came, or ``NOT_YET``.
        began_at: Engine time at which the client could begin with its request.
        buffer: What has come in of the head that is being read: first the request's, later the response's.
        forwarding: The rules that held when the client came.
        request: The request's head; ``request_id``: the X-Request-ID that its node sees, empty for none.
        method: The request's, for answers of ours; GET before it is read.
        to_node: What to send as soon as a node is connected: the new head, and what has come of the body.
        missing: Bytes of the request body that are yet to come, or ``CHUNKED``.
        for_tunnel: What came with the request and follows it; for the node after a 101, for nobody otherwise.
        request_body: Reads a chunked request; ``response_body``: a chunked response.
        until_close: The response's body ends with the connection.
        outcome: How it will have ended if nothing else goes wrong.
        interims: 1xx responses passed on.
        pace: That of the peer that we wait for, if a look has found one.
        refusal: The rule by which the request was refused, and what it began with.
        excess: The client has sent more than its request.
        linger_until: Engine time at which what comes after the answer is read no more.
    """

    __slots__ = (
        "answered_at",
        "began_at",
        "buffer",
        "excess",
        "for_tunnel",
        "forwarding",
        "interims",
        "linger_until",
        "method",
        "missing",
        "outcome",
        "pace",
        "refusal",
        "request",
        "request_body",
        "request_id",
        "response_body",
        "to_node",
        "until_close",
    )

    # Set when they begin to mean something.
    request: RequestHead
    request_id: bytes
    until_close: bool
    linger_until: float
    began_at: float

    STATE_NAMES: Final = (
        "READING",
        "DIALLING",
        "UPLOADING",
        "WAITING",
        "ANSWERED_EARLY",
        "RESPONDING",
        "LINGERING",
        "CLOSING",
    )
    """The states; ``http`` has the table."""

    BEGINS_WITH_HEAD: ClassVar[bool] = True

    READING: ClassVar[Row]
    DIALLING: ClassVar[Row]
    UPLOADING: ClassVar[Row]
    WAITING: ClassVar[Row]
    ANSWERED_EARLY: ClassVar[Row]
    RESPONDING: ClassVar[Row]
    LINGERING: ClassVar[Row]
    CLOSING: ClassVar[Row]

    def __init__(self, live: LiveConfig, peer: Address) -> None:
        super().__init__(live, peer)
        self.forwarding: Forwarding = live.forwarding
        self.buffer = b""
        self.method = b"GET"
        self.to_node = b""
        self.missing = 0
        self.for_tunnel = b""
        self.request_body: ChunkedReader | None = None
        self.response_body: ChunkedReader | None = None
        self.outcome = Outcome.SERVED
        self.interims = 0
        self.pace: Pace | None = None
        self.answered_at = NOT_YET
        self.refusal = NOT_REFUSED
        self.excess = False

    def begin(self) -> None:
        live = self.live
        self.began_at = self.transport.active_at
        self.deadline = live.engine.deadline(FIRST_LOOK_SECONDS, self.expired)

    def push_out(self) -> None:
        """Make way for another client; one that lingers has had its answer."""
        self.abort(self.outcome if self.state is self.LINGERING else Outcome.REFUSED)

    def entry(self, outcome: Outcome, seconds: float) -> Entry | None:
        """None for a client that has sent nothing: browsers connect ahead of need, and probes only connect."""
        if not self.bytes_in:
            return None
        facts = self.facts(outcome, seconds)
        rule, begun = self.refusal
        request = getattr(self, "request", None)
        if request is None:
            return Entry(*facts, status=self.status, rule=rule, begun=(begun or self.buffer)[:KEPT_BYTES])
        return Entry(
            *facts,
            self.answered_at - self.connected_at if self.answered_at >= 0 else None,
            self.status,
            request.method,
            request.target,
            request.http10,
            request.lines,
            b", ".join(request.forwarded_for)[:KEPT_BYTES],
            getattr(self, "request_id", b""),
            rule,
        )

    def send(self, data: bytes) -> None:
        """To the client."""
        self.bytes_out += len(data)
        self.transport.write(data)


def stop_upload(self: Exchange) -> None:
    """Move no more of the body to the node."""
    if self.up is not None:
        self.up.stop()
    if self.request_body is not None and self.node is not None:
        self.node.unregisterProducer()


def still_time(self: Exchange, seconds: float) -> bool:
    """Whether something moved in the last ``seconds``; if so, look again before that is not true any more. See Note [Deadline]."""
    left = seconds - self.idle_seconds()
    if left > 0:
        look_again(self, left)
    return left > 0


def keeps_pace(self: Exchange, waits_for: int, moved: int) -> bool:
    """Whether the peer that we wait for, and that has moved so many bytes, is as fast as it must be. See Note [Pace]."""
    now = self.live.engine.now
    pace = self.pace
    if pace is None or pace.waits_for != waits_for:
        self.pace = Pace(waits_for, moved, now)
        return True
    if moved > pace.moved:
        pace.moved = moved
        pace.moved_at = now
    seconds = now - pace.since
    wanted = self.live.wanted
    # Whoever gives somebody more time than a minute to be silent does not mean that a pause is too slow.
    if seconds < max(RATE_SECONDS, wanted.timeout_client, wanted.timeout_server):
        return True
    enough = moved - pace.start >= wanted.min_rate * seconds
    pace.since = now
    pace.start = moved
    return enough or not wanted.min_rate


def still_reads(self: Exchange, waits_for: int, side: Transport, handed: int, seconds: float) -> bool:
    """Whether a peer, which was handed so many bytes, has taken some in the last ``seconds``, and keeps pace; if so, look again."""
    if not keeps_pace(self, waits_for, handed - side.undelivered()):
        return False
    assert self.pace is not None
    left = seconds - min(self.idle_seconds(), self.live.engine.now - self.pace.moved_at)
    if left > 0:
        look_again(self, left)
    return left > 0


def client_still_reads(self: Exchange) -> bool:
    """Whether the client takes its response; if so, look again."""
    handed = self.bytes_out + (0 if self.down is None else self.down.moved)
    return still_reads(self, READS, self.transport, handed, self.live.wanted.timeout_client)


def look_again(self: Exchange, seconds: float) -> None:
    """Expire in ``seconds``, or earlier."""
    self.arm(min(seconds, self.live.shortest_timeout))


def hear_client(self: Exchange) -> None:
    """From now on a client whose request is whole may leave, and be noticed. See Note [Hearing]."""
    if self.excess or (self.request.upgrade and self.forwarding.upgrading(self.request)):
        self.transport.pauseProducing()
    elif not self.missing:
        self.transport.resumeProducing()


# LINGERING, CLOSING: all has been said.


def answer_client(self: Exchange, status: int, outcome: Outcome, proxy_error: str = "") -> None:
    """Answer in place of a node, which is left."""
    self.outcome = outcome
    self.status = status
    stop_upload(self)
    self.leave_node(reset=True)
    pages = self.live.pages
    self.send(answer(status, date=http_date(), method=self.method, proxy_error=proxy_error, pages=pages))
    linger(self)


def linger(self: Exchange) -> None:
    """Say that nothing more will come, and read on for a while what the client is still sending."""
    self.state = self.LINGERING
    self.transport.loseWriteConnection()
    self.transport.resumeProducing()
    self.linger_until = self.live.engine.now + LINGER_SECONDS_MAX
    self.arm(LINGER_SECONDS)


def close_client(self: Exchange, last: bytes = b"") -> None:
    self.state = self.CLOSING
    self.bytes_out += len(last)
    self.transport.write_last(last)


def end_lingering(self: Exchange) -> None:
    """Long enough. Closed, not reset: what the kernel still has to send to a slow reader arrives."""
    if self.live.engine.now >= self.linger_until or not still_time(self, LINGER_SECONDS):
        close_client(self)
        look_again(self, self.live.wanted.timeout_client)


def time_out_closing(self: Exchange) -> None:
    """The client does not read the end of its response."""
    if not client_still_reads(self):
        self.abort(Outcome.CLIENT_TIMED_OUT)


def see_client_off(self: Exchange, clean: bool) -> None:
    self.end(self.outcome if clean or self.outcome is not Outcome.SERVED else Outcome.CLIENT_LEFT)


def lose_client(self: Exchange, clean: bool) -> None:
    self.leave_node(reset=True)
    self.end(Outcome.CLIENT_LEFT)


def end_at_once(self: Exchange) -> None:
    self.abort(Outcome.STOPPED)
