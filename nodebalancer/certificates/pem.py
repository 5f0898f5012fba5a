"""What is in a PEM file: certificates and a key."""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from nodebalancer.errors import CertificateError

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

CURVES = ("secp256r1", "secp384r1", "secp521r1")
"""Those that TLS clients verify signatures of (RFC 8446, 4.2.3)."""

BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")
KEY_LABEL = "PRIVATE KEY"


@attrs.frozen
class Block:
    """One block: what stands after BEGIN, the whole of it, and the line where it begins."""

    label: str
    text: bytes
    line: int


def certificates_in(text: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates of a file, in its order; at least one. Other blocks may stand between them.

    Raises:
        CertificateError: About ``ssl_cert``.
    """
    found = [block for block in _blocks(text, "ssl_cert") if block.label in CERTIFICATE_LABELS]
    if not found:
        raise CertificateError(("ssl_cert", "has no certificate in it"))
    return tuple(map(_certificate, found))


def key_in(text: bytes) -> Key:
    """The key of a file, which may have certificates in it, too.

    Raises:
        CertificateError: About ``ssl_key``.
    """
    found = [block for block in _blocks(text, "ssl_key") if block.label.endswith(KEY_LABEL)]
    if len(found) != 1:
        raise CertificateError(("ssl_key", f"has {'more than one' if found else 'no'} private key in it"))
    return _key(found[0])


def has_key(text: bytes) -> bool:
    """Whether there is a private key in a file, whatever it is worth."""
    return any(match[1].endswith(KEY_LABEL.encode()) for match in BEGIN.finditer(text))


def _blocks(text: bytes, about: str) -> Iterator[Block]:
    begin = BEGIN.search(text)
    if begin is None:
        hint = "; it may be DER, which openssl x509 or openssl pkey converts" if text.startswith(b"\x30") else ""
        raise CertificateError((about, f"is not PEM: it has no line -----BEGIN …-----{hint}"))
    while begin is not None:
        block = Block(begin[1].decode(), b"", text.count(b"\n", 0, begin.start()) + 1)
        end = b"-----END " + begin[1] + b"-----"
        stop = text.find(end, begin.end())
        if stop < 0:
            raise CertificateError((about, f"the {block.label} that begins in line {block.line} has no end"))
        stop += len(end)
        yield attrs.evolve(block, text=text[begin.start() : stop])
        begin = BEGIN.search(text, stop)


def _certificate(block: Block) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(block.text)
    except (ValueError, x509.InvalidVersion):
        message = f"the certificate that begins in line {block.line} is broken"
        raise CertificateError(("ssl_cert", message)) from None


def _key(block: Block) -> Key:
    if block.label == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block.text:
        message = "has a passphrase, which nobody could type at a start; openssl pkey -in FILE -out FILE removes it"
        raise CertificateError(("ssl_key", message))
    try:
        # Looking for a flaw in an RSA key's primes takes 35 ms; a key that does not work fails when the context is tried out.
        key = load_pem_private_key(block.text, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateError(("ssl_key", f"the key that begins in line {block.line} is broken")) from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in CURVES:
        message = f"is on the curve {key.curve.name}; clients know {', '.join(CURVES)}"
        raise CertificateError(("ssl_key", message))
    if not isinstance(key, Key):
        kind = type(key).__name__.removesuffix("PrivateKey")
        raise CertificateError(("ssl_key", f"is of type {kind}; clients know RSA and ECDSA keys"))
    return key
