"""The request's way from the client to a node: what the states of ``http`` do with it."""

from __future__ import annotations

import os
from typing import Final

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.errors import DialError, MessageError
from nodebalancer.proxy.http.exchange import (
    NODE_READS,
    SENDS,
    Exchange,
    answer_client,
    hear_client,
    keeps_pace,
    linger,
    look_again,
    still_reads,
    still_time,
    stop_upload,
)
from nodebalancer.proxy.live import http_date
from nodebalancer.wire.answers import redirect
from nodebalancer.wire.cookies import COOKIE, take_cookie
from nodebalancer.wire.http1.body import LAST_CHUNK, ChunkedReader, chunk
from nodebalancer.wire.http1.head import CHUNKED, RequestHead, parse_request

AHEAD_BYTES_MAX: Final = 16384
"""What a client may send after a request for an upgrade before the 101 is there; it is kept until then."""

# READING: the request head.


def read_request(self: Exchange, data: bytes) -> None:
    self.bytes_in += len(data)
    seen = len(self.buffer)
    if seen:
        data = self.buffer + data
    try:
        request = parse_request(data, seen)
        if request is None:
            self.buffer = data
            return
        self.request = request
        self.method = request.method
        live = self.live
        del live.gate.headless[self]
        if live.gate.open >= live.gate.limit:
            live.gate.full(live.engine.now)
        if live.by_cookie and COOKIE in request.lines:
            self.cookie, request.lines = take_cookie(request.lines)
        self.buffer = b""
        if live.redirect_port:
            redirect_client(self, request)
            return
        self.request_id = request.request_id or (new_request_id() if live.request_ids else b"")
        self.to_node = self.forwarding.request(request, self.peer, self.request_id)
        if request.max_forwards == 0:
            answer_client(self, 200, Outcome.SERVED)
            return
        if request.length or len(data) > request.size:
            take_early_body(self, request, data[request.size :])
    except MessageError as e:
        refuse_request(self, e, data)
        return
    self.transport.pauseProducing()
    self.state = self.DIALLING
    if not self.dial_next():
        answer_client(self, 503, Outcome.NO_NODE, "destination_unavailable")


def new_request_id() -> bytes:
    """Nobody can guess it, and nobody else has it: 128 bits of the system's chance, in hexadecimal."""
    return os.urandom(16).hex().encode()


def redirect_client(self: Exchange, request: RequestHead) -> None:
    """Send the client to the same place over https; what comes of a body is read and forgotten.

    Raises:
        MessageError: It has named no host; the caller answers.
    """
    self.status = 308
    self.send(redirect(request, self.live.redirect_port, date=http_date()))
    linger(self)


def take_early_body(self: Exchange, request: RequestHead, body: bytes) -> None:
    """What came with the head: add the request's part to ``to_node``, and say what is ``missing``.

    Raises:
        MessageError: The beginning of a chunked body is none, or too much came ahead of a 101; the caller answers.
    """
    if request.length == CHUNKED:
        self.request_body = ChunkedReader()
        self.missing = CHUNKED
        if body:
            take_chunks(self, self.request_body, body)
        return
    if len(body) <= request.length:
        self.to_node += body
        self.missing = request.length - len(body)
        return
    self.to_node += body[: request.length]
    self.excess = True
    if request.upgrade and self.forwarding.upgrading(request):
        if len(body) > AHEAD_BYTES_MAX:
            raise MessageError(400, f"request: over {AHEAD_BYTES_MAX} bytes ahead of a 101, RFC 9110 7.8")
        self.for_tunnel = body


def take_chunks(self: Exchange, reader: ChunkedReader, data: bytes) -> None:
    """Add what ``data`` brings of a chunked request to ``to_node``, as chunks of ours.

    Raises:
        MessageError: It is no chunked body.
    """
    payload = reader.feed(data)
    if payload:
        self.to_node += chunk(payload)
    if reader.done:
        self.to_node += LAST_CHUNK
        self.missing = 0
        self.excess = bool(reader.rest)


def refuse_request(self: Exchange, error: MessageError, said: bytes) -> None:
    """Answer with the status of ``error``; ``said`` is what the request began with, for the log."""
    note_refusal(self, error, said)
    answer_client(self, error.status, Outcome.CLIENT_ERROR, "http_request_error")


def note_refusal(self: Exchange, error: MessageError, said: bytes) -> None:
    self.refusal = error.rule, said
    self.live.refusals.note(self.peer, error, said)


