"""Coverage-guided fuzzing of requests, by ``make fuzz``: whatever comes, a node sees one request or none.

``check`` is what must hold of every input; ``tests/wire/test_fuzz_targets.py`` runs it on some.
"""

from __future__ import annotations

import sys

import h11

from nodebalancer.errors import MessageError
from nodebalancer.model import Underscores
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.http1.body import LAST_CHUNK, ChunkedReader, chunk
from nodebalancer.wire.http1.head import CHUNKED, RequestHead, parse_request

CLIENT = "192.0.2.7"
FORWARDING = Forwarding(proto=b"http", underscores=Underscores.KEEP, upgrades=frozenset({b"websocket"}))
WORDS = (
    *(b"GET / HTTP/1.1\r\n", b"POST /a?b HTTP/1.1\r\n", b"OPTIONS * HTTP/1.0\r\n", b"GET http://a/ HTTP/1.1\r\n", b"Host: a\r\n"),
    *(b"GET", b"OPTIONS", b"TRACE", b" / ", b" * ", b"http://", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\r\n\r\n", b"\r\n "),
    *(b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"Expect", b"Max-Forwards", b"Keep-Alive"),
    *(b"X-Forwarded-For", b"X_Forwarded_For", b"Forwarded", b"X-Request-ID", b"TE", b"Cookie", b"X-A", b"X_A", b"websocket"),
    *(b": ", b"5", b"chunked", b"close", b"upgrade", b"100-continue", b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"hello"),
    *(b"\x00", b"\x7f", b"\x80", b"\xff", b";a=b", b'"'),
)  # fmt: skip


def spelt(data: bytes) -> bytes:
    """``data`` with its upper half read as words, so that fuzzing need not find these letter by letter."""
    return b"".join(bytes((code,)) if code < 128 else WORDS[code % len(WORDS)] for code in data)


def read(pieces: list[bytes]) -> tuple[RequestHead, bytes] | None:
    """The head at the beginning of the ``pieces``, as it is read while they come, and what follows; or None.

    Raises:
        MessageError: They are refused.
    """
    buffer = b""
    for number, piece in enumerate(pieces, 1):
        seen = len(buffer)
        buffer += piece
        if (head := parse_request(buffer, seen)) is not None:
            return head, buffer[head.size :] + b"".join(pieces[number:])
    return None


def forwarded(pieces: list[bytes]) -> bytes | None:
    """What is forwarded of a whole request in ``pieces``; None if it is refused or goes on."""
    try:
        found = read(pieces)
        if found is None:
            return None
        head, body = found
        new = FORWARDING.request(head, CLIENT) if head.max_forwards != 0 else b""
        if head.length == CHUNKED:
            reader = ChunkedReader()
            payload = reader.feed(body)
            return new + (chunk(payload) if payload else b"") + LAST_CHUNK if reader.done else None
    except MessageError as e:
        assert e.status in (400, 405, 414, 417, 431, 501, 505)  # noqa: PT017 whatever is raised, not that it is
        return None
    return new + body[: head.length] if len(body) >= head.length else None


def check(data: bytes) -> None:
    """One request or none; the same in whatever pieces; and another reader sees the same one."""
    message = spelt(data)
    size = 1 + len(data) % 7
    new = forwarded([message])
    assert new == forwarded([message[at : at + size] for at in range(0, len(message), size)])
    if not new:
        return
    node = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    node.receive_data(new)
    request = node.next_event()
    assert isinstance(request, h11.Request)
    assert new.startswith(b"%b %b HTTP/1." % (request.method, request.target))
    assert request.headers.raw_items().count((b"X-Forwarded-For", CLIENT.encode())) == 1
    assert [name for name, _ in request.headers].count(b"x-forwarded-for") == 1
    while isinstance(event := node.next_event(), h11.Data):
        pass
    assert isinstance(event, h11.EndOfMessage)
    assert node.trailing_data == (b"", False)


if __name__ == "__main__":
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
