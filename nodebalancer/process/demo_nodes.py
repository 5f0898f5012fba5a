"""The demo's web nodes: small, and made to be looked at.

They use ``twisted.web``, which the data plane does not: it hands over a request only when all of its body is there.

``/chat`` is a page and, for a client that asks for an upgrade, a WebSocket: nodes know nothing of each other, so whoever is on
the same node hears what one says there.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, cast

from twisted.internet.interfaces import IPullProducer, IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.websocket import WebSocketResource, WebSocketTransport
from wsproto.utilities import LocalProtocolError
from zope.interface import implementer

SLOW_SECONDS = 5.0
"""How long ``/slow`` takes: long enough to stop the balancer, or to start a second request, in the meantime."""

PIECE = bytes(range(256)) * 256
"""What ``/bytes`` repeats: 64 KiB."""

BYTES_MAX = 10**12
"""What ``/bytes`` gives at most."""


SAID_MAX: Final = 1000
"""Characters of what somebody says in the chat; the rest is not passed on."""

CHAT_PAGE: Final = b"""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Chat over a NodeBalancer</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 40em; margin: 2em auto; padding: 0 1em }
  ol { list-style: none; padding: 0 }
  input { font: inherit; width: 100%; box-sizing: border-box; padding: .4em }
</style>
<h1>Chat</h1>
<p id="state" role="status">connecting</p>
<ol id="said" aria-live="polite"></ol>
<form><label>Say something <input name="line" maxlength="1000" autocomplete="off" autofocus></label></form>
<script>
  const state = document.getElementById("state")
  const socket = new WebSocket(location.href.replace(/^http/, "ws"))
  socket.onopen = () => state.textContent = "connected"
  socket.onclose = () => state.textContent = "the connection has ended"
  socket.onmessage = event => {
    const item = document.createElement("li")
    item.textContent = event.data
    document.getElementById("said").append(item)
  }
  document.forms[0].onsubmit = event => {
    event.preventDefault()
    const line = event.target.elements.line
    if (line.value && socket.readyState === WebSocket.OPEN) socket.send(line.value)
    line.value = ""
  }
</script>
"""


class DemoSite(Site):
    """A site without an access log, so that the demo's own lines can be read."""

    noisy = False

    def log(self, request: Any) -> None:
        """Nothing."""


class DemoNode(Resource):
    """One node: tells its name and what it was asked, at any path; ``/slow``, ``/status/CODE``, ``/bytes/N`` and ``/chat`` do more.

    Args:
        name: How it calls itself.
        clock: For ``/slow``.
    """

    isLeaf = True

    def __init__(self, name: str, clock: IReactorTime) -> None:
        super().__init__()
        self._name = name
        self._clock = clock
        self._chat = WebSocketResource(Chat(name))

    def render(self, request: Request) -> Any:
        """Answer ``request`` by the first part of its path, whatever the method."""
        request.setHeader(b"content-type", b"text/plain; charset=utf-8")
        request.setHeader(b"x-content-type-options", b"nosniff")  # what a client sent is shown, never run
        what, *rest = (part.decode("ascii", "replace") for part in request.postpath or [b""])
        if what == "slow":
            return self._render_slow(request)
        if what == "status" and rest:
            return self._render_status(request, rest[0])
        if what == "bytes" and rest:
            return self._render_bytes(request, rest[0])
        if what == "chat":
            return self._render_chat(request)
        return self._report(request)

    def _render_slow(self, request: Request) -> int:
        call = self._clock.callLater(SLOW_SECONDS, self._finish_slow, request)
        request.notifyFinish().addErrback(lambda _: call.cancel())
        return NOT_DONE_YET

    def _finish_slow(self, request: Request) -> None:
        request.write(self._report(request))
        request.finish()

    def _render_status(self, request: Request, text: str) -> bytes:
        code = _number(text, 599)
        if code is None or code < 200:
            return _bad(request, "/status/CODE: a code from 200 to 599")
        request.setResponseCode(code)
        return b"" if code in (204, 304) else self._report(request)

    def _render_bytes(self, request: Request, text: str) -> bytes | int:
        count = _number(text, BYTES_MAX)
        if count is None:
            return _bad(request, f"/bytes/N: a number up to {BYTES_MAX}")
        request.setHeader(b"content-type", b"application/octet-stream")
        request.setHeader(b"content-length", str(count).encode())
        if request.method == b"HEAD" or count == 0:
            return b""
        request.registerProducer(Pieces(request, count), False)
        return NOT_DONE_YET

    def _render_chat(self, request: Request) -> Any:
        if request.method == b"GET" and request.getHeader(b"upgrade") is not None:
            return self._chat.render_GET(request)
        request.setHeader(b"content-type", b"text/html; charset=utf-8")
        return CHAT_PAGE

    def _report(self, request: Request) -> bytes:
        """Who answers, and what arrived here: method, path, fields, the size of the body."""
        lines = [self._name.encode(), b"", b"%s %s %s" % (request.method, request.uri, request.clientproto)]
        for name, values in request.requestHeaders.getAllRawHeaders():
            lines += [b"%s: %s" % (name, value) for value in values]
        size = cast(Any, request.content).seek(0, 2)
        lines.append(b"and a body of %d bytes" % size)
        return b"\n".join(map(_printable, lines)) + b"\n"


