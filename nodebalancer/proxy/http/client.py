"""One HTTP exchange: a request, its response, and the end (R7 to R9, R17).

Rules:

* One connection carries one request; ``Connection: close`` on both sides (R7).
* A request head is read within ``timeout_request`` of the accept, however slowly it comes, and answered by us if it is
  not what it should be; nothing of such a request reaches a node.
* The node's head is written anew before a node is dialled; no byte has been sent until a node is connected, so another
  node may be tried until then.
* Bodies stream: with a length or until close by ``Engine.relay``, chunked ones through ``wire.http1.body`` with the other
  side registered as the producer. Neither is ever held whole.
* What follows a request is read no further; it is known as ``excess``, and the client lingers at the end, because
  closing a socket with unread input resets it and can destroy the answer on its way.
* Before the response head has been passed on, a failure is an answer (502, 504); after it, the client is reset, so that
  half a body never looks whole.
* The node's connection is reset once its response is complete, unless it has closed already: the balancer must not
  gather source ports in TIME_WAIT.
* After a 101 that was asked for, the connection is a TCP connection: it goes over into the states of ``tcp``.
"""

from __future__ import annotations

from typing import Final

from nodebalancer.proxy import tcp
from nodebalancer.proxy.connection import IGNORE, Row, row
from nodebalancer.proxy.http.exchange import (
    Exchange,
    close_client,
    end_at_once,
    end_lingering,
    lose_client,
    see_client_off,
    time_out_closing,
)
from nodebalancer.proxy.http.request import (
    finish_late_upload,
    finish_upload,
    give_up_request,
    read_request,
    refuse_slow_head,
    send_chunks,
    send_request,
    time_out_upload,
    try_next_node,
    wait_for_dial,
)
from nodebalancer.proxy.http.response import (
    answer_for_bad_node,
    cut_short,
    end_response,
    note_excess,
    pass_chunks,
    read_response,
    time_out_node,
    time_out_response,
)


class HTTPClient(Exchange):
    """A client of an http config: the table of its states."""

    __slots__ = ()

    READING = row(
        client_sent=read_request,
        client_finished=give_up_request,
        client_lost=lose_client,
        expired=refuse_slow_head,
        stopped=end_at_once,
    )
    """The request head is being read; no node is involved."""

    DIALLING = row(
        client_sent=note_excess,
        client_finished=IGNORE,
        client_lost=lose_client,
        node_connected=send_request,
        node_unreachable=try_next_node,
        expired=wait_for_dial,
        stopped=end_at_once,
    )
    """A node is being dialled; the client is paused, unless its request is whole."""

    UPLOADING = row(
        client_sent=send_chunks,
        client_finished=finish_upload,
        client_lost=lose_client,
        node_sent=read_response,
        node_finished=answer_for_bad_node,
        node_lost=answer_for_bad_node,
        expired=time_out_upload,
        stopped=end_at_once,
    )
    """The request's body is being sent; there is no response head yet."""

    WAITING = row(
        client_sent=note_excess,
        client_finished=IGNORE,  # a half-close after the request; it is still served (RFC 9112 9.6)
        client_lost=lose_client,
        node_sent=read_response,
        node_finished=answer_for_bad_node,
        node_lost=answer_for_bad_node,
        expired=time_out_node,
        stopped=end_at_once,
    )
    """The request is with the node; there is no response head yet."""

    ANSWERED_EARLY = row(
        client_sent=send_chunks,
        client_finished=finish_late_upload,
        client_lost=lose_client,
        node_sent=pass_chunks,
        node_finished=end_response,
        node_lost=cut_short,
        expired=time_out_response,
        stopped=end_at_once,
    )
    """Both bodies are under way."""

    RESPONDING = row(
        client_sent=note_excess,
        client_finished=IGNORE,
        client_lost=lose_client,
        node_sent=pass_chunks,
        node_finished=end_response,
        node_lost=cut_short,
        expired=time_out_response,
        stopped=end_at_once,
    )
    """The response's body is under way."""

    LINGERING = row(
        IGNORE,  # what the client sends; and the node has been left, but its loss may still come
        client_finished=close_client,
        client_lost=see_client_off,
        expired=end_lingering,
        stopped=end_at_once,
    )
    """All is written and our end of file after it; what the client still sends is read and forgotten."""

    CLOSING = row(
        IGNORE,
        client_lost=see_client_off,
        expired=time_out_closing,
        stopped=end_at_once,
    )
    """All is written; the connection closes when it is sent."""

    FIRST = READING


STATES: Final[dict[str, Row]] = {
    **{name.lower(): getattr(HTTPClient, name) for name in Exchange.STATE_NAMES},
    **{f"tunnel_{name}": state for name, state in tcp.STATES.items() if name != "dialling"},
}
"""All states by name; after a 101 those of ``tcp``."""
