"""The response's way from the node to the client: what the states of ``http`` do with it."""

from __future__ import annotations

from typing import Final

from nodebalancer.balancing.counters import PER_SECOND
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.errors import MessageError
from nodebalancer.proxy import tcp
from nodebalancer.proxy.http.exchange import (
    SENDS,
    Exchange,
    answer_client,
    client_still_reads,
    close_client,
    hear_client,
    keeps_pace,
    linger,
    still_time,
    stop_upload,
)
from nodebalancer.proxy.http.request import received_of_body
from nodebalancer.proxy.live import http_date
from nodebalancer.wire.cookies import set_cookie
from nodebalancer.wire.http1.body import LAST_CHUNK, ChunkedReader, chunk
from nodebalancer.wire.http1.head import CHUNKED, UNTIL_CLOSE, ResponseHead, parse_response

INTERIMS_MAX: Final = 8
"""1xx responses before the final one; a node that sends more is broken (HTTP.md)."""

NODE_FAULTLESS: Final = (501, 505)
"""Responses of class 5xx that say something about the request, not about the node (R18)."""


# WAITING, UPLOADING: the response head.


def note_excess(self: Exchange, data: bytes) -> None:
    """More than the request: not forwarded, and not read on."""
    self.bytes_in += len(data)
    self.excess = True
    self.transport.pauseProducing()


def read_response(self: Exchange, data: bytes) -> None:
    """A response head, or interim ones before it, or a piece of one."""
    seen = len(self.buffer)
    if seen:
        data = self.buffer + data
    try:
        while (head := parse_response(data, self.request.method, seen)) is not None:
            data = data[head.size :]
            seen = 0
            if head.status == 101:
                switch(self, head, data)
                return
            if head.status >= 200:
                begin_response(self, head, data)
                return
            pass_interim(self, head)
        self.buffer = data
    except MessageError as e:
        refuse_response(self, e)


def pass_interim(self: Exchange, head: ResponseHead) -> None:
    """A 1xx; HTTP/1.0 clients do not know them (RFC 9110 15.2).

    Raises:
        MessageError: There were too many.
    """
    self.interims += 1
    if self.interims > INTERIMS_MAX:
        raise MessageError(502, "response: too many 1xx, RFC 9110 15.2")
    if not self.request.http10:
        self.send(self.forwarding.interim(head))


def switch(self: Exchange, head: ResponseHead, data: bytes) -> None:
    """101: from here on the connection is a tunnel, if that was asked for.

    Raises:
        MessageError: It was not (RFC 9110 7.8).
    """
    asked = self.state is self.WAITING and self.forwarding.upgrading(self.request)
    if not asked or head.upgrade != self.request.upgrade or self.node is None:
        raise MessageError(502, "response: a 101 nobody asked for, RFC 9110 7.8")
    note_answer(self, 101)
    new = self.forwarding.switching(head)
    if self.live.by_cookie:
        new = with_cookie(self, new)
    self.send(new + data)
    self.node.write(self.for_tunnel)
    tcp.relay_both_ways(self)


