"""The oracles: two independent parsers read what we forward, and must see exactly one request of the same meaning.

Where they are of another opinion than we about what a request is:

* We forward any token as a method, ``httptools`` knows a list of methods: only methods of its list are used here.
* They take more than we do. ``h11``: bare LF, folds, Content-Length beside Transfer-Encoding, control bytes in values;
  ``httptools``: several blanks in the request line, several Host, Transfer-Encoding lists; both: any Host and any
  target. We refuse all of these, so that no node has to be as strict.
"""

from __future__ import annotations

import contextlib
import random

import h11
import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import MessageError
from nodebalancer.model import Underscores
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.http1_body import LAST_CHUNK, chunk
from nodebalancer.wire.http1_head import CHUNKED, RequestHead, parse_request, parse_response

FORWARDING = Forwarding(proto=b"https", underscores=Underscores.KEEP, upgrades=frozenset({b"websocket"}))
Meaning = tuple[bytes, bytes, list[bytes], bytes]
"""Method, target, values of Host, body."""


class Heard:
    """What httptools calls back with."""

    def __init__(self) -> None:
        self.url = self.body = b""
        self.hosts: list[bytes] = []
        self.forwarded_for: list[bytes] = []
        self.ends = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"host":
            self.hosts.append(value)
        if name.lower() == b"x-forwarded-for":
            self.forwarded_for.append(value)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


def read_by_httptools(data: bytes) -> Meaning:
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    with contextlib.suppress(httptools.HttpParserUpgrade):  # raised after the whole head, when it has an Upgrade
        parser.feed_data(data)
    assert heard.ends == 1
    assert heard.forwarded_for == [b"192.0.2.7"]
    return parser.get_method(), heard.url, heard.hosts, heard.body


def read_by_h11(data: bytes) -> Meaning:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data)
    request = peer.next_event()
    assert isinstance(request, h11.Request)
    body = b""
    while isinstance(event := peer.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert peer.trailing_data == (b"", False)
    fields = request.headers.raw_items()
    assert [value for name, value in fields if name.lower() == b"x-forwarded-for"] == [b"192.0.2.7"]
    assert [value for name, value in fields if name.lower() == b"x-forwarded-proto"] == [b"https"]
    return request.method, request.target, [value for name, value in fields if name.lower() == b"host"], body


def check_with_oracles(head: RequestHead) -> None:
    """Forward ``head`` with a body of its framing, and have it read."""
    body, framed = b"", b""
    if head.length == CHUNKED:
        body, framed = b"hello", chunk(b"hello") + LAST_CHUNK
    elif head.length < 2000:
        body = framed = b"x" * head.length
    else:
        return
    data = FORWARDING.request(head, "192.0.2.7") + framed
    expected = (head.method, head.target, [head.host] if head.host else [], body)
    assert read_by_h11(data) == expected
    assert read_by_httptools(data) == expected


METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"])
PATHS = st.text("abc/?&=%.;:@!$'()*+,-_~0123456789", max_size=20).map(lambda path: b"/" + path.encode())
HOSTS = st.sampled_from([b"a.example", b"A.example:8080", b"192.0.2.1", b"[2001:db8::1]:80"])
NAMES = st.text("abcXYZ019-_!#$%&'*+.^`|~", min_size=1, max_size=12).map(str.encode)
VALUES = st.text("".join(map(chr, [9, *range(32, 127), *range(128, 256)])), max_size=20).map(
    lambda value: value.encode("latin-1")
)
OTHERS = st.tuples(NAMES, VALUES)
KNOWN = st.sampled_from(
    [
        (b"Connection", b"close"),
        (b"connection", b"keep-alive, X-A"),
        (b"TE", b"trailers"),
        (b"X-Forwarded-For", b"1.1.1.1"),
        (b"X_Forwarded_For", b"1.1.1.1"),
        (b"Expect", b"100-continue"),
        (b"Cookie", b"a=b"),
        (b"Accept", b"*/*"),
    ]
)
FRAMINGS = st.sampled_from([(), ((b"Content-Length", b"007"),), ((b"Transfer-Encoding", b"Chunked"),)])
UPGRADES = st.sampled_from([(), ((b"Upgrade", b"websocket"), (b"Connection", b"upgrade"))])


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Meaning]:
    """A valid head, and method, target and Host that it has."""
    method, target, host = draw(METHODS), draw(PATHS), draw(HOSTS)
    framing = draw(FRAMINGS)
    fields = [(b"hOst", host), *framing, *draw(st.lists(OTHERS | KNOWN, max_size=6))]
    fields += draw(UPGRADES) if not framing else ()
    random.Random(draw(st.integers(0, 9))).shuffle(fields)
    absolute = draw(st.sampled_from([b"", b"http://" + host]))
    blank = draw(st.sampled_from([b"", b" ", b"\t "]))
    lines = [b"%b %b HTTP/1.1" % (method, absolute + target), *(name + b":" + blank + value for name, value in fields)]
    return b"\r\n".join(lines) + b"\r\n\r\n", (method, target, [host], b"")


@settings(max_examples=200, deadline=None)
@given(requests())
def test_any_valid_request_reaches_the_node_with_its_meaning(sent: tuple[bytes, Meaning]) -> None:
    data, (method, target, hosts, _) = sent
    head = parse_request(data)
    assert head is not None
    assert (head.method, head.target, [head.host], head.size) == (method, target, hosts, len(data))
    check_with_oracles(head)


@settings(max_examples=400, deadline=None)
@given(
    requests(),
    st.lists(
        st.tuples(st.integers(0, 300), st.binary(max_size=1) | st.sampled_from([b"\r\n", b" ", b":", b"\n", b"0"]))
    ),
)
def test_whatever_becomes_of_it_the_node_sees_one_request_or_none(
    sent: tuple[bytes, Meaning], changes: list[tuple[int, bytes]]
) -> None:
    """A request with bytes changed, put in or taken out is refused, or is one that both oracles read as we do."""
    data = sent[0]
    for place, byte in changes:
        at = place % (len(data) + 1)
        data = data[:at] + byte + data[at + place % 2 :]
    try:
        head = parse_request(data)
    except MessageError:
        return
    if head is None or head.method not in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"):
        return
    check_with_oracles(head)


STATUSES = st.sampled_from([b"200 OK", b"404 Not Found", b"500 ", b"304 Not Modified", b"204 No Content"])


@settings(max_examples=200, deadline=None)
@given(STATUSES, st.lists(OTHERS | KNOWN, max_size=6), FRAMINGS, METHODS)
def test_any_valid_response_reaches_the_client_with_its_meaning(
    status: bytes, fields: list[tuple[bytes, bytes]], framing: tuple[tuple[bytes, bytes], ...], method: bytes
) -> None:
    lines = [b"HTTP/1.1 " + status, *(name + b": " + value for name, value in (*fields, *framing))]
    head = parse_response(b"\r\n".join(lines) + b"\r\n\r\n", method)
    request = parse_request(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head is not None
    assert request is not None
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    body = {CHUNKED: chunk(b"hello!!") + LAST_CHUNK, 7: b"hello!!", 0: b""}.get(head.length, b"hello!!")
    client.receive_data(FORWARDING.response(head, request, lambda: b"now") + body)
    client.receive_data(b"")
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert response.status_code == int(status[:3])
    data = b""
    while isinstance(event := client.next_event(), h11.Data):
        data += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert data == (b"hello!!" if body else b"")
    assert [value for name, value in response.headers if name == b"connection"] == [b"close"]
