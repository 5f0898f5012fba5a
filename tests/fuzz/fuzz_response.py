"""Coverage-guided fuzzing of responses, by ``make fuzz``: whatever a node sends, a client sees one response or none.

``check`` is what must hold of every input; ``tests/wire/test_fuzz_targets.py`` runs it on some.
"""

from __future__ import annotations

import sys

import h11

from nodebalancer.errors import MessageError
from nodebalancer.model import Underscores
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.http1.body import LAST_CHUNK, ChunkedReader, chunk
from nodebalancer.wire.http1.head import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead, parse_request, parse_response

FORWARDING = Forwarding(proto=b"http", underscores=Underscores.KEEP, upgrades=frozenset({b"websocket"}))
WORDS = (
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 Not Found\r\n", b"HTTP/1.1 204 No Content\r\n", b"HTTP/1.1 304 Not Modified\r\n"),
    *(b"HTTP/1.1 103 Early Hints\r\n", b"HTTP/1.1 101 Switching Protocols\r\n", b"HTTP/1.1", b"HTTP/1.0", b" 200 ", b"999", b"OK"),
    *(b"\r\n", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b": ", b" : ", b":", b",", b"5", b"05", b"chunked", b"close", b"upgrade", b"websocket"),
    *(b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Date", b"date: x\r\n", b"Keep-Alive", b"Set-Cookie", b"X-A"),
    *(b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"hello"),
    *(b"\x00", b"\x7f", b"\x80", b"\xff", b";a=b", b'"'),
)  # fmt: skip


def spelt(data: bytes) -> bytes:
    """``data`` with its upper half read as words, so that fuzzing need not find these letter by letter."""
    return b"".join(bytes((code,)) if code < 128 else WORDS[code % len(WORDS)] for code in data)


def asked(line: bytes) -> RequestHead:
    request = parse_request(line + b"\r\nHost: a\r\n\r\n")
    assert request is not None
    return request


REQUESTS = [asked(line) for line in (b"GET / HTTP/1.1", b"HEAD / HTTP/1.1", b"GET / HTTP/1.0")]


def read(pieces: list[bytes], method: bytes) -> tuple[ResponseHead, bytes] | None:
    """The head at the beginning of the ``pieces``, as it is read while they come, and what follows; or None.

    Raises:
        MessageError: They are refused.
    """
    buffer = b""
    for number, piece in enumerate(pieces, 1):
        seen = len(buffer)
        buffer += piece
        if (head := parse_response(buffer, method, seen)) is not None:
            return head, buffer[head.size :] + b"".join(pieces[number:])
    return None


def passed(pieces: list[bytes], request: RequestHead) -> bytes | None:
    """What is passed on of a whole response in ``pieces``; None if it is refused or goes on."""
    try:
        found = read(pieces, request.method)
        if found is None:
            return None
        head, body = found
        if head.status == 101:  # that nobody asked for
            return None
        if head.status < 200:
            return FORWARDING.interim(head)
        new = FORWARDING.response(head, request, lambda: b"now")
        if head.length == CHUNKED:
            reader = ChunkedReader()
            payload = reader.feed(body)
            body = payload if request.http10 else (chunk(payload) if payload else b"") + LAST_CHUNK
            return new + body if reader.done else None
    except MessageError:
        return None
    if head.length == UNTIL_CLOSE:
        return new + body
    return new + body[: head.length] if len(body) >= head.length else None


def check(data: bytes) -> None:
    """One response or none; the same in whatever pieces; and its end is where a client sees it."""
    message = spelt(data)
    request = REQUESTS[len(data) % len(REQUESTS)]
    size = 1 + len(data) % 7
    new = passed([message], request)
    assert new == passed([message[at : at + size] for at in range(0, len(message), size)], request)
    if not new:
        return
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=100_000)
    client.send(h11.Request(method=request.method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(new)
    event = client.next_event()
    assert isinstance(event, h11.Response | h11.InformationalResponse)
    assert b"HTTP/1.1 %d " % event.status_code == new[:13]
    if isinstance(event, h11.InformationalResponse):
        return
    assert [value for name, value in event.headers if name == b"connection"] == [b"close"]
    client.receive_data(b"")
    while isinstance(end := client.next_event(), h11.Data):
        pass
    assert isinstance(end, h11.EndOfMessage)
    assert client.trailing_data == (b"", True)


if __name__ == "__main__":
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
