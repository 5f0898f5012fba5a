"""A certificate with its chain and its key, and what of it is told to people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import PublicKeyAlgorithmOID

from nodebalancer.certificates.pem import Key, certificates_in, key_in
from nodebalancer.errors import CertificateError
from nodebalancer.wire.http1.lines import escaped

DAY = 86400

REMIND_DAYS = (1, 7, 14, 30)
"""So many days before a certificate expires, people are told."""

ODD = (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What cryptography raises at a certificate that is PEM and DER, and yet none: it looks inside only when it is asked."""


@attrs.frozen(eq=False)
class Pair:
    """What a server shows and what it proves it with.

    Attributes:
        leaf: The certificate.
        chain: Those above it, each the issuer of the one before, without the self-signed root at the end: clients have
            theirs or do not believe ours, so it would only make every full handshake longer (RFC 8446, 4.4.2).
        key: The leaf's.
        names: Host names and addresses that the leaf is valid for, as it says them: ``*.example.org``.
    """

    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: Key
    names: tuple[str, ...]

    @property
    def names_told(self) -> str:
        """``names`` for people; what is in a certificate is foreign."""
        return escaped(", ".join(self.names).encode()) or "no name"

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch."""
        return self.leaf.not_valid_after_utc.timestamp()

    @property
    def last_day(self) -> str:
        """The day on which it expires, in UTC: ``2026-11-30``."""
        return day(self.leaf.not_valid_after_utc)

    def lifetime_warning(self, at: float) -> tuple[str, str] | None:
        """What is to be said about its time at ``at``: a word that stays the same until something else is to be said, and a sentence."""
        left = self.expires_at - at
        if at < self.leaf.not_valid_before_utc.timestamp():
            return "early", f"the certificate is not valid before {day(self.leaf.not_valid_before_utc)}"
        if left <= 0:
            return "expired", f"the certificate expired on {self.last_day}"
        for days in REMIND_DAYS:
            if left <= days * DAY:
                return f"{days} days", f"the certificate expires on {self.last_day}, in {_in_days(left)}"
        return None


def day(moment: datetime) -> str:
    return moment.date().isoformat()


def _in_days(left: float) -> str:
    days = int(left // DAY)
    return "less than a day" if days == 0 else "1 day" if days == 1 else f"{days} days"


def pair_of(cert: bytes, key: bytes) -> Pair:
    """The pair that two files make.

    Args:
        cert: Certificate and chain, in any order.
        key: The key.

    Raises:
        CertificateError: With what is wrong about either.
    """
    flaws: list[tuple[str, str]] = []
    certificates: tuple[x509.Certificate, ...] = ()
    private: Key | None = None
    try:
        certificates = certificates_in(cert)
    except CertificateError as e:
        flaws += e.flaws
    try:
        private = key_in(key)
    except CertificateError as e:
        flaws += e.flaws
    if private is None or not certificates:
        raise CertificateError(*flaws)
    try:
        leaf = _leaf_of(certificates, private)
        if leaf.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
            # To cryptography its key is an ordinary one, for which OpenSSL then finds no suite.
            raise CertificateError(("ssl_cert", "is for a key of type RSA-PSS; clients know RSA and ECDSA keys"))
        return Pair(leaf, _chain_of(leaf, certificates), private, _names_of(leaf))
    except ODD as e:
        raise CertificateError(
            ("ssl_cert", f"a certificate in it cannot be understood: {escaped(str(e).encode())}")
        ) from None


def _leaf_of(certificates: Sequence[x509.Certificate], key: Key) -> x509.Certificate:
    for certificate in certificates:
        if certificate.public_key() == key.public_key():
            return certificate
    raise CertificateError(("ssl_key", "does not belong to the certificate"))


def _chain_of(leaf: x509.Certificate, certificates: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """What stands above ``leaf``, from the bottom to the top.

    Raises:
        CertificateError: There are others which are no issuer of any of these.
    """
    left = [other for other in dict.fromkeys(certificates) if other != leaf]
    chain = [leaf]
    while not _issued(chain[-1], chain[-1]):
        issuers = [other for other in left if _issued(chain[-1], other)]
        if not issuers:
            break
        # Of two certificates of one authority the one that leads further: the other is its root.
        chain.append(min(issuers, key=lambda issuer: _issued(issuer, issuer)))
        left.remove(chain[-1])
    strangers = [other for other in left if not any(_issued(one, other) for one in chain)]
    if strangers:
        name = _name(strangers[0])
        message = f"the chain does not fit: {name} has issued neither the certificate nor one of its issuers"
        raise CertificateError(("ssl_cert", message))
    return tuple(one for one in chain[1:] if not _issued(one, one))


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _name(certificate: x509.Certificate) -> str:
    return escaped(certificate.subject.rfc4514_string().encode()) or f"serial number {certificate.serial_number:x}"


def _names_of(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return (*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress)))
