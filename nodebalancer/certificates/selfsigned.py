"""A certificate made on the spot, for the demo and for tests: no authority stands behind it."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

LOCAL_NAMES = ("localhost",)
LOCAL_ADDRESSES = ("127.0.0.1", "::1")


def self_signed(
    names: Sequence[str] = LOCAL_NAMES, addresses: Sequence[str] = LOCAL_ADDRESSES, *, days: int = 365
) -> bytes:
    """Certificate and key (ECDSA, P-256) as PEM, to be used as ``ssl_cert`` and ``ssl_key`` at once.

    Args:
        names: Host names that it is valid for.
        addresses: IP addresses that it is valid for.
        days: For how long, from a day ago on: clocks differ.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nodebalancer, self-signed")])
    now = datetime.datetime.now(datetime.UTC)
    valid_for = [*map(x509.DNSName, names), *(x509.IPAddress(ipaddress.ip_address(one)) for one in addresses)]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(valid_for), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + private
