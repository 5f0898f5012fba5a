"""Which names a certificate is for, and which certificate a name gets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping

from OpenSSL import SSL
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import verify_certificate_hostname, verify_certificate_ip_address

from nodebalancer.certificates.pair import Pair

ContextsByName = Mapping[bytes, SSL.Context]
"""By names in small letters, as A-labels, as they stand in certificates: ``b"www.example.org"``, ``b"*.example.org"``."""


def covers(pair: Pair, name: str) -> bool:
    """Whether a client that asked for ``name`` would accept the certificate (RFC 9525).

    Args:
        pair: The certificate.
        name: A host name, in any spelling that IDNA knows, or an IP address; a wildcard is covered by the same wildcard.
    """
    if name.startswith("*."):
        return name.lower() in (own.lower() for own in pair.names)
    try:
        if _is_address(name):
            verify_certificate_ip_address(pair.leaf, name)
        else:
            verify_certificate_hostname(pair.leaf, name)
    except (VerificationError, CertificateError, ValueError, UnicodeError):
        return False
    return True


def contexts_by_name(certificates: Iterable[tuple[Pair, SSL.Context]]) -> ContextsByName:
    """Of several that have a name, the first gets it, as in HAProxy."""
    table: dict[bytes, SSL.Context] = {}
    for pair, context in certificates:
        for name in pair.names:
            table.setdefault(name.lower().encode(), context)
    return table


def chosen(table: ContextsByName, name: bytes) -> SSL.Context | None:
    """Who serves a client that asks for ``name`` (SNI, RFC 6066, 3): exactly this name, or a wildcard in place of its first label."""
    name = name.lower()
    return table.get(name) or table.get(b"*." + name.partition(b".")[2])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
