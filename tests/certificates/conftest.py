"""Certificates from an authority of our own, and handshakes in memory."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL

from nodebalancer.certificates.pair import Pair, pair_of

Issue = Callable[..., "Issued"]
Shake = Callable[..., SSL.Connection]


@attrs.frozen
class Issued:
    """A certificate as its owner gets it."""

    cert: bytes
    key: bytes

    @property
    def pair(self) -> Pair:
        return pair_of(self.cert, self.key)

    def write(self, directory: Path, name: str = "www") -> tuple[str, str]:
        """Into ``NAME.crt`` and ``NAME.key``; their paths."""
        cert, key = directory / f"{name}.crt", directory / f"{name}.key"
        cert.write_bytes(self.cert)
        key.touch(mode=0o600)
        key.write_bytes(self.key)
        return str(cert), str(key)

    def write_one(self, directory: Path, name: str) -> str:
        """Certificate and key into one file; its path."""
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(self.cert + self.key)
        return str(path)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="session")
def issue(authority: trustme.CA) -> Issue:
    """Issues a certificate for names: ``issue("a.example", days=3)``."""

    def _issue(
        *names: str, days: float = 90, since: float = 1, rsa: bool = False, ca: trustme.CA = authority
    ) -> Issued:
        now = datetime.datetime.now(datetime.UTC)
        issued = ca.issue_cert(
            *(names or ("www.example.org",)),
            not_before=now - datetime.timedelta(days=since),
            not_after=now + datetime.timedelta(days=days),
            key_type=trustme.KeyType.RSA if rsa else trustme.KeyType.ECDSA,
        )
        return Issued(b"".join(blob.bytes() for blob in issued.cert_chain_pems), issued.private_key_pem.bytes())

    return _issue


@pytest.fixture(scope="session")
def small() -> Issued:
    """A certificate with an RSA key of 1024 bits, signed by itself."""
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "small")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=90))
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(certificate.public_bytes(Encoding.PEM), private)


@pytest.fixture
def shake() -> Shake:
    """Shakes hands with a server context, in memory, and reads one byte (with which TLS 1.3 hands out its tickets).

    Answers the client's connection; ``resume`` is one from before, whose session is to be resumed.
    """

    def _shake(
        server_context: SSL.Context,
        *,
        name: str | None = None,
        resume: SSL.Connection | None = None,
        protocols: list[bytes] | None = None,
        version: int | None = None,
        options: int = 0,
    ) -> SSL.Connection:
        if resume is not None:
            context = resume.get_context()
        else:
            context = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
            context.set_options(options)
            if version is not None:
                context.set_min_proto_version(version)
                context.set_max_proto_version(version)
            if protocols:
                context.set_alpn_protos(protocols)
        client, server = SSL.Connection(context, None), SSL.Connection(server_context, None)
        client.set_connect_state()
        server.set_accept_state()
        if name is not None:
            client.set_tlsext_host_name(name.encode())
        if resume is not None:
            session = resume.get_session()
            assert session is not None
            client.set_session(session)
        for one, other in ((client, server), (server, client)) * 3:
            try:
                with contextlib.suppress(SSL.WantReadError):
                    one.do_handshake()
            finally:
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(2**16))
        server.send(b"x")
        client.bio_write(server.bio_read(2**16))
        assert client.recv(1) == b"x"
        for one, other in ((client, server), (server, client)):
            one.shutdown()
            other.bio_write(one.bio_read(2**16))
        return client

    return _shake


@pytest.fixture
def reused() -> Callable[[SSL.Connection], bool]:
    """Whether a client's connection resumed a session. pyOpenSSL does not say it, so OpenSSL is asked below it."""
    return lambda connection: bool(SSL._lib.SSL_session_reused(connection._ssl))  # type: ignore[attr-defined]
