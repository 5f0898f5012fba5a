"""The oracles: two independent parsers read what we forward, and must see exactly one request of the same meaning.

And what clients and nodes send is read by all three: where one takes what another refuses, the rule or the error is in one of
the lists below with its reason, and nothing else is ever found. What two take means the same to both.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Callable

import attrs
import h11
import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import MessageError
from nodebalancer.model import Underscores
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.http1.body import LAST_CHUNK, ChunkedReader, chunk
from nodebalancer.wire.http1.head import CHUNKED, RequestHead, parse_request

FORWARDING = Forwarding(proto=b"https", underscores=Underscores.KEEP, upgrades=frozenset({b"websocket"}))
Fields = list[tuple[bytes, bytes]]


@attrs.frozen
class Read:
    """A request as somebody reads it; fields sorted by name, equal names in their order."""

    method: bytes
    target: bytes
    body: bytes
    fields: Fields = attrs.field(eq=False)


def by_name(fields: Fields) -> Fields:
    return sorted(((name.lower(), value) for name, value in fields), key=lambda field: field[0])


class Heard:
    """What httptools calls back with, up to the end of the first request."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.method = self.url = self.body = b""
        self.fields: Fields = []
        self.ends = 0

    def on_url(self, url: bytes) -> None:
        if not self.ends:
            self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.ends and not self.method:  # what follows the head are trailers
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.method = self.method or self.parser.get_method()

    def on_body(self, body: bytes) -> None:
        if not self.ends:
            self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


# How each reads a request: it, None while there is no end, or why it is refused.


def by_httptools(data: bytes, *, alone: bool = False) -> Read | str | None:
    heard = Heard()
    try:
        with contextlib.suppress(httptools.HttpParserUpgrade):  # raised after the whole head, when it has an Upgrade
            heard.parser.feed_data(data)
    except httptools.HttpParserError as e:
        if not heard.ends:
            return str(e)
    assert not alone or heard.ends == 1
    return Read(heard.method, heard.url, heard.body, by_name(heard.fields)) if heard.ends else None


