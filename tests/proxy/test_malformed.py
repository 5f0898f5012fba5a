"""Malformed requests as they are published, in the manner of those who look for request smuggling: none reaches a node.

Most carry a second request in what one reader takes for a body and another for what follows it. Every one of them is sent
whole, byte by byte, and cut in two at every point.
"""

from __future__ import annotations

from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.model import Underscores
from nodebalancer.testing.exchanges import every_way, http, status_of

SECOND = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
END = b"0\r\n\r\n"


def post(*lines: bytes, body: bytes = b"hello" + SECOND) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body + SECOND)


def get(line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a\r\n") -> bytes:
    return line + b"\r\n" + host + b"\r\n"


LENGTH, CHUNKED = b"Content-Length: 5", b"Transfer-Encoding: chunked"

MALFORMED = {
    # one reader goes by the length, another by the chunks
    "CL.TE": post(b"Content-Length: 6", CHUNKED, body=END + b"G"),
    "TE.CL": post(CHUNKED, b"Content-Length: 4", body=b"5c\r\n" + SECOND + END),
    "CL.TE with a tab": post(LENGTH, b"Transfer-Encoding:\tchunked", body=END + SECOND),
    "CL.TE in another case": post(LENGTH, b"tRANSFER-eNCODING: cHUNKED", body=END + SECOND),
    "CL.0 by Connection": post(b"Connection: Content-Length", LENGTH, CHUNKED, body=END + SECOND),
    # a Transfer-Encoding that one of two does not see
    "TE.TE": post(CHUNKED, b"Transfer-Encoding: x", body=END + SECOND),
    "TE.TE the other way": post(b"Transfer-Encoding: identity", CHUNKED, body=END + SECOND),
    "TE twice": post(CHUNKED, CHUNKED, body=END + SECOND),
    "TE xchunked": post(LENGTH, b"Transfer-Encoding: xchunked"),
    "TE blank before the colon": post(LENGTH, b"Transfer-Encoding : chunked"),
    "TE tab before the colon": post(LENGTH, b"Transfer-Encoding\t: chunked"),
    "TE vertical tab before the colon": post(LENGTH, b"Transfer-Encoding\x0b: chunked"),
    "TE behind a blank": post(LENGTH, b" Transfer-Encoding: chunked"),
    "TE folded": post(LENGTH, b"Transfer-Encoding:", b" chunked"),
    "TE name broken by a line end": post(LENGTH, b"Transfer-Encoding", b": chunked"),
    "TE behind a bare LF": post(LENGTH, b"X: y\nTransfer-Encoding: chunked"),
    "TE behind a bare CR": post(LENGTH, b"X: y\rTransfer-Encoding: chunked"),
    "TE behind CRLF CR": post(LENGTH, b"X: y\r\n\rTransfer-Encoding: chunked"),
    "TE without a colon": post(LENGTH, b"Transfer-Encoding chunked"),
    "TE with NUL": post(b"Transfer-Encoding: chunked\x00", body=END),
    "TE name with NUL": post(LENGTH, b"Transfer-Encoding\x00: chunked"),
    "TE with vertical tab": post(b"Transfer-Encoding: \x0bchunked", body=END),
    "TE with form feed": post(b"Transfer-Encoding: chunked\x0c", body=END),
    "TE with no-break space": post(b"Transfer-Encoding: \xa0chunked", body=END),
    "TE with next line": post(b"Transfer-Encoding: chunked\x85", body=END),
    "TE with the Kelvin sign": post("Transfer-Encoding: chun\u212aed".encode(), body=END),
    "TE quoted": post(b'Transfer-Encoding: "chunked"', body=END),
    "TE with a comma": post(b"Transfer-Encoding: ,chunked", body=END),
    "TE with a parameter": post(b"Transfer-Encoding: chunked;a=b", body=END),
    "TE chunked, identity": post(b"Transfer-Encoding: chunked, identity", body=END),
    "TE in HTTP/1.0": post(CHUNKED, body=END).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    # a length that is another number to another reader
    "CL.CL": post(LENGTH, b"Content-Length: 0"),
    "CL list": post(b"Content-Length: 5, 0"),
    "CL plus": post(b"Content-Length: +5"),
    "CL minus": post(b"Content-Length: -5"),
    "CL hexadecimal": post(b"Content-Length: 0x5"),
    "CL with an underscore": post(b"Content-Length: 1_0"),
    "CL exponent": post(b"Content-Length: 5e0"),
    "CL fraction": post(b"Content-Length: 5.0"),
    "CL Arabic digit": post("Content-Length: \u0665".encode()),
    "CL past 64 bits": post(b"Content-Length: 18446744073709551621"),
    "CL empty": post(b"Content-Length: "),
    "CL folded": post(b"Content-Length: 5", b" 0"),
    "CL with vertical tab": post(b"Content-Length: 5\x0b"),
    "CL with NUL": post(b"Content-Length: 5\x000"),
    "CL name with a blank": post(b"Content-Length : 5"),
    "CL name with no-break space": post(b"Content-Length\xa0: 5"),
    "CL behind the first line's blank": b"POST / HTTP/1.1\r\n Content-Length: 5\r\nHost: a\r\n\r\nhello" + SECOND,
    # chunks that end elsewhere for another reader
    "chunk size 0x": chunked(b"0x5\r\nhello\r\n" + END),
    "chunk size plus": chunked(b"+5\r\nhello\r\n" + END),
    "chunk size minus": chunked(b"-1\r\nhello\r\n" + END),
    "chunk size with an underscore": chunked(b"0_5\r\nhello\r\n" + END),
    "chunk size past 64 bits": chunked(b"10000000000000005\r\nhello\r\n" + END),
    "chunk size followed by a blank": chunked(b"5 \r\nhello\r\n" + END),
    "chunk size with LF": chunked(b"5\nhello\r\n" + END),
    "chunk size with CR": chunked(b"5\rXhello\r\n" + END),
    "chunk extension with LF": chunked(b"5;\nX\r\nhello\r\n" + END),
    "chunk extension with CR": chunked(b"5;a\rX\r\nhello\r\n" + END),
    "chunk data too long": chunked(b"5\r\nhelloXX0\r\n\r\n"),
    "chunk data with LF": chunked(b"5\r\nhello\n" + END),
    "last chunk with LF": chunked(b"0\n\n"),
    "trailer with LF": chunked(b"0\r\nX: y\n\r\n"),
    "trailer with CR": chunked(b"0\r\n\rX: y\r\n\r\n"),
    # a request line that is another
    "LF for CRLF": get().replace(b"\r\n", b"\n"),
    "CR for CRLF": get().replace(b"\r\n", b"\r") + b"\r\n\r\n",
    "no version": get(b"GET /"),
    "HTTP/0.9 and then a request": b"GET /\r\n" + SECOND,
    "tabs for blanks": get(b"GET\t/\tHTTP/1.1"),
    "form feed for a blank": get(b"GET\x0c/ HTTP/1.1"),
    "two blanks": get(b"GET  / HTTP/1.1"),
    "NUL in the method": get(b"GE\x00T / HTTP/1.1"),
    "NUL in the target": get(b"GET /\x00 HTTP/1.1"),
    "a second request in the target": get(b"GET / HTTP/1.1\r\n\tX: GET /admin HTTP/1.1"),
    "a version and more": get(b"GET / HTTP/1.1X"),
    "a version with a sign": get(b"GET / HTTP/+1.1"),
    "a response": b"HTTP/1.1 200 OK\r\nHost: a\r\n\r\n",
    "a proxy's tunnel": get(b"CONNECT a:443 HTTP/1.1"),
    "byte order mark": b"\xef\xbb\xbf" + get(),
    # a Host that is another
    "two Host": get(host=b"Host: a\r\nHost: b\r\n"),
    "Host behind a blank": get(host=b"Host: a\r\n Host: b\r\n"),
    "Host with a blank before its colon": get(host=b"Host : a\r\n"),
    "Host with userinfo": get(host=b"Host: a@b\r\n"),
    "Host with a path": get(host=b"Host: a/b\r\n"),
    "Host and another in the target": get(b"GET http://b/ HTTP/1.1"),
    "userinfo in the target": get(b"GET http://a@b/ HTTP/1.1"),
    "no Host": get(host=b""),
    # names and expectations
    "name with a control byte": post(b"X\x01: y", LENGTH),
    "name with 8 bits": post(b"X\xad: y", LENGTH),
    "name empty": post(b": y", LENGTH),
    "value with NUL": post(b"X: \x00", LENGTH),
    "Expect obscured": post(LENGTH, b"Expect: y 100-continue"),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_none_is_forwarded(sent: bytes) -> None:
    """Of a body that is malformed later on, a node may have seen a beginning: a request without end, which is reset."""
    lb = http(underscores=Underscores.KEEP)
    accepted = lb.accepted[0]
    for pieces in every_way(sent):
        client = lb.client()
        for piece in pieces:
            client.send(piece)
            lb.pump()
        assert status_of(client.received) in (400, 405, 417, 501)
        assert client.received.count(b"HTTP/1.1") == 1
        for node in accepted:
            assert pieces != [sent]
            assert node.was_reset
            assert not seen_whole(bytes(node.received))
            assert b"smuggled" not in node.received
        client.close()
        lb.pump()
        accepted.clear()
    lb.check_at_rest()


def seen_whole(data: bytes) -> bool:
    """Whether a node sees the end of the request in ``data``, which is nothing more than that, with one framing and our fields."""
    node = h11.Connection(h11.SERVER)
    node.receive_data(data)
    request = node.next_event()
    if request is h11.NEED_DATA:
        return False
    assert isinstance(request, h11.Request)
    names = [name for name, _ in request.headers]
    assert names.count(b"x-forwarded-for") == names.count(b"x-forwarded-proto") == names.count(b"connection") == 1
    assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
    while isinstance(event := node.next_event(), h11.Data):
        pass
    assert node.trailing_data == (b"", False)
    return isinstance(event, h11.EndOfMessage)


GOOD = [
    post(LENGTH),
    chunked(b"5\r\nhello\r\n" + END),
    get(),
    SECOND,
    post(b"X_A: b", b"Connection: X-A", LENGTH),
    END,
    b"\r\n",
]
MESSAGES = st.sampled_from([*MALFORMED.values(), *GOOD])


@st.composite
def crossed(draw: st.DrawFn) -> bytes:
    """The beginning of one message and the end of another, with bytes changed, put in or taken out."""
    one, other = draw(MESSAGES), draw(MESSAGES)
    data = one[: draw(st.integers(0, len(one)))] + other[draw(st.integers(0, len(other))) :]
    for place, byte in draw(st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=1)), max_size=3)):
        at = place % (len(data) + 1)
        data = data[:at] + byte + data[at + place % 2 :]
    return data


@settings(max_examples=300)
@given(crossed(), st.sampled_from([None, 1, [3, 50]]), st.sampled_from(Underscores))
def test_a_node_sees_one_request_or_the_beginning_of_one(data: bytes, pieces: Any, underscores: Underscores) -> None:
    """With one framing and our fields, whatever a client sends; and the pieces it comes in change nothing."""
    lb = http(pieces=pieces, underscores=underscores)
    client = lb.client(data)
    assert len(lb.accepted[0]) <= 1
    for node in lb.accepted[0]:
        whole = seen_whole(bytes(node.received))
        assert not client.received or (node.was_reset and not whole)
    client.close()
    lb.pump()
    lb.advance(300)
    lb.check_at_rest()
