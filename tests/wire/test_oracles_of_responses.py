"""The oracles for responses, as ``http1/test_head`` has them for requests."""

from __future__ import annotations

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
from nodebalancer.wire.http1.head import CHUNKED, UNTIL_CLOSE, RequestHead, ResponseHead, parse_response

FORWARDING = Forwarding(proto=b"https", underscores=Underscores.KEEP, upgrades=frozenset())
Fields = list[tuple[bytes, bytes]]


@attrs.frozen
class Read:
    """A final response as somebody reads it who sees the connection end behind it; fields sorted by name."""

    status: int
    body: bytes
    fields: Fields = attrs.field(eq=False)


def by_name(fields: Fields) -> Fields:
    return sorted(((name.lower(), value) for name, value in fields), key=lambda field: field[0])


class Heard:
    """What httptools calls back with, up to the end of the first response."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.body = b""
        self.fields: Fields = []
        self.ends = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.ends and not self.status:  # what follows the head are trailers
            self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self.status or self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        if not self.ends:
            self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1

    @property
    def until_close(self) -> bool:
        """Whether the end of the connection is the end of the body; httptools is not told of it."""
        framings = [value for name, value in self.fields if name.lower() in (b"content-length", b"transfer-encoding")]
        return self.status >= 200 and (
            not framings or (not framings[-1].isdigit() and b"chunked" not in framings[-1].lower())
        )


# How each reads a response to GET: it, None while there is no end, or for a 1xx, or why it is refused.


def by_httptools(data: bytes, *, alone: bool = False) -> Read | str | None:
    heard = Heard()
    try:
        heard.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return None
    except httptools.HttpParserError as e:
        if not heard.ends:
            return str(e)
    assert not alone or heard.ends <= 1
    whole = heard.status >= 200 and (heard.ends or heard.until_close)
    return Read(heard.status, heard.body, by_name(heard.fields)) if whole else None


def by_h11(data: bytes, *, alone: bool = False, method: bytes = b"GET") -> Read | str | None:
    client = h11.Connection(h11.CLIENT, max_incomplete_event_size=100_000)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    body = b""
    try:
        response = client.next_event()
        if not isinstance(response, h11.Response):
            return None
        while isinstance(event := client.next_event(), h11.Data):
            body += event.data
    except h11.RemoteProtocolError as e:
        return str(e).partition(": ")[0]  # without the bytes in question
    if event is h11.NEED_DATA:
        client.receive_data(b"")
        try:
            client.next_event()
        except h11.RemoteProtocolError:
            return None
    assert not alone or not client.trailing_data[0]
    return Read(response.status_code, body, by_name(response.headers.raw_items()))


def by_us(data: bytes, method: bytes = b"GET") -> tuple[ResponseHead, bytes] | str | None:
    try:
        head = parse_response(data, method)
        if head is None or head.status < 200:
            return None
        body = data[head.size :]
        if head.length == CHUNKED:
            reader = ChunkedReader()
            payload = reader.feed(body)
            return (head, payload) if reader.done else None
    except MessageError as e:
        return e.rule
    if head.length == UNTIL_CLOSE:
        return head, body
    return (head, body[: head.length]) if len(body) >= head.length else None


OTHERS: dict[str, Callable[[bytes], Read | str | None]] = {"h11": by_h11, "httptools": by_httptools}


def check_passed(head: ResponseHead, body: bytes, method: bytes = b"GET") -> Fields:
    """A client sees exactly one response in what is passed on, with its status and body; its fields."""
    framed = (chunk(body) if body else b"") + LAST_CHUNK if head.length == CHUNKED else body
    request = RequestHead(method, b"/", b"a", b"", 0, 0)
    data = FORWARDING.response(head, request, lambda: b"now") + framed
    one = by_h11(data, alone=True, method=method)
    assert isinstance(one, Read)
    assert one == Read(head.status, body, [])
    names = [name for name, _ in one.fields]
    assert [value for name, value in one.fields if name == b"connection"] == [b"close"]
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    if method != b"HEAD":  # httptools is not told of it
        another = by_httptools(data, alone=True)
        assert another == one
        assert isinstance(another, Read)
        assert another.fields == one.fields
    return one.fields


STATUSES = st.sampled_from(
    [b"200 OK", b"404 Not Found", b"500 ", b"304 Not Modified", b"204 No Content", b"999 \xe4\tx"]
)
NAMES = st.text("abcXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode)
VALUES = st.text("".join(map(chr, [9, *range(32, 127), *range(128, 256)])), max_size=20).map(
    lambda value: value.encode("latin-1")
)
PASSED = st.sampled_from([(b"Set-Cookie", b"a=b"), (b"Server", b"x"), (b"ETag", b'"x"')])
GONE = st.sampled_from(
    [(b"Connection", b"close"), (b"Keep-Alive", b"5"), (b"Upgrade", b"h2c"), (b"Proxy-Authenticate", b"x")]
)
FRAMINGS: dict[tuple[tuple[bytes, bytes], ...], tuple[bytes, Fields]] = {
    (): (b"hello", []),
    ((b"Content-Length", b"005"),): (b"hello", [(b"content-length", b"5")]),
    ((b"Content-Length", b"5"), (b"content-length", b"5")): (b"hello", [(b"content-length", b"5")]),
    ((b"Transfer-Encoding", b"Chunked"),): (
        b'2;a="b"\r\nhe\r\n3\r\nllo\r\n0\r\nA: b\r\n\r\n',
        [(b"transfer-encoding", b"chunked")],
    ),
}
"""The fields of a framing: the body as sent, and the fields as passed on."""


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bytes, Read]:
    """A valid response, the method it answers, and how it reads; of its fields those that pass."""
    status, method = draw(STATUSES), draw(st.sampled_from([b"GET", b"POST", b"HEAD"]))
    framing = draw(st.sampled_from(list(FRAMINGS)))
    body, framed = FRAMINGS[framing]
    passed = draw(st.lists(st.tuples(NAMES, VALUES) | PASSED, max_size=6, unique_by=lambda field: field[0].lower()))
    fields = [(b"Date", b"then"), *framing, *passed, *draw(st.lists(GONE, max_size=3))]
    random.Random(draw(st.integers(0, 9))).shuffle(fields)
    blank = draw(st.sampled_from([b"", b" ", b"\t ", b" \r\n "]))
    data = (
        b"\r\n".join([b"HTTP/1.1 " + status, *(name + b":" + blank + value for name, value in fields)])
        + b"\r\n\r\n"
        + body
    )
    bodiless = method == b"HEAD" or status[:3] in (b"204", b"304")
    if status[:3] == b"204" or (bodiless and framed[:1] == [(b"transfer-encoding", b"chunked")]):
        framed = []
    kept = [
        *((name, value.strip(b" \t")) for name, value in passed),
        *framed,
        (b"Date", b"then"),
        (b"Connection", b"close"),
    ]
    return data, method, Read(int(status[:3]), b"" if bodiless else b"hello", by_name(kept))


@settings(max_examples=300)
@given(responses())
def test_any_valid_response_reaches_the_client_with_its_meaning(sent: tuple[bytes, bytes, Read]) -> None:
    data, method, expected = sent
    read = by_us(data, method)
    assert isinstance(read, tuple), read
    head, body = read
    assert (head.status, body) == (expected.status, expected.body)
    assert check_passed(head, body, method) == expected.fields


# What one takes and another refuses, as in ``http1/test_head``.

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BOTH, H11, HTTPTOOLS = frozenset(OTHERS), frozenset({"h11"}), frozenset({"httptools"})
LIMIT = "ours is lower"
GOES_ON = "sees no end where we do"
FRAMING_TRAILER = "any word about a trailer that would be framing"
HAS_FRAMING_TRAILER = re.compile(
    rb"\r\n0+[ \t]*(;[^\r]*)?\r\n([^\r]+\r\n)*(Content-Length|Transfer-Encoding):", re.IGNORECASE
)

WE_REFUSE: dict[str, tuple[frozenset[str], str, list[bytes]]] = {
    "bare LF, RFC 9112 2.2": (BOTH, "a line end is CRLF; httptools skips empty lines before a response", [HEAD + b"A: b\n\r\n", b"\n" + HEAD + b"\r\n"]),
    "no HTTP/1 status line, RFC 9112 4": (H11, "other versions", [b"HTTP/2.0 200 OK\r\n\n"]),
    "status line, RFC 9112 4": (
        BOTH, "other versions; httptools skips empty lines before a response", [b"HTTP/2.0 200 OK\r\n\r\n", b"\r\n" + HEAD + b"\r\n"]),
    "control byte, RFC 9110 5.5": (BOTH, "some end a value at it", [HEAD + b"A: b\x01\r\n\r\n", b"HTTP/1.1 200 \x01\r\n\r\n"]),
    "bare CR, RFC 9112 2.2": (HTTPTOOLS, "CRs before a response are skipped", [b"\r" + HEAD + b"\r\n"]),
    "Content-Length and Transfer-Encoding, RFC 9112 6.1": (H11, "the one goes before the other", [CHUNKS[:-2] + b"Content-Length: 5\r\n\r\n0\r\n\r\n"]),
    "Content-Length, RFC 9112 6.3": (
        BOTH, "a list of equal ones is one; 18 digits are enough",
        [HEAD + b"Content-Length: 5, 5\r\n\r\nhello", HEAD + b"Content-Length: 0000000000000000005\r\n\r\nhello"]),
    "Transfer-Encoding in HTTP/1.0, RFC 9112 6.1": (BOTH, "faulty framing", [CHUNKS.replace(b"1.1", b"1.0") + b"0\r\n\r\n"]),
    "two Transfer-Encoding, RFC 9112 6.1": (HTTPTOOLS, "a list; of unknown ones until close", [CHUNKS[:-2] + b"Transfer-Encoding: x\r\n\r\n"]),
    "Transfer-Encoding is not chunked, RFC 9112 6.1": (HTTPTOOLS, "the same", [HEAD + b"Transfer-Encoding: x\r\n\r\n"]),
    "over 65536 bytes, RFC 9110 5.4": (BOTH, LIMIT, [HEAD + b"A: " + b"b" * 65536 + b"\r\n\r\n"]),
    "chunk size or extension, RFC 9112 7.1": (BOTH, "what stands behind the size is not read closely", [CHUNKS + b"0;\x01\r\n\r\n", CHUNKS + b"0;;a\r\n\r\n"]),
    "chunk extensions over 4096 bytes, RFC 9112 7.1.1": (BOTH, LIMIT, [CHUNKS + b"0;" + b"a" * 4096 + b"\r\n\r\n"]),
    "trailer, RFC 9112 7.1.2": (H11, "read as the fields of a head are", [CHUNKS + b"0\r\nA: b\n\r\n"]),
    "trailers over 100 fields or 16384 bytes, RFC 9110 6.5.1": (BOTH, LIMIT, [CHUNKS + b"0\r\n" + b"A: b\r\n" * 101 + b"\r\n"]),
}  # fmt: skip
"""By our rule: who takes what breaks it, how it is read there or why we do not, and examples."""

OTHERS_REFUSE: dict[tuple[str, str], tuple[str, bytes]] = {
    ("h11", "illegal header line"): ("5.1 has a proxy remove the blank", HEAD + b"A : b\r\n\r\n"),
    ("httptools", "Invalid header token"): ("the same", HEAD + b"A\t: b\r\n\r\n"),
    ("httptools", "Invalid header field char"): ("the same", HEAD + b"Content-Length : 5\r\n\r\nhello"),
    ("httptools", GOES_ON): ("the tab belongs to nothing, 5.1; we pass on none", CHUNKS[:-4] + b"\t\r\n\r\n0\r\n\r\n"),
    ("h11", "conflicting Content-Length headers"): ("equal numbers, 6.3", HEAD + b"Content-Length: 05\r\nContent-Length: 5\r\n\r\nhello"),
    ("httptools", "Duplicate Content-Length"): ("the same", HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    ("httptools", "Unexpected whitespace after header value"): ("5.2 has a proxy put a blank for a fold", HEAD + b"A: b\r\n c\r\n\r\n"),
    ("httptools", "Invalid header value char"): ("the same", HEAD + b"A:\r\n b\r\n\r\n"),
    ("h11", "illegal chunk header"): ("blanks there have to be read, 7.1.1, RFC 9110 5.6.3; we pass on no extension", CHUNKS + b"0 ; a\r\n\r\n"),
    ("httptools", "Invalid character in chunk size"): ("the same", CHUNKS + b"0 ; a\r\n\r\n"),
    ("httptools", "Invalid character in chunk extensions"): ("the same", CHUNKS + b"0; a\r\n\r\n"),
    ("httptools", "Invalid character in chunk extensions value"): ("the same", CHUNKS + b"0;a=b ;c\r\n\r\n"),
    ("httptools", "Invalid character in chunk extensions name"): ("the same", CHUNKS + b"0;a =b\r\n\r\n"),
    ("h11", FRAMING_TRAILER): ("a trailer means nothing, RFC 9110 6.5.1; we pass on none", CHUNKS + b"0\r\nTransfer-Encoding: x\r\n\r\n"),
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
            if theirs is None:
                found.add((name, GOES_ON))
            elif isinstance(theirs, str):
                found.add((name, FRAMING_TRAILER if HAS_FRAMING_TRAILER.search(data) else theirs))
            else:
                assert theirs == Read(ours[0].status, ours[1], [])
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
    responses().map(lambda sent: sent[0]) | st.sampled_from([data for data in EXAMPLES if len(data) < 300]),
    st.lists(
        st.tuples(st.integers(0, 300), st.binary(max_size=1) | st.sampled_from([b"\r\n", b" ", b":", b"\n", b"\t", b";", b"0"])), max_size=4
    ),
)  # fmt: skip
def test_whatever_becomes_of_it_the_client_sees_one_response_or_none(
    data: bytes, changes: list[tuple[int, bytes]]
) -> None:
    """With bytes changed, put in or taken out: refused, or what both oracles read as we do; and no new disagreement."""
    for place, byte in changes:
        at = place % (len(data) + 1)
        data = data[:at] + byte + data[at + place % 2 :]
    assert disagreements(data) <= EXPECTED.keys() | OTHERS_REFUSE.keys()
    read = by_us(data)
    if isinstance(read, tuple):
        check_passed(*read)