def by_h11(data: bytes, *, alone: bool = False) -> Read | str | None:
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=100_000)
    peer.receive_data(data)
    body = b""
    try:
        request = peer.next_event()
        if not isinstance(request, h11.Request):
            return None
        while isinstance(event := peer.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError as e:
        return str(e).partition(": ")[0]  # without the bytes in question
    assert not alone or peer.trailing_data == (b"", False)
    whole = isinstance(event, h11.EndOfMessage)
    return Read(request.method, request.target, body, by_name(request.headers.raw_items())) if whole else None


def by_us(data: bytes) -> tuple[RequestHead, bytes] | str | None:
    try:
        head = parse_request(data)
        if head is None:
            return None
        body = data[head.size :]
        if head.length == CHUNKED:
            reader = ChunkedReader()
            payload = reader.feed(body)
            return (head, payload) if reader.done else None
    except MessageError as e:
        return e.rule
    return (head, body[: head.length]) if len(body) >= head.length else None


OTHERS: dict[str, Callable[[bytes], Read | str | None]] = {"h11": by_h11, "httptools": by_httptools}


def forwarded(head: RequestHead, body: bytes) -> bytes:
    """What a node gets."""
    framed = (chunk(body) if body else b"") + LAST_CHUNK if head.length == CHUNKED else body
    return FORWARDING.request(head, "192.0.2.7") + framed


def check_forwarded(head: RequestHead, body: bytes) -> Fields:
    """Both others see exactly one request in what is forwarded, and its method, target and body; its fields."""
    data = forwarded(head, body)
    one = by_h11(data, alone=True)
    assert isinstance(one, Read)
    assert one == Read(head.method, head.target, body, [])
    names = [name for name, _ in one.fields]
    assert [value for name, value in one.fields if name == b"host"] == ([head.host] if head.host else [])
    assert [value for name, value in one.fields if name == b"x-forwarded-for"] == [b"192.0.2.7"]
    assert names.count(b"x-forwarded-proto") == names.count(b"connection") == 1
    another = by_httptools(data, alone=True)
    if not (isinstance(another, str) and another in METHODS_UNKNOWN):
        assert another == one
        assert isinstance(another, Read)
        assert another.fields == one.fields
    return one.fields


METHODS_UNKNOWN = {"Invalid method encountered", "Expected space after method"}
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"])
PATHS = st.text("abc/?&=%.;:@!$'()*+,-_~0123456789", max_size=20).map(lambda path: b"/" + path.encode())
HOSTS = st.sampled_from([b"a.example", b"A.example:8080", b"192.0.2.1", b"[2001:db8::1]:80"])
NAMES = st.text("abcXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode)
VALUES = st.text("".join(map(chr, [9, *range(32, 127), *range(128, 256)])), max_size=20).map(
    lambda value: value.encode("latin-1")
)
PASSED = st.sampled_from([(b"Cookie", b"a=b"), (b"Accept", b"*/*"), (b"X-Request-ID", b"a.b-c")])
GONE = st.sampled_from(
    [(b"Connection", b"close"), (b"connection", b"keep-alive, Q"), (b"Q", b"r"), (b"TE", b"trailers"), (b"X-Forwarded-For", b"1.1.1.1"),
     (b"X_Forwarded_For", b"1.1.1.1"), (b"Keep-Alive", b"5"), (b"Upgrade", b"h2c"), (b"Forwarded", b"for=x")]
)  # fmt: skip
FRAMINGS: dict[tuple[tuple[bytes, bytes], ...], tuple[bytes, bytes, Fields]] = {
    (): (b"", b"", []),
    ((b"Content-Length", b"005"),): (b"hello", b"hello", [(b"content-length", b"5")]),
    ((b"Transfer-Encoding", b"Chunked"),): (
        b'2;a="b"\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n',
        b"hello",
        [(b"transfer-encoding", b"chunked")],
    ),
}
"""The fields of a framing: the body as sent, as meant, and the fields as forwarded."""


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Read]:
    """A valid request, and how it reads; of its fields those that pass."""
    method, target, host = draw(METHODS), draw(PATHS), draw(HOSTS)
    framing = draw(st.sampled_from(list(FRAMINGS)))
    body, payload, framed = FRAMINGS[framing]
    passed = draw(st.lists(st.tuples(NAMES, VALUES) | PASSED, max_size=6, unique_by=lambda field: field[0].lower()))
    gone = draw(st.lists(GONE, max_size=4))
    if any(value.endswith(b"Q") for _, value in gone):
        passed = [field for field in passed if field[0].lower() != b"q"]
    else:
        gone = [field for field in gone if field[0] != b"Q"]
    fields = [(b"hOst", host), *framing, *passed, *gone]
    random.Random(draw(st.integers(0, 9))).shuffle(fields)
    absolute = draw(st.sampled_from([b"", b"http://" + host]))
    blank = draw(st.sampled_from([b"", b" ", b"\t "]))
    lines = [b"%b %b HTTP/1.1" % (method, absolute + target), *(name + b":" + blank + value for name, value in fields)]
    kept = [(name, value.strip(b" \t")) for name, value in passed]
    ours = [
        (b"X-Forwarded-For", b"192.0.2.7"),
        (b"X-Forwarded-Proto", b"https"),
        (b"Connection", b"close"),
        (b"Host", host),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body, Read(method, target, payload, by_name([*kept, *framed, *ours]))


@settings(max_examples=300)
@given(requests())
def test_any_valid_request_reaches_the_node_with_its_meaning(sent: tuple[bytes, Read]) -> None:
    data, expected = sent
    read = by_us(data)
    assert isinstance(read, tuple)
    head, body = read
    assert (head.method, head.target, body) == (expected.method, expected.target, expected.body)
    assert check_forwarded(head, body) == expected.fields


# What one takes and another refuses: rule or error, who, why, and an example of which the rest does not matter.

HEAD, HOST = b"GET / HTTP/1.1\r\nHost: a\r\n", b"Host: a\r\n\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOTH, H11, HTTPTOOLS = frozenset(OTHERS), frozenset({"h11"}), frozenset({"httptools"})
LIMIT = "ours is lower"

FRAMING_TRAILER = "any word about a trailer that would be framing"
HAS_FRAMING_TRAILER = re.compile(
    rb"\r\n0+[ \t]*(;[^\r]*)?\r\n([^\r]+\r\n)*(Content-Length|Transfer-Encoding):", re.IGNORECASE
)

WE_REFUSE: dict[str, tuple[frozenset[str], str, list[bytes]]] = {
    "bare LF, RFC 9112 2.2": (BOTH, "a line end is CRLF, and nothing else is one to everybody", [b"GET / HTTP/1.1\nHost: a\n\n", b"GET /\n\r\n"]),
    "control byte, RFC 9110 5.5": (H11, "some end a value at it", [HEAD + b"A: b\x01\r\n\r\n"]),
    "folded line, RFC 9112 5.2": (H11, "5.2 lets a server refuse it", [HEAD + b"A: b\r\n c\r\n\r\n"]),
    "does not begin with a method, RFC 9112 3": (HTTPTOOLS, "empty lines before a request are skipped, any number", [b"\r\n\r\n" + HEAD + b"\r\n"]),
    "request line is not three words, RFC 9112 3": (HTTPTOOLS, "HTTP/0.9, or several blanks", [b"GET /\r\n\r\n", b"GET  / HTTP/1.1\r\n" + HOST]),
    "HTTP version is not 1.0 or 1.1, RFC 9110 15.6.6": (BOTH, "we speak no other", [b"GET / HTTP/2.0\r\n" + HOST]),
    "target, RFC 9112 3.2": (BOTH, "of any form, userinfo and fragments too", [b"GET * HTTP/1.1\r\n" + HOST]),
    "Host is not the target's, RFC 9112 3.2.2": (BOTH, "one of both would be ignored by somebody", [b"GET http://b/ HTTP/1.1\r\n" + HOST]),
    "CONNECT and TRACE are not served, RFC 9110 9.3": (BOTH, "we are no tunnel", [b"TRACE / HTTP/1.1\r\n" + HOST]),
    "no Host, RFC 9112 3.2": (HTTPTOOLS, "3.2 says MUST", [b"GET / HTTP/1.1\r\n\r\n"]),
    "Host, RFC 9112 3.2": (BOTH, "any value, and the empty one", [b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"]),
    "two Host, RFC 9112 3.2": (HTTPTOOLS, "3.2 says MUST", [HEAD + HOST]),
    "Content-Length and Transfer-Encoding, RFC 9112 6.1": (H11, "the one goes before the other", [CHUNKS[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n"]),
    "two Content-Length, RFC 9112 6.3": (H11, "equal ones are one", [HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"]),
    "Content-Length, RFC 9112 6.3": (
        BOTH, "a list of equal ones is one; 18 digits are enough",
        [HEAD + b"Content-Length: 5, 5\r\n\r\nhello", HEAD + b"Content-Length: 0000000000000000005\r\n\r\nhello"]),
    "Transfer-Encoding in HTTP/1.0, RFC 9112 6.1": (BOTH, "faulty framing", [b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
    "Transfer-Encoding is not chunked, RFC 9112 6.1": (HTTPTOOLS, "a list whose last is chunked", [HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"]),
    "Expect is not 100-continue, RFC 9110 10.1.1": (BOTH, "not read", [HEAD + b"Expect: x\r\n\r\n"]),
    "Max-Forwards, RFC 9110 7.6.2": (BOTH, "not read", [b"OPTIONS / HTTP/1.1\r\nMax-Forwards: x\r\n" + HOST]),
    "request line over 8192 bytes, RFC 9112 3": (BOTH, LIMIT, [b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\n" + HOST]),
    "fields over 16384 bytes, RFC 9110 5.4": (BOTH, LIMIT, [HEAD + b"A: " + b"b" * 16384 + b"\r\n\r\n"]),
    "over 100 fields, RFC 9110 5.4": (BOTH, LIMIT, [HEAD + b"A: b\r\n" * 100 + b"\r\n"]),
    "chunk size or extension, RFC 9112 7.1": (BOTH, "what stands behind the size is not read closely", [CHUNKS + b"0;\x01\r\n\r\n", CHUNKS + b"0;;a\r\n\r\n"]),
    "chunk extensions over 4096 bytes, RFC 9112 7.1.1": (BOTH, LIMIT, [CHUNKS + b"0;" + b"a" * 4096 + b"\r\n\r\n"]),
    "trailer, RFC 9112 7.1.2": (H11, "read as the fields of a head are", [CHUNKS + b"0\r\nA: b\n\r\n"]),
    "trailers over 100 fields or 16384 bytes, RFC 9110 6.5.1": (BOTH, LIMIT, [CHUNKS + b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n"]),
}  # fmt: skip
"""By our rule: who takes what breaks it, how it is read there or why we do not, and examples."""

OTHERS_REFUSE: dict[tuple[str, str], tuple[str, bytes]] = {
    ("h11", "no request line received"): ("2.2 lets one empty line go before it", b"\r\n" + HEAD + b"\r\n"),
    ("httptools", "Invalid method encountered"): ("it has a list of methods; we take any token", b"X / HTTP/1.1\r\n" + HOST),
    ("httptools", "Expected space after method"): ("the same", b"GETS / HTTP/1.1\r\n" + HOST),
    ("httptools", "Request has invalid `Transfer-Encoding`"): (
        "blanks behind the value belong to nothing, RFC 9112 5.1; we forward none", HEAD + b"Transfer-Encoding: chunked \t\r\n\r\n0\r\n\r\n"),
    ("h11", "illegal chunk header"): ("blanks there have to be read, 7.1.1, RFC 9110 5.6.3; we forward no extension", CHUNKS + b"0 ; a\r\n\r\n"),
    ("httptools", "Invalid character in chunk size"): ("the same", CHUNKS + b"0 ; a\r\n\r\n"),
    ("httptools", "Invalid character in chunk extensions"): ("the same", CHUNKS + b"0; a\r\n\r\n"),
    ("httptools", "Invalid character in chunk extensions value"): ("the same", CHUNKS + b"0;a=b ;c\r\n\r\n"),
    ("httptools", "Invalid character in chunk extensions name"): ("the same", CHUNKS + b"0;a =b\r\n\r\n"),
    ("h11", FRAMING_TRAILER): ("a trailer means nothing, RFC 9110 6.5.1; we forward none", CHUNKS + b"0\r\nTransfer-Encoding: x\r\n\r\n"),
    ("httptools", FRAMING_TRAILER): ("the same", CHUNKS + b"0\r\nContent-Length: 5\r\n\r\n"),
}  # fmt: skip
"""By who refuses and with which words what we take: why we do, and an example."""


def disagreements(data: bytes) -> set[tuple[str, str]]:
    """Who is of another opinion than we about ``data``, with our rule or with theirs. What two take is the same to both."""
    ours = by_us(data)
    found = set()
    for name, read in OTHERS.items():
        theirs = read(data)
        if isinstance(ours, str) and isinstance(theirs, Read):
            found.add((name, ours.partition(": ")[2]))
        elif ours is not None and not isinstance(ours, str):
            assert theirs is not None
            if isinstance(theirs, str):
                found.add((name, FRAMING_TRAILER if HAS_FRAMING_TRAILER.search(data) else theirs))
            else:
                head, body = ours
                assert (theirs.method, theirs.body) == (head.method, body)
                assert theirs.target == head.target or b"://" in theirs.target
    return found


EXPECTED = {
    (name, rule): data for rule, (names, _, examples) in WE_REFUSE.items() for name in names for data in examples
}
EXAMPLES = [data for _, _, examples in WE_REFUSE.values() for data in examples] + [
    data for _, data in OTHERS_REFUSE.values()
]


def test_every_entry_of_the_lists_is_needed() -> None:
    """Where an oracle comes to be of our opinion, its entry goes."""
    assert {found for data in EXAMPLES for found in disagreements(data)} == EXPECTED.keys() | OTHERS_REFUSE.keys()


@settings(max_examples=1000)
@given(
    requests().map(lambda sent: sent[0]) | st.sampled_from([data for data in EXAMPLES if len(data) < 300]),
    st.lists(
        st.tuples(st.integers(0, 300), st.binary(max_size=1) | st.sampled_from([b"\r\n", b" ", b":", b"\n", b"\t", b";", b"0"])), max_size=4
    ),
)  # fmt: skip
def test_whatever_becomes_of_it_the_node_sees_one_request_or_none(
    data: bytes, changes: list[tuple[int, bytes]]
) -> None:
    """With bytes changed, put in or taken out: refused, or what both oracles read as we do; and no new disagreement."""
    for place, byte in changes:
        at = place % (len(data) + 1)
        data = data[:at] + byte + data[at + place % 2 :]
    assert disagreements(data) <= EXPECTED.keys() | OTHERS_REFUSE.keys()
    read = by_us(data)
    if isinstance(read, tuple) and read[0].max_forwards != 0:
        check_forwarded(*read)
