"""What TLS is spoken (R10, R12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from nodebalancer.certificates.contexts import make_context
from nodebalancer.certificates.pair import pair_of
from nodebalancer.errors import CertificateError
from nodebalancer.model import CipherSuite

Issue = Callable[..., Any]
Shake = Callable[..., SSL.Connection]

RECOMMENDED, LEGACY = CipherSuite.RECOMMENDED, CipherSuite.LEGACY
VERSIONS = {
    "TLSv1": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}


def suites(context: SSL.Context) -> list[str]:
    """Of TLS 1.2 and older, in the order of preference."""
    return [name for name in SSL.Connection(context, None).get_cipher_list() if not name.startswith("TLS_")]


@pytest.mark.parametrize("is_rsa", [False, True])
@pytest.mark.parametrize("version", VERSIONS)
def test_recommended_lets_in_clients_of_tls_1_2_and_newer_and_legacy_all(
    issue: Issue, shake: Shake, version: str, is_rsa: bool
) -> None:
    pair = issue(rsa=is_rsa).pair
    assert shake(make_context(pair, LEGACY, "a/b"), version=VERSIONS[version]).get_protocol_version_name() == version
    recommended = make_context(pair, RECOMMENDED, "a/b")
    if version in ("TLSv1.2", "TLSv1.3"):
        assert shake(recommended, version=VERSIONS[version]).get_protocol_version_name() == version
    else:
        with pytest.raises(SSL.Error):
            shake(recommended, version=VERSIONS[version])


@pytest.mark.parametrize("suite", CipherSuite)
def test_no_suite_is_anonymous_or_weak(issue: Issue, suite: CipherSuite) -> None:
    bad = ("ADH", "AECDH", "EXP", "RC4", "DES", "NULL", "MD5", "PSK", "SRP")
    assert [
        name for name in suites(make_context(issue().pair, suite, "a/b")) if any(word in name for word in bad)
    ] == []


def test_recommended_prefers_forward_secrecy(issue: Issue) -> None:
    secret = [name.startswith("ECDHE-") for name in suites(make_context(issue().pair, RECOMMENDED, "a/b"))]
    assert secret == sorted(secret, reverse=True)


@pytest.mark.parametrize(
    ("version", "chosen"), [("TLSv1.2", "ECDHE-RSA-AES128-GCM-SHA256"), ("TLSv1.3", "TLS_AES_128_GCM_SHA256")]
)
def test_the_order_of_suites_is_ours(issue: Issue, shake: Shake, version: str, chosen: str) -> None:
    """The client of this test prefers AES-256."""
    client = shake(make_context(issue(rsa=True).pair, RECOMMENDED, "a/b"), version=VERSIONS[version])
    assert client.get_cipher_name() == chosen


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [
        (None, b""),
        ([b"http/1.1"], b"http/1.1"),
        ([b"h2", b"http/1.1"], b"http/1.1"),
        ([b"http/1.0", b"http/1.1"], b"http/1.1"),
        ([b"http/1.0"], b"http/1.0"),
    ],
)
def test_http_1_1_is_chosen_when_it_is_offered(
    issue: Issue, shake: Shake, offered: list[bytes] | None, spoken: bytes
) -> None:
    context = make_context(issue().pair, RECOMMENDED, "a/b")
    assert shake(context, protocols=offered).get_alpn_proto_negotiated() == spoken


def test_a_client_that_speaks_none_of_our_protocols_is_told_so(issue: Issue, shake: Shake) -> None:
    """RFC 7301, 3.2; what the server's side raises is an SSL.Error like any other failed handshake's."""
    context = make_context(issue().pair, RECOMMENDED, "a/b")
    with pytest.raises(SSL.Error, match="no application protocol"):
        shake(context, protocols=[b"h2"])
    assert shake(context, protocols=[b"http/1.1"]).get_alpn_proto_negotiated() == b"http/1.1"


@pytest.mark.parametrize(
    ("version", "options"),
    [(SSL.TLS1_2_VERSION, SSL.OP_NO_TICKET), (SSL.TLS1_2_VERSION, 0), (SSL.TLS1_3_VERSION, 0)],
    ids=["session ids of TLS 1.2", "tickets of TLS 1.2", "tickets of TLS 1.3"],
)
@pytest.mark.parametrize("suite", CipherSuite)
def test_sessions_are_resumed(
    issue: Issue, shake: Shake, reused: Callable[[SSL.Connection], bool], suite: CipherSuite, version: int, options: int
) -> None:
    context = make_context(issue().pair, suite, "a/b")
    first = shake(context, version=version, options=options)
    assert not reused(first)
    assert reused(shake(context, resume=first))
    assert not reused(shake(make_context(issue().pair, suite, "a/b"), resume=first))


def test_what_openssl_is_told_beyond_its_defaults(issue: Issue) -> None:
    context = make_context(issue().pair, RECOMMENDED, "a/b")
    for option in (
        SSL.OP_NO_RENEGOTIATION,
        SSL.OP_NO_COMPRESSION,
        SSL.OP_CIPHER_SERVER_PREFERENCE,
        SSL.OP_IGNORE_UNEXPECTED_EOF,
    ):
        assert SSL.Connection(context, None).set_options(0) & option
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_SERVER


def test_the_chain_is_sent_without_the_root(issue: Issue, shake: Shake, authority: trustme.CA) -> None:
    lower = authority.create_child_ca(trustme.KeyType.ECDSA)
    issued = issue(ca=lower)
    pair = pair_of(issued.cert + authority.cert_pem.bytes(), issued.key)
    sent = shake(make_context(pair, RECOMMENDED, "a/b")).get_peer_cert_chain(as_cryptography=True)
    assert sent == [pair.leaf, x509.load_pem_x509_certificate(lower.cert_pem.bytes())]


def test_a_small_key_is_refused_by_recommended_and_served_by_legacy(shake: Shake, small: Any) -> None:
    pair = small.pair
    with pytest.raises(CertificateError) as caught:
        make_context(pair, RECOMMENDED, "a/b")
    message = "the certificate's key is too small: OpenSSL does not serve it with cipher_suite recommended"
    assert caught.value.flaws == (("ssl_cert", message),)
    assert shake(make_context(pair, LEGACY, "a/b")).get_peer_certificate(as_cryptography=True) == pair.leaf


def test_an_issuer_with_a_small_key_is_refused_too(issue: Issue, small: Any) -> None:
    """OpenSSL itself would only find it in the first handshake, and in every one."""
    pair = attrs.evolve(issue().pair, chain=(small.pair.leaf,))
    with pytest.raises(CertificateError, match="the key of an issuer in the chain is too small"):
        make_context(pair, RECOMMENDED, "a/b")


def test_a_key_that_does_not_work_is_found_before_any_client_does(issue: Issue) -> None:
    with pytest.raises(CertificateError, match="OpenSSL does not serve it"):
        make_context(attrs.evolve(issue().pair, key=issue().pair.key), RECOMMENDED, "a/b")


def test_a_certificate_that_only_openssl_cannot_read_is_a_problem(issue: Issue) -> None:
    """The two libraries do not agree on everything; this subject is no UTF-8."""
    pair = issue("shop.example").pair
    broken = pair.leaf.public_bytes(Encoding.DER).replace(b"trustme", b"\xffrustme")
    with pytest.raises(CertificateError):
        make_context(attrs.evolve(pair, leaf=x509.load_der_x509_certificate(broken)), RECOMMENDED, "a/b")
