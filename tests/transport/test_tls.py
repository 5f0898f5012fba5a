"""The codec alone, one end in each hand; the contract tests have what engines make of it."""

from __future__ import annotations

import contextlib

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from nodebalancer.errors import HandshakeError
from nodebalancer.testing.secure_peers import Authority
from nodebalancer.transport.tls import BUFFER_BYTES, TLSCodec, handshake_failure

MUCH = bytes(range(256)) * 1024
"""More than OpenSSL hands out at once."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def pair(
    authority: Authority, version: int, mode: int = SSL.MODE_RELEASE_BUFFERS, early: bytes = b""
) -> tuple[TLSCodec, SSL.Connection]:
    """A codec and a client that have shaken hands; the client says ``early`` in the same breath (TLS 1.3)."""
    codec = TLSCodec(authority.server(adjust=lambda context: context.set_mode(mode)).context())
    client = SSL.Connection(authority.client(version))
    client.set_connect_state()
    done = False
    while not (done and codec.established):
        with contextlib.suppress(SSL.WantReadError):
            client.do_handshake()
            if early and not done and version == SSL.TLS1_3_VERSION:
                client.send(early)
            done = True
        with contextlib.suppress(SSL.WantReadError):
            codec.feed(client.bio_read(BUFFER_BYTES))
        if not codec.established:
            codec.shake()
        if (out := codec.take()) and not done:
            client.bio_write(out)
    return codec, client


def received(client: SSL.Connection, ciphertext: bytes) -> bytes:
    client.bio_write(ciphertext)
    data = b""
    with contextlib.suppress(SSL.WantReadError, SSL.ZeroReturnError):
        while True:
            data += client.recv(BUFFER_BYTES)
    return data


@pytest.mark.parametrize(
    "mode", [SSL.MODE_RELEASE_BUFFERS, lib.SSL_MODE_ENABLE_PARTIAL_WRITE], ids=["usual", "partial"]
)
def test_everything_is_encrypted_whatever_the_mode(authority: Authority, mode: int) -> None:
    codec, client = pair(authority, SSL.TLS1_2_VERSION, mode)
    codec.write(memoryview(MUCH))
    ciphertext = codec.take()
    assert len(ciphertext) > len(MUCH)
    assert codec.take() == b""
    assert received(client, ciphertext) == MUCH


def test_a_record_comes_in_the_pieces_that_are_asked_for(authority: Authority) -> None:
    codec, client = pair(authority, SSL.TLS1_3_VERSION)
    assert codec.read(10) is None
    client.send(b"hello, world")
    ciphertext = client.bio_read(BUFFER_BYTES)
    codec.feed(ciphertext[:5])
    assert codec.read(10) is None
    codec.feed(ciphertext[5:])
    assert codec.read(5) == b"hello"
    assert codec.read(10 * BUFFER_BYTES) == b", world"
    assert codec.read(10) is None
    client.shutdown()
    codec.feed(client.bio_read(BUFFER_BYTES))
    assert codec.read(10) == b""


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])
@pytest.mark.parametrize("early", [b"", b"GET"], ids=["alone", "with data"])
def test_only_tickets_may_wait_and_only_for_the_answer_to_what_came_along(
    authority: Authority, version: int, early: bytes
) -> None:
    """A client with Nagle's algorithm keeps its request until the end of its handshake is acknowledged."""
    codec, _ = pair(authority, version, early=early)
    assert codec.prompt == (version == SSL.TLS1_2_VERSION or not early)


def test_a_broken_connection_writes_no_more(authority: Authority) -> None:
    codec, _ = pair(authority, SSL.TLS1_3_VERSION)
    codec.feed(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(SSL.Error):
        codec.read(10)
    with pytest.raises(SSL.Error):
        codec.write(b"anybody there?")
    codec.close()


def test_closing_before_the_handshake_leaves_no_error_behind(authority: Authority) -> None:
    codec = TLSCodec(authority.server().context())
    codec.close()
    assert codec.take() == b""
    assert lib.ERR_peek_error() == 0


def test_callbacks_of_pyopenssl_are_called_and_what_they_raise_is_why(authority: Authority) -> None:
    def refuse(connection: SSL.Connection, offered: list[bytes]) -> bytes:
        raise SSL.Error([("", "", f"not {offered[0].decode()}")])

    codec = TLSCodec(authority.server(adjust=lambda context: context.set_alpn_select_callback(refuse)).context())
    context = authority.client()
    context.set_alpn_protos([b"h2"])
    client = SSL.Connection(context)
    client.set_connect_state()
    with contextlib.suppress(SSL.WantReadError):
        client.do_handshake()
    codec.feed(client.bio_read(BUFFER_BYTES))
    with pytest.raises(SSL.Error, match="not h2"):
        codec.shake()


@pytest.mark.parametrize("size", [5, 100])
def test_whether_there_is_more_counts_what_openssl_keeps(authority: Authority, size: int) -> None:
    codec, client = pair(authority, SSL.TLS1_2_VERSION)
    client.send(b"hello world")
    record = client.bio_read(BUFFER_BYTES)
    codec.feed(record[:7])
    assert codec.read(size) is None
    codec.feed(record[7:])
    assert codec.has_more()
    assert codec.read(size) == b"hello world"[:size]
    assert codec.has_more() == (size < 11)


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ([("SSL routines", "", "https proxy request")], "a plain HTTP request"),
        ([("SSL routines", "", "first"), ("SSL routines", "", "no shared cipher")], "no shared cipher"),
        ([("SSL routines", "", "ssl/tls alert bad certificate")], "the peer refused: bad certificate"),
        ([], "no reason given"),
        ("Unexpected EOF", "no reason given"),
    ],
)
def test_why_a_handshake_failed_in_plain_words(told: object, reason: str) -> None:
    failure = handshake_failure(SSL.Error(told))
    assert isinstance(failure.value, HandshakeError)
    assert failure.value.reason == reason
    assert failure.value.__traceback__ is None


def test_an_error_without_words() -> None:
    assert str(handshake_failure(SSL.Error()).value) == "no reason given"
