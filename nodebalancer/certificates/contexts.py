# mypy: allow-untyped-calls
"""What TLS we speak: an OpenSSL context for each certificate (R10, R12).

Rules:

* Recommended speaks TLS 1.2 and 1.3. Legacy speaks 1.0 and 1.1, too, which is why OpenSSL's security level is 0 there, and
  only there.
* Resumption is on: by session ids and tickets in TLS 1.2, by tickets in TLS 1.3. OpenSSL keeps sessions and ticket keys in
  the context that a connection began with, and checks the session id context of the one that it has; so all contexts of a
  config have one session id context, and a context lives as long as its files stay the same.
* No compression, no renegotiation, no early data (OpenSSL's default, and pyOpenSSL could not switch it on).
* Groups for key agreement are OpenSSL's own: X25519 (with ML-KEM for clients that can), P-256, P-384 and stronger. A list
  would only age.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Any, Final

from OpenSSL import SSL, crypto
from OpenSSL._util import ffi, lib

from nodebalancer.certificates.pair import Pair
from nodebalancer.errors import CertificateError
from nodebalancer.model import CipherSuite

RECOMMENDED = (
    "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES256-GCM-SHA384"
    ":ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA:ECDHE-ECDSA-AES128-SHA"
    ":ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-SHA"
    ":AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA256:AES256-SHA256:AES128-SHA:AES256-SHA"
)
"""Linode's list in its order, for TLS 1.2, without what no client needs today: finite-field Diffie-Hellman (it takes parameters,
and costs the server far more than the client), DSS, Camellia, CCM, SRP."""

TLS_1_3 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
"""TLS 1.3 has its own suites. These are OpenSSL's, in the order of Linode's list: 128 bits first, at a tenth less CPU a handshake."""

LEGACY = "!RC4:HIGH:!aNULL:!MD5:!PSK:!SRP:@SECLEVEL=0"
"""Linode's list, without suites that need secrets shared beforehand; level 0, since TLS 1.0 and 1.1 sign with MD5 and SHA-1."""

CIPHERS = {CipherSuite.RECOMMENDED: RECOMMENDED, CipherSuite.LEGACY: LEGACY}
OLDEST = {CipherSuite.RECOMMENDED: SSL.TLS1_2_VERSION, CipherSuite.LEGACY: SSL.TLS1_VERSION}

SPOKEN = (b"http/1.1", b"http/1.0")
"""What we can speak inside TLS, the best first (RFC 7301)."""

OPTIONS = (
    SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION
    # HTTP messages say themselves where they end, so a client that closes without close_notify (many do) has cut nothing
    # short, and OpenSSL is not to forget its session for that (RFC 9112, 9.8).
    | SSL.OP_IGNORE_UNEXPECTED_EOF
)

REFUSALS = {
    "ee key too small": "the certificate's key is too small",
    "ca key too small": "the key of an issuer in the chain is too small",
}
"""What OpenSSL's security level objects to, in our words."""


def make_context(
    pair: Pair, suite: CipherSuite, config: str, choose: Callable[[SSL.Connection], None] | None = None
) -> SSL.Context:
    """A context that serves ``pair``, tried out.

    Args:
        pair: The certificate and its key.
        suite: Which clients are let in.
        config: The config's name; contexts of one config can resume each other's sessions.
        choose: Called with each new connection once the name is known that the client asks for, if any (SNI).

    Raises:
        CertificateError: OpenSSL cannot serve this pair to any client.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(OLDEST[suite])
    context.set_options(OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_id(hashlib.sha256(config.encode()).digest())
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    lib.SSL_CTX_set_alpn_select_cb(context._context, SELECT_PROTOCOL, ffi.NULL)
    if choose is not None:
        context.set_tlsext_servername_callback(choose)
    try:
        context.set_cipher_list(CIPHERS[suite].encode())
        context.set_tls13_ciphersuites(TLS_1_3)
        context.use_certificate(pair.leaf)
        for certificate in pair.chain:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(pair.key)
        _try_out(context)
    except (SSL.Error, crypto.Error) as e:  # two families of the same library
        raise CertificateError(("ssl_cert", _refusal(e, suite))) from None
    return context


def _select_protocol(ssl: object, name: Any, size: Any, offered: Any, offered_size: int, arg: object) -> int:
    """Have ``name`` point to the best of ``SPOKEN`` in what the client has ``offered``: names, each after its length.

    A client that offers others only gets the alert no_application_protocol (RFC 7301, 3.2; nginx does so, HAProxy goes on without
    ALPN).
    """
    text = ffi.buffer(offered, offered_size)[:]
    places, at = {}, 0
    while at < offered_size:
        end = at + 1 + text[at]
        places[text[at + 1 : end]] = at + 1
        at = end
    for protocol in SPOKEN:
        if protocol in places:
            name[0] = offered + places[protocol]
            size[0] = len(protocol)
            return OK
    return ALERT


OK: Final = int(lib.SSL_TLSEXT_ERR_OK)
ALERT: Final = int(lib.SSL_TLSEXT_ERR_ALERT_FATAL)
SELECT_PROTOCOL: Final = ffi.callback(
    "int(SSL *, unsigned char **, unsigned char *, unsigned char *, unsigned int, void *)",
    _select_protocol,
    error=ALERT,
)
"""Below pyOpenSSL, whose callbacks need its object for every connection; see ``TLSCodec``."""


def _try_out(context: SSL.Context) -> None:
    """Have a client that takes everything shake hands with us: OpenSSL looks at the chain only then.

    Raises:
        SSL.Error: It does not work.
    """
    anybody = SSL.Context(SSL.TLS_CLIENT_METHOD)
    anybody.set_cipher_list(b"ALL:@SECLEVEL=0")
    client, server = SSL.Connection(anybody, None), SSL.Connection(context, None)
    client.set_connect_state()
    server.set_accept_state()
    _step(client, server)
    _step(server, client)
    _step(client, server)
    server.do_handshake()


def _step(one: SSL.Connection, other: SSL.Connection) -> None:
    with contextlib.suppress(SSL.WantReadError):
        one.do_handshake()
    other.bio_write(one.bio_read(2**20))


def _refusal(error: SSL.Error | crypto.Error, suite: CipherSuite) -> str:
    reasons = [reason for _, _, reason in error.args[0]] if error.args else []
    reason = reasons[-1] if reasons else "no reason given"
    return f"{REFUSALS.get(reason, reason)}: OpenSSL does not serve it with cipher_suite {suite.value}"
