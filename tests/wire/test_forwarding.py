"""Heads as they leave us, byte for byte."""

from __future__ import annotations

import ipaddress

import pytest

from nodebalancer.errors import MessageError
from nodebalancer.model import Underscores
from nodebalancer.wire.forwarding import Forwarding
from nodebalancer.wire.http1.head import RequestHead, ResponseHead, parse_request, parse_response

CLIENT = "192.0.2.7"
DATE = b"Fri, 21 Nov 2025 06:29:00 GMT"
OURS = (b"X-Forwarded-For: 192.0.2.7", b"X-Forwarded-Proto: http", b"Connection: close")
TRUSTED = (ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/32"))


def forwarding(underscores: Underscores = Underscores.DROP, *, trusting: bool = False) -> Forwarding:
    return Forwarding(
        proto=b"http",
        underscores=underscores,
        upgrades=frozenset({b"websocket"}),
        trusted=TRUSTED if trusting else (),
    )


def head(*lines: bytes) -> bytes:
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def request(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a.example") -> RequestHead:
    parsed = parse_request(head(line, *filter(None, [host]), *fields))
    assert parsed is not None
    return parsed


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    parsed = parse_response(head(line, *fields), b"GET")
    assert parsed is not None
    return parsed


def forwarded(*fields: bytes, by: Forwarding, client: str = CLIENT) -> list[bytes]:
    """The lines between Host and X-Forwarded-Proto."""
    lines = by.request(request(*fields), client).split(b"\r\n")
    assert lines[:2] == [b"GET / HTTP/1.1", b"Host: a.example"]
    assert lines[-4:] == [b"X-Forwarded-Proto: http", b"Connection: close", b"", b""]
    return lines[2:-4]


def test_a_request_is_written_anew() -> None:
    sent = request(
        b"accept:*/* ", b"content-length: 005", b"Connection: keep-alive", b"X-One: 1", line=b"PUT /a HTTP/1.1"
    )
    assert forwarding().request(sent, CLIENT) == head(
        b"PUT /a HTTP/1.1", b"Host: a.example", b"accept: */*", b"X-One: 1", b"Content-Length: 5", *OURS
    )


def test_http_1_0_is_forwarded_as_such() -> None:
    plain = request(line=b"GET / HTTP/1.0", host=b"")
    assert forwarding().request(plain, CLIENT) == head(b"GET / HTTP/1.0", *OURS)
    named = request(b"Expect: 100-continue", line=b"GET / HTTP/1.0")
    assert forwarding().request(named, CLIENT) == head(b"GET / HTTP/1.0", b"Host: a.example", *OURS)


def test_https_is_told() -> None:
    https = Forwarding(proto=b"https", underscores=Underscores.DROP, upgrades=frozenset())
    assert b"\r\nX-Forwarded-Proto: https\r\n" in https.request(request(b"X-Forwarded-Proto: http"), CLIENT)


CLAIMS = (b"X-Forwarded-For: 1.1.1.1, 2.2.2.2", b"Forwarded: for=x", b"X-Real-IP: x", b"x-forwarded-host: x",
          b"X-FORWARDED-FOR: 3.3.3.3", b"X-Forwarded-Proto: https", b"X-Forwarded-For:")  # fmt: skip


@pytest.mark.parametrize("client", ["192.0.2.7", "2001:db8::7"])
def test_what_a_trusted_proxy_says_of_its_client_is_believed(client: str) -> None:
    """Its list comes in one line, with its own address at the end; the protocol is told by us all the same."""
    for _ in range(2):
        assert forwarded(*CLAIMS, by=forwarding(trusting=True), client=client) == [
            b"Forwarded: for=x",
            b"X-Real-IP: x",
            b"x-forwarded-host: x",
            b"X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, " + client.encode(),
        ]


@pytest.mark.parametrize("client", ["198.51.100.7", "2001:db9::7"])
@pytest.mark.parametrize("trusting", [True, False])
def test_what_anyone_else_says_of_itself_is_dropped(client: str, trusting: bool) -> None:
    lines = forwarded(*CLAIMS, by=forwarding(trusting=trusting), client=client)
    assert lines == [b"X-Forwarded-For: " + client.encode()]


def test_a_trusted_proxy_may_say_nothing() -> None:
    assert forwarded(by=forwarding(trusting=True)) == [b"X-Forwarded-For: 192.0.2.7"]


def test_connection_cannot_remove_what_is_added() -> None:
    lines = forwarded(b"Connection: close, X-Forwarded-For, X-Forwarded-Proto, Host", by=forwarding())
    assert lines == [b"X-Forwarded-For: 192.0.2.7"]


@pytest.mark.parametrize(
    ("underscores", "kept"), [(Underscores.DROP, []), (Underscores.KEEP, [b"X_One: 1"])], ids=["drop", "keep"]
)
def test_underscores_are_dropped_or_kept_but_never_those_that_imitate(
    underscores: Underscores, kept: list[bytes]
) -> None:
    fields = (b"X_One: 1", b"X_Forwarded_For: 1.1.1.1", b"content_length: 5", b"X-Real_IP: x", b"X.Forwarded-For: 1")
    assert forwarded(*fields, by=forwarding(underscores)) == [*kept, b"X-Forwarded-For: 192.0.2.7"]


@pytest.mark.parametrize("field", [b"X_One: 1", b"X_Forwarded_For: 1.1.1.1"])
def test_underscores_may_be_refused(field: bytes) -> None:
    with pytest.raises(MessageError, match="underscore") as caught:
        forwarding(Underscores.REJECT).request(request(field), CLIENT)
    assert caught.value.status == 400


def test_an_allowed_upgrade_is_forwarded() -> None:
    sent = request(b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket", b"Sec-WebSocket-Key: x")
    assert forwarding().upgrading(sent)
    assert forwarding().request(sent, CLIENT) == head(
        b"GET / HTTP/1.1",
        b"Host: a.example",
        b"Sec-WebSocket-Key: x",
        *OURS[:2],
        b"Connection: upgrade",
        b"Upgrade: websocket",
    )


@pytest.mark.parametrize("fields", [[], [b"Upgrade: websocket"], [b"Upgrade: h2c", b"Connection: upgrade"]])
def test_no_other_upgrade_is(fields: list[bytes]) -> None:
    assert not forwarding().upgrading(request(*fields))
    assert forwarded(*fields, by=forwarding()) == [b"X-Forwarded-For: 192.0.2.7"]


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_no_upgrade_is_forwarded_with_a_body(framing: bytes) -> None:
    sent = request(b"Connection: upgrade", b"Upgrade: websocket", framing)
    assert not forwarding().upgrading(sent)
    assert b"pgrade" not in forwarding().request(sent, CLIENT)
    assert forwarding().upgrading(request(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 0"))


GOOD_ID, NEW_ID = b"aZ9._-" + b"x" * 58, b"4bf92f3577b34da6"


@pytest.mark.parametrize("name", [b"X-Request-ID", b"x-request-id", b"X-REQUEST-ID"])
@pytest.mark.parametrize("trusting", [True, False])
def test_a_good_request_id_is_kept_whoever_sent_it(name: bytes, trusting: bool) -> None:
    """And no other is made in its place; nor can Connection remove it."""
    by = forwarding(trusting=trusting)
    for fields in ([], [b"A: b", b"Connection: x-request-id"]):
        sent = request(*fields, name + b": " + GOOD_ID)
        assert sent.request_id == GOOD_ID
        for new_id in (b"", NEW_ID):
            lines = by.request(sent, CLIENT, new_id).split(b"\r\n")
            assert [line for line in lines if line.lower().startswith(name.lower())] == [b"X-Request-ID: " + GOOD_ID]


BAD_IDS = [
    [],
    [b""],
    [b"x" * 65],
    [b"a b"],
    [b"a/b"],
    [b"a\xe4"],
    [b'a"b'],
    [b"a,b"],
    [b"a", b"a"],
    [b"a", b"b", b"c"],
    [b"", b"a"],
]


@pytest.mark.parametrize("values", BAD_IDS, ids=map(str, BAD_IDS))
def test_any_other_is_dropped_and_one_may_be_made(values: list[bytes]) -> None:
    sent = request(*(b"X-Request-ID: " + value for value in values))
    assert not sent.request_id
    assert b"X-Request-ID" not in forwarding().request(sent, CLIENT)
    assert forwarding().request(sent, CLIENT, NEW_ID) == head(
        b"GET / HTTP/1.1", b"Host: a.example", b"X-Request-ID: " + NEW_ID, *OURS
    )


def test_a_look_alike_of_a_request_id_is_dropped() -> None:
    assert b"111" not in forwarding(Underscores.KEEP).request(request(b"X_Request_ID: 111"), CLIENT)


def test_max_forwards_is_counted_down() -> None:
    sent = request(b"Max-Forwards: 010", line=b"OPTIONS * HTTP/1.1")
    assert b"\r\nMax-Forwards: 9\r\n" in forwarding().request(sent, CLIENT)


def test_a_response_is_written_anew() -> None:
    answered = response(b"server:x", b"Date: now", b"Connection: keep-alive", b"Content-Length: 05", b"Set-Cookie: a=b")
    assert forwarding().response(answered, request(), lambda: DATE) == head(
        b"HTTP/1.1 200 OK", b"server: x", b"Date: now", b"Set-Cookie: a=b", b"Content-Length: 5", b"Connection: close"
    )


def test_a_response_without_date_gets_one() -> None:
    answered = response(line=b"HTTP/1.0 404 Not Found")
    assert forwarding().response(answered, request(), lambda: DATE) == head(
        b"HTTP/1.1 404 Not Found", b"Date: " + DATE, b"Connection: close"
    )


def test_chunks_are_for_clients_that_know_them() -> None:
    answered = response(b"Transfer-Encoding: chunked", b"Date: now")
    assert forwarding().response(answered, request(), lambda: DATE) == head(
        b"HTTP/1.1 200 OK", b"Date: now", b"Transfer-Encoding: chunked", b"Connection: close"
    )
    old = request(line=b"GET / HTTP/1.0")
    assert forwarding().response(answered, old, lambda: DATE) == head(
        b"HTTP/1.1 200 OK", b"Date: now", b"Connection: close"
    )


def test_interim_responses_pass() -> None:
    assert forwarding().interim(response(line=b"HTTP/1.1 100 Continue")) == head(b"HTTP/1.1 100 Continue")
    hints = response(b"Link: </a>", b"Content-Length: 5", b"Connection: close", line=b"HTTP/1.1 103 Early Hints")
    assert forwarding().interim(hints) == head(b"HTTP/1.1 103 Early Hints", b"Link: </a>")


def test_a_switch_passes_with_its_protocol() -> None:
    switch = response(b"Upgrade: WebSocket", b"Connection: upgrade", b"A: b", line=b"HTTP/1.1 101 Switching Protocols")
    assert forwarding().switching(switch) == head(
        b"HTTP/1.1 101 Switching Protocols", b"A: b", b"Connection: upgrade", b"Upgrade: websocket"
    )
