"""Chunked bodies: what is read, what is refused, whatever the pieces they come in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import MessageError
from nodebalancer.testing.exchanges import every_way
from nodebalancer.wire.http1.body import EXTENSION_BYTES_MAX, LAST_CHUNK, ChunkedReader, chunk
from nodebalancer.wire.http1.head import FIELDS_BYTES_MAX, FIELDS_MAX

END = b"0\r\n\r\n"


def read(pieces: Sequence[bytes]) -> tuple[bytes, bytes, bool]:
    """Payload, what follows the body, and whether it was whole."""
    reader = ChunkedReader()
    payload, left = b"", list(pieces)
    while left and not reader.done:
        payload += reader.feed(left.pop(0))
    return payload, reader.rest + b"".join(left), reader.done


def single(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


READ = {
    "nothing": (END, b""),
    "one chunk": (b"5\r\nhello\r\n" + END, b"hello"),
    "two chunks": (b"5\r\nhello\r\n1\r\n!\r\n" + END, b"hello!"),
    "hex": (b"0a\r\n0123456789\r\nB\r\n0123456789a\r\n" + END, b"01234567890123456789a"),
    "line ends in the data": (b"6\r\n\r\n0\r\n\r\r\n" + END, b"\r\n0\r\n\r"),
    "fifteen digits": (b"000000000000001\r\nx\r\n" + END, b"x"),
    "many zeros at the end": (b"1\r\nx\r\n0000\r\n\r\n", b"x"),
    "extension": (b"1;a\r\nx\r\n0;b=c\r\n\r\n", b"x"),
    "extensions": (b"1;a;b=c;d=\"e\"\r\nx\r\n" + END, b"x"),
    "quoted extension": (b'1;a="b;\\"c\\\\ \t\xff"\r\nx\r\n' + END, b"x"),
    "blanks around an extension's signs": (b"1 ; a\t=\t\"b\"\r\nx\r\n" + END, b"x"),
    "trailers": (b"1\r\nx\r\n0\r\nA: b\r\nContent-Length:5\r\n\r\n", b"x"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "payload"), READ.values(), ids=READ)
def test_the_payload_alone_comes_out(data: bytes, payload: bytes) -> None:
    for pieces in every_way(data + b"GET /"):
        assert read(pieces) == (payload, b"GET /", True)


@pytest.mark.parametrize(("data", "payload"), READ.values(), ids=READ)
def test_a_body_that_breaks_off_is_not_done(data: bytes, payload: bytes) -> None:
    for cut in range(len(data)):
        assert not read([data[:cut]])[2]


REFUSED = {
    "size +5": b"+5\r\nhello\r\n",
    "size -5": b"-5\r\nhello\r\n",
    "size 0x5": b"0x5\r\nhello\r\n",
    "size 1_0": b"1_0\r\nhellohellohello!\r\n",
    "size with a blank before": b" 5\r\nhello\r\n",
    "size with a blank after": b"5 \r\nhello\r\n",
    "size with a tab after": b"5\t\r\nhello\r\n",
    "size empty": b"\r\nhello\r\n",
    "size no number": b"x\r\nhello\r\n",
    "size of 16 digits": b"0000000000000005\r\nhello\r\n",
    "size with 8 bits": b"\xb2\r\nhello\r\n",
    "size line with LF": b"5\nhello\r\n",
    "size line with CR CR LF": b"5\r\r\nhello\r\n",
    "bare ;": b"5;\r\nhello\r\n",
    "bare ; in the middle": b"5;;a\r\nhello\r\n",
    "blank for a name": b"5; =a\r\nhello\r\n",
    "extension without value": b"5;a=\r\nhello\r\n",
    "extension with a control byte": b"5;a\x00\r\nhello\r\n",
    "extension with a control byte in quotes": b'5;a="\x01"\r\nhello\r\n',
    "extension with a bare CR": b"5;a=\r1\r\nhello\r\n",
    "extension with a bare LF": b"5;a\nb\r\nhello\r\n",
    "quote open": b'5;a="b\r\nhello\r\n',
    "quote escaped": b'5;a="b\\"\r\nhello\r\n',
    "quote closed twice": b'5;a="b"c"\r\nhello\r\n',
    "data longer": b"5\r\nhelloo\r\n",
    "data without CRLF": b"5\r\nhello0\r\n",
    "data with LF": b"5\r\nhello\n0\r\n",
    "data with CR and more": b"5\r\nhello\rX\n",
    "last chunk with LF": b"0\n\n",
    "end with LF": b"0\r\n\n",
    "trailer with LF": b"0\r\nA: b\n\r\n",
    "trailer with a fold": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailer with a blank before the colon": b"0\r\nA : b\r\n\r\n",
    "trailer without colon": b"0\r\nA\r\n\r\n",
    "trailer with a control byte": b"0\r\nA: \x00\r\n\r\n",
    "trailer without name": b"0\r\n: b\r\n\r\n",
    "a request instead of trailers": b"0\r\nGET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_breaks_a_rule_is_refused(data: bytes) -> None:
    for pieces in every_way(data):
        with pytest.raises(MessageError, match="RFC") as caught:
            read(pieces)
        assert caught.value.status == 400


def test_data_that_goes_on_is_refused_at_its_first_byte() -> None:
    reader = ChunkedReader()
    assert reader.feed(b"1\r\nx") == b"x"
    with pytest.raises(MessageError):
        reader.feed(b"y")


def test_extensions_of_4_kib_are_enough_for_one_body() -> None:
    half = b"1;" + b"a" * (EXTENSION_BYTES_MAX // 2 - 1) + b"\r\nx\r\n"
    assert read([half + half + END]) == (b"xx", b"", True)
    for pieces in ([half + half + b"0;a\r\n\r\n"], single(half + half + b"0;a\r\n\r\n")):
        with pytest.raises(MessageError, match="extensions"):
            read(pieces)


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    for begin, most in ((b"000000000000001;", EXTENSION_BYTES_MAX + 15), (b"0\r\nA: ", FIELDS_BYTES_MAX + 1)):
        reader = ChunkedReader()
        reader.feed(begin + b"a" * (most - len(begin)))
        reader.feed(b"\r")
        with pytest.raises(MessageError):
            reader.feed(b"a")


def test_trailers_of_16_kib_or_100_lines_are_enough() -> None:
    assert read([b"0\r\n" + b"A: b\r\n" * FIELDS_MAX + b"\r\n"])[2]
    with pytest.raises(MessageError, match="trailers"):
        read([b"0\r\n" + b"A: b\r\n" * (FIELDS_MAX + 1)])
    line = b"A: " + b"b" * (FIELDS_BYTES_MAX // 2 - 5) + b"\r\n"
    assert read([b"0\r\n" + line * 2 + b"\r\n"])[2]
    with pytest.raises(MessageError, match="trailers"):
        read([b"0\r\n" + line * 2 + b"A: b\r\n"])


def test_a_piece_within_a_chunk_is_not_copied() -> None:
    reader, piece = ChunkedReader(), b"x" * 1000
    reader.feed(b"7d1\r\n")
    assert reader.feed(piece) is piece
    assert reader.feed(piece) is piece
    assert reader.feed(b"x\r\n" + END) == b"x"
    assert reader.done


def test_what_chunk_writes_is_read_again() -> None:
    assert read([chunk(b"a" * 255) + chunk(b"b") + LAST_CHUNK]) == (b"a" * 255 + b"b", b"", True)
    assert chunk(b"a" * 255).startswith(b"ff\r\n")


def test_h11_reads_what_is_written() -> None:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    peer.receive_data(chunk(b"hello") + chunk(b"!") + LAST_CHUNK)
    events: list[object] = []
    while not events or type(events[-1]) is not h11.EndOfMessage:
        events.append(peer.next_event())
    assert b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data)) == b"hello!"


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(places)]


CUTS = st.lists(st.integers(0, 200), max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5), CUTS)
def test_any_payload_in_any_pieces(payloads: list[bytes], cuts: list[int]) -> None:
    data = b"".join(map(chunk, payloads)) + LAST_CHUNK + b"rest"
    assert read(pieces_of(data, cuts)) == (b"".join(payloads), b"rest", True)


ODDS = st.sampled_from(
    [b"5", b"0", b"\r\n", b"\r", b"\n", b";", b"=", b'"', b"\\", b" ", b"hello", b"a", b":", b"\x00"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ODDS | st.binary(max_size=2), max_size=12).map(b"".join), CUTS)
def test_nothing_but_a_refusal_is_raised(data: bytes, cuts: list[int]) -> None:
    """And the pieces make no difference to what a body is."""

    def outcome(pieces: list[bytes]) -> object:
        try:
            payload, rest, done = read(pieces)
        except MessageError:
            return "refused"
        return (payload, rest) if done else "more"

    whole = outcome([data])
    assert outcome(pieces_of(data, cuts)) == whole
    assert outcome(single(data)) == whole
