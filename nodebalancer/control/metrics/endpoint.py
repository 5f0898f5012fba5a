"""``/metrics`` and ``/health`` over HTTP: one request a connection, GET and HEAD.

Rules:

* A request head is read as strictly as the data plane reads it, and what does not keep to the rules is answered and forgotten:
  nothing that a client sends is logged.
* Everything has a bound: connections, the time for a head, the time to take the answer.
* A text of metrics is in memory once, however many take it, and is handed to each as fast as that one reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPullProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from nodebalancer.control.metrics.rendering import Format, Renderer, format_for
from nodebalancer.errors import MessageError
from nodebalancer.wire.http1.head import RequestHead, parse_request

CONNECTIONS_MAX: Final = 20
"""At once; whoever comes above that takes the place of the oldest of those that have not asked yet, else of the oldest: nobody
can keep others from ``/health`` by being there."""

HEAD_SECONDS: Final = 10
ANSWER_SECONDS: Final = 60
"""How long a client has to send its request, and from then on to have its answer."""

PARTING_SECONDS: Final = 2
"""How long a client that has all of its answer may take to close."""

TEXT: Final = "text/plain; charset=utf-8"

INDEX: Final = b"""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>nodebalancer</title>
<h1>nodebalancer</h1>
<ul>
<li><a href="/metrics">/metrics</a>, for Prometheus
<li><a href="/health">/health</a>, for whoever shares clients among balancers: 503 while this one stops
</ul>
</html>
"""


class Endpoint(Factory):
    """Makes a protocol for each client, up to ``CONNECTIONS_MAX``.

    Args:
        clock: Bounds their time.
        renderer: Makes the text of metrics.

    Attributes:
        stopping: Whether ``/health`` says that we are.
        visitors: Whose connections are open, the oldest first.
    """

    noisy = False

    def __init__(self, clock: IReactorTime, renderer: Renderer) -> None:
        self.clock = clock
        self.renderer = renderer
        self.stopping = False
        self.visitors: dict[Visitor, None] = {}

    def buildProtocol(self, addr: Any) -> Visitor:
        """For a client; another one may have to make way."""
        if len(self.visitors) >= CONNECTIONS_MAX:
            oldest = next((visitor for visitor in self.visitors if not visitor.asked), next(iter(self.visitors)))
            del self.visitors[oldest]
            oldest.transport.abortConnection()
        return Visitor(self)

    def close(self) -> None:
        """Send everybody away."""
        for visitor in tuple(self.visitors):
            visitor.transport.abortConnection()


@implementer(IHalfCloseableProtocol)
class Visitor(Protocol):
    """One client: a request, its answer, the end.

    Attributes:
        asked: Whether its request is whole, or refused.
    """

    transport: Any  # a twisted.internet.tcp.Server

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._buffer = b""
        self.asked = False
        self._rendering: Deferred[list[bytes]] | None = None
        self._finished = False
        self._deadline: Any = None

    # IProtocol

    def connectionMade(self) -> None:
        self._endpoint.visitors[self] = None
        self._deadline = self._endpoint.clock.callLater(HEAD_SECONDS, self._time_over)

    def dataReceived(self, data: bytes) -> None:
        """A part of the request; what follows its head is of no account."""
        if self.asked:
            return
        seen, self._buffer = len(self._buffer), self._buffer + data
        try:
            head = parse_request(self._buffer, seen)
        except MessageError as e:
            self.asked = True
            self._refuse(e.status)
            return
        if head is not None:
            self.asked = True
            self._deadline.reset(ANSWER_SECONDS)
            self._answer(head)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._endpoint.visitors.pop(self, None)
        if self._deadline.active():
            self._deadline.cancel()
        if self._rendering is not None:
            self._rendering.cancel()

    def readConnectionLost(self) -> None:
        """The client says no more; one that has asked still gets its answer."""
        if self._finished or not self.asked:
            self.transport.loseConnection()
        self._finished = True

    def writeConnectionLost(self) -> None:
        """All was said."""

    # Answers.

    def _answer(self, head: RequestHead) -> None:
        path = head.target.partition(b"?")[0]
        page = PAGES.get(path)
        with_body = head.method != b"HEAD"
        if page is None:
            self._refuse(HTTPStatus.NOT_FOUND, with_body)
        elif head.method not in (b"GET", b"HEAD"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, with_body)
        else:
            page(self, head, with_body)

    def _index(self, head: RequestHead, with_body: bool) -> None:
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", [INDEX], with_body)

    def _health(self, head: RequestHead, with_body: bool) -> None:
        stopping = self._endpoint.stopping
        status = HTTPStatus.SERVICE_UNAVAILABLE if stopping else HTTPStatus.OK
        self._send(status, TEXT, [b"stopping\n" if stopping else b"ok\n"], with_body)

    def _metrics(self, head: RequestHead, with_body: bool) -> None:
        wanted = format_for(values(head, b"accept"), values(head, b"accept-encoding"))
        self._rendering = self._endpoint.renderer.render(wanted)
        self._rendering.addCallbacks(self._rendered, self._not_rendered, (wanted, with_body))

    def _rendered(self, text: list[bytes], wanted: Format, with_body: bool) -> None:
        more = "Vary: Accept, Accept-Encoding\r\n" + ("Content-Encoding: gzip\r\n" if wanted.gzip else "")
        self._send(HTTPStatus.OK, wanted.kind, text, with_body, more)

    def _not_rendered(self, failure: Failure) -> None:
        """The client has left, or there is a fault of ours, of which the log knows."""
        if not failure.check(CancelledError):
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _refuse(self, status: int, with_body: bool = True) -> None:
        said = HTTPStatus(status)
        more = "Allow: GET, HEAD\r\n" if said is HTTPStatus.METHOD_NOT_ALLOWED else ""
        self._send(said, TEXT, [f"{said.value} {said.phrase}\n".encode()], with_body, more)

    def _send(self, status: HTTPStatus, kind: str, body: Sequence[bytes], with_body: bool, more: str = "") -> None:
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {sum(map(len, body))}\r\n{more}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("latin-1"))
        self.transport.registerProducer(Writing(self.transport, iter(body if with_body else ()), self._written), False)

    def _written(self) -> None:
        """The client has to close: were we to do it with unread input, the answer could be lost on its way."""
        if self._finished:
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()
        self._finished = True
        self._deadline.reset(PARTING_SECONDS)

    def _time_over(self) -> None:
        self.transport.abortConnection()


PAGES: Final[dict[bytes, Callable[[Visitor, RequestHead, bool], None]]] = {
    b"/": Visitor._index,
    b"/metrics": Visitor._metrics,
    b"/health": Visitor._health,
}


@implementer(IPullProducer)
class Writing:
    """Writes the pieces of a body, each when the one before it is on its way."""

    def __init__(self, transport: Any, pieces: Iterator[bytes], written: Callable[[], None]) -> None:
        self._transport = transport
        self._pieces = pieces
        self._written = written

    def resumeProducing(self) -> None:
        """The next one."""
        piece = next(self._pieces, None)
        if piece is None:
            self._transport.unregisterProducer()
            self._written()
        else:
            self._transport.write(piece)

    def stopProducing(self) -> None:
        """The client has left."""


def values(head: RequestHead, name: bytes) -> str:
    """What a request says in all fields of that name, which is in lower case."""
    fields = (line.partition(b": ") for line in head.lines.split(b"\r\n"))
    return ",".join(value.decode("latin-1") for field, _, value in fields if field.lower() == name)