def note_answer(self: Exchange, status: int) -> None:
    """The node has answered: count it, and how long that took."""
    member = self.member
    assert member is not None
    assert self.node is not None
    self.status = status
    self.answered_at = now = self.node.active_at
    member.responses[status // 100] += 1
    seconds = now - self.connected_at
    answering = member.answering
    answering.counts[int(seconds * PER_SECOND).bit_length()] += 1  # Durations.note, without the call
    answering.seconds += seconds


def refuse_response(self: Exchange, error: MessageError) -> None:
    """The node has sent what is no response, instead of a head."""
    assert self.member is not None
    self.live.response_refused(self.member, error)
    if not self.missing:
        self.accuse_node(Outcome.SERVER_ERROR, f"no HTTP response ({error.rule})")
    answer_client(self, 502, Outcome.SERVER_ERROR, "http_protocol_error")


def answer_for_bad_node(self: Exchange, clean: bool = False) -> None:
    """The node closed before its response's head was whole. One that gives up a request that the client has not finished
    is not to blame: anybody could take nodes out by sending slowly.
    """
    if not self.missing:
        self.accuse_node(Outcome.SERVER_ERROR, "closed before its response's head was whole")
    answer_client(self, 502, Outcome.SERVER_ERROR, "http_response_incomplete")


def time_out_node(self: Exchange) -> None:
    if still_time(self, self.live.wanted.timeout_server):
        hear_client(self)
    else:
        self.accuse_node(Outcome.TIMED_OUT, f"silent for {self.live.wanted.timeout_server} s")
        answer_client(self, 504, Outcome.TIMED_OUT, "http_response_timeout")


# RESPONDING, ANSWERED_EARLY: the response's head has been passed on.


def begin_response(self: Exchange, head: ResponseHead, data: bytes) -> None:
    """Pass on the head and what came of the body; let the rest stream."""
    note_answer(self, head.status)
    if head.status >= 500 and head.status not in NODE_FAULTLESS:
        self.outcome = Outcome.SERVER_ERROR
        if not self.missing:  # or anybody could take nodes out by sending slowly
            self.accuse_node(Outcome.SERVER_ERROR, f"HTTP {head.status}")
    else:
        self.praise_node()
    self.buffer = b""
    new = self.forwarding.response(head, self.request, http_date)
    if self.live.by_cookie:
        new = with_cookie(self, new)
    length = head.length
    if 0 <= length <= len(data):
        finish_response(self, new + data[:length])
        return
    self.state = self.RESPONDING if self.state is self.WAITING else self.ANSWERED_EARLY
    if length == CHUNKED:
        self.response_body = ChunkedReader()
        self.send(new)
        self.transport.registerProducer(self.node, True)
        if data:
            pass_chunks(self, data)
        return
    self.send(new + data)
    self.until_close = length == UNTIL_CLOSE
    limit = None if self.until_close else length - len(data)
    assert self.node is not None
    self.down = self.live.engine.relay(self.node, self.transport, limit=limit, done=self.node_finished)


def with_cookie(self: Exchange, head: bytes) -> bytes:
    """A response head for the client, with our cookie if it has not the right one (R16); then caches are not to share it."""
    assert self.member is not None
    live = self.live
    value = live.pool.cookie_to_set(self.member, self.cookie)
    if not value:
        return head
    private = b"" if b"\r\ncache-control:" in head.lower() else b"Cache-Control: private\r\n"
    return head[:-2] + set_cookie(value, secure=live.secure_cookie) + private + b"\r\n"


def pass_chunks(self: Exchange, data: bytes) -> None:
    """More of a chunked response (others come by relay); to HTTP/1.0 without the chunks."""
    reader = self.response_body
    assert reader is not None
    try:
        payload = reader.feed(data)
    except MessageError as e:
        assert self.member is not None
        self.live.response_refused(self.member, e)
        cut_short(self)
        return
    if self.request.http10:
        out = payload
    else:
        out = (chunk(payload) if payload else b"") + (LAST_CHUNK if reader.done else b"")
    if reader.done:
        finish_response(self, out)
    elif out:
        self.send(out)


def end_response(self: Exchange) -> None:
    """The node's end of file, or all that the relay was to bring."""
    if self.down is not None and self.down.ended is self.until_close:
        finish_response(self)
    else:
        cut_short(self)


def finish_response(self: Exchange, last: bytes = b"") -> None:
    """``last`` is the end of what the client gets; all else it has been handed."""
    if self.response_body is not None:
        self.transport.unregisterProducer()
    if self.missing:
        stop_upload(self)
    if self.missing or self.excess or self.transport.has_unread():
        self.send(last)
        linger(self)
    else:
        close_client(self, last)
    self.leave_node(reset=self.down is None or not self.down.ended)


def cut_short(self: Exchange, clean: bool = False) -> None:
    """The node broke off: the client must see that."""
    self.abort(Outcome.CUT_SHORT)


def time_out_response(self: Exchange) -> None:
    """Nothing moves, or too little: the client does not read, the node does not send, or both wait for the upload."""
    if self.transport.congested:
        if not client_still_reads(self):
            self.abort(Outcome.CLIENT_TIMED_OUT)
            return
    elif not upload_keeps_pace(self):
        self.abort(Outcome.CLIENT_TIMED_OUT)
        return
    elif not still_time(self, self.live.wanted.timeout_server):
        if not self.missing:
            self.accuse_node(Outcome.TIMED_OUT, f"silent for {self.live.wanted.timeout_server} s in its response")
        self.abort(Outcome.TIMED_OUT)
        return
    if self.state is self.RESPONDING:
        hear_client(self)


def upload_keeps_pace(self: Exchange) -> bool:
    """Whether a client that is still sending its body sends enough of it, unless it is the node that takes none."""
    if self.missing and self.node is not None and not self.node.congested:
        return keeps_pace(self, SENDS, received_of_body(self))
    self.pace = None
    return True