class Chat:
    """Everybody who has a WebSocket open to one node.

    Args:
        name: How the node calls itself.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.guests: set[Guest] = set()

    def buildProtocol(self, request: Request) -> Guest:
        """For ``WebSocketResource``."""
        return Guest(self)

    def say(self, line: str) -> None:
        """Let everybody hear it."""
        for guest in self.guests:
            with suppress(LocalProtocolError):  # who has just said goodbye
                guest.transport.sendTextMessage(line)


class Guest:
    """A ``WebSocketProtocol``: one of those in the chat."""

    transport: WebSocketTransport

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def negotiationStarted(self, transport: WebSocketTransport) -> None:
        """There is somebody."""
        self.transport = transport

    def negotiationFinished(self) -> None:
        """And may be spoken to."""
        self._chat.guests.add(self)
        self.transport.sendTextMessage(f"{self._chat.name}: welcome, you are one of {len(self._chat.guests)} here")

    def textMessageReceived(self, message: str) -> None:
        """What one says all hear."""
        self._chat.say(message[:SAID_MAX])

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        """Back it goes, to try large messages with."""
        self.transport.sendBytesMessage(bytes(data))

    def pongReceived(self, payload: bytes) -> None:
        """We ask for none."""

    def connectionLost(self, reason: Failure) -> None:
        """One fewer."""
        self._chat.guests.discard(self)


@implementer(IPullProducer)
class Pieces:
    """Writes ``count`` bytes to a request, a piece whenever there is room for one."""

    def __init__(self, request: Any, count: int) -> None:
        self._request = request
        self._left = count

    def resumeProducing(self) -> None:
        """Write the next piece."""
        piece = PIECE[: self._left]
        self._left -= len(piece)
        self._request.write(piece)
        if self._left == 0:
            self._request.unregisterProducer()
            self._request.finish()

    def stopProducing(self) -> None:
        """The client has left; there is nothing to give back."""


def _number(text: str, highest: int) -> int | None:
    """A plain decimal number up to ``highest``."""
    if not (text.isascii() and text.isdigit() and len(text) < 16) or int(text) > highest:
        return None
    return int(text)


def _bad(request: Request, message: str) -> bytes:
    request.setResponseCode(400)
    return message.encode() + b"\n"


def _printable(line: bytes) -> bytes:
    return b"".join(bytes([byte]) if 0x20 <= byte <= 0x7E else b"\\x%02x" % byte for byte in line)