def give_up_request(self: Exchange) -> None:
    """End of file before the head was whole: nobody waits for an answer."""
    self.transport.loseConnection()
    self.end(Outcome.CLIENT_LEFT)


def refuse_slow_head(self: Exchange) -> None:
    """408, or for a client that has sent nothing at all (browsers connect ahead of need) a silent close."""
    live = self.live
    left = self.began_at + live.wanted.timeout_request - live.engine.now
    if left > 0:
        look_again(self, left)
    elif self.buffer:
        answer_client(self, 408, Outcome.CLIENT_TIMED_OUT, "http_request_error")
    else:
        self.transport.loseConnection()
        self.end(Outcome.CLIENT_TIMED_OUT)


# DIALLING: a node is looked for. See Note [Hearing].


def try_next_node(self: Exchange, error: DialError) -> None:
    outcome = self.give_up_node(error)
    if not self.dial_next():
        answer_client(self, 503, outcome, "destination_unavailable")


def send_request(self: Exchange) -> None:
    """The node is connected: send what there is, let the rest of the body stream."""
    node = self.node
    assert node is not None
    node.write(self.to_node)
    self.to_node = b""
    if self.missing == 0:
        self.state = self.WAITING
        return
    self.state = self.UPLOADING
    if self.missing == CHUNKED:
        node.registerProducer(self.transport, True)
        self.transport.resumeProducing()
    else:
        self.up = self.live.engine.relay(self.transport, node, limit=self.missing, done=self.client_finished)


def wait_for_dial(self: Exchange) -> None:
    """The engine has the deadline of the dial."""
    look_again(self, self.live.wanted.timeout_connect)
    hear_client(self)


# UPLOADING, ANSWERED_EARLY: the request's body is under way.


def send_chunks(self: Exchange, data: bytes) -> None:
    """More of a chunked request (one with a length comes by relay)."""
    assert self.request_body is not None
    self.bytes_in += len(data)
    try:
        take_chunks(self, self.request_body, data)
    except MessageError as e:
        refuse_body(self, e)
        return
    if self.node is not None and self.to_node:
        self.node.write(self.to_node)
        self.to_node = b""
    if self.missing == 0:
        self.state["client_finished"](self)


def refuse_body(self: Exchange, error: MessageError) -> None:
    """The request breaks off in the middle: the node must not take it for whole."""
    said = b"%b %b" % (self.method, self.request.target)
    if self.state is self.UPLOADING:
        refuse_request(self, error, said)
    else:
        note_refusal(self, error, said)
        self.abort(Outcome.CLIENT_ERROR)


def finish_upload(self: Exchange) -> None:
    if end_upload(self):
        self.state = self.WAITING
        hear_client(self)
    else:
        self.abort(Outcome.CLIENT_LEFT)


def finish_late_upload(self: Exchange) -> None:
    """The response is under way already."""
    if end_upload(self):
        self.state = self.RESPONDING
        hear_client(self)
    else:
        self.abort(Outcome.CLIENT_LEFT)


def end_upload(self: Exchange) -> bool:
    """Let go of what moved the body; whether the request is whole, or broken off by an end of file."""
    if self.up is not None:
        whole = not self.up.ended
        self.bytes_in += self.up.moved
        self.up = None
    else:
        whole = self.missing == 0
    stop_upload(self)
    if whole:
        self.missing = 0
    return whole


def time_out_upload(self: Exchange) -> None:
    """Nothing moves, or too little: the node does not read, or does not ask for the body (504), or the client does not send (408)."""
    wanted = self.live.wanted
    assert self.node is not None
    received = received_of_body(self)
    if self.node.congested:
        if not still_reads(self, NODE_READS, self.node, received, wanted.timeout_server):
            answer_client(self, 504, Outcome.TIMED_OUT, "http_response_timeout")
    elif self.request.expects_continue and not self.interims and received == self.request.size:
        # The client waits for the node's 100; that a node is slow to give one is not counted against it.
        if not still_time(self, wanted.timeout_server):
            answer_client(self, 504, Outcome.TIMED_OUT, "http_response_timeout")
    elif not (keeps_pace(self, SENDS, received) and still_time(self, wanted.timeout_client)):
        answer_client(self, 408, Outcome.CLIENT_TIMED_OUT, "http_request_error")


def received_of_body(self: Exchange) -> int:
    """Bytes that the client has sent so far, more or less of its body: to be compared with another time's."""
    return self.bytes_in + (0 if self.up is None else self.up.moved)
