"""What is in a PEM file."""

from __future__ import annotations

import base64
import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from nodebalancer.certificates.pem import certificates_in, has_key, key_in
from nodebalancer.certificates.selfsigned import self_signed
from nodebalancer.errors import CertificateError

PAIR = self_signed()
CERT = PAIR[: PAIR.index(b"-----BEGIN PRIVATE")]
KEY = PAIR[len(CERT) :]
PARAMETERS = b"-----BEGIN DH PARAMETERS-----\nMAYCAQUCAQI=\n-----END DH PARAMETERS-----\n"


def key_pem(key: object, form: PrivateFormat = PrivateFormat.PKCS8, passphrase: bytes = b"") -> bytes:
    secret = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, secret)  # type: ignore[attr-defined, no-any-return]


def refusal(read: object, text: bytes) -> str:
    with pytest.raises(CertificateError) as caught:
        read(text)  # type: ignore[operator]
    [(about, message)] = caught.value.flaws
    assert about == ("ssl_key" if read is key_in else "ssl_cert")
    return message


def test_certificates_come_in_the_order_of_the_file_whatever_stands_between_them() -> None:
    other = self_signed(["other"])
    found = certificates_in(b"words\n" + PAIR + PARAMETERS + other)
    assert found == (*certificates_in(CERT), *certificates_in(other))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())], ids=["rsa", "ecdsa"]
)
def test_rsa_and_ecdsa_keys_are_read_in_both_ways_of_writing_them(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, form: PrivateFormat
) -> None:
    assert key_in(CERT + key_pem(key, form)).public_key() == key.public_key()


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_a_key_with_a_passphrase_is_told_as_such(form: PrivateFormat) -> None:
    text = key_pem(ec.generate_private_key(ec.SECP256R1()), form, b"secret")
    assert refusal(key_in, text).startswith("has a passphrase")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (ed25519.Ed25519PrivateKey.generate(), "is of type Ed25519; clients know RSA and ECDSA keys"),
        (dsa.generate_private_key(2048), "is of type DSA; clients know RSA and ECDSA keys"),
        (
            ec.generate_private_key(ec.SECP256K1()),
            "is on the curve secp256k1; clients know secp256r1, secp384r1, secp521r1",
        ),
    ],
)
def test_a_key_that_clients_do_not_know_is_refused(key: object, message: str) -> None:
    assert refusal(key_in, key_pem(key)) == message


@pytest.mark.parametrize(("read", "thing"), [(certificates_in, "certificate"), (key_in, "private key")])
def test_a_file_without_what_is_wanted_says_so(read: object, thing: str) -> None:
    assert refusal(read, KEY if read is certificates_in else CERT) == f"has no {thing} in it"


def test_a_key_is_not_chosen_among_several() -> None:
    assert refusal(key_in, KEY + KEY) == "has more than one private key in it"


@pytest.mark.parametrize("read", [certificates_in, key_in])
def test_what_is_no_pem_says_so(read: object) -> None:
    assert refusal(read, b"") == "is not PEM: it has no line -----BEGIN …-----"
    assert refusal(read, b"\x30\x82") == (
        "is not PEM: it has no line -----BEGIN …-----; it may be DER, which openssl x509 or openssl pkey converts"
    )


def test_broken_pem_is_told_with_its_line() -> None:
    assert refusal(certificates_in, b"\n" + CERT[:-20]) == "the CERTIFICATE that begins in line 2 has no end"
    assert refusal(certificates_in, CERT + CERT.replace(b"\nMII", b"\nXXX")) == (
        f"the certificate that begins in line {len(CERT.splitlines()) + 1} is broken"
    )
    version = base64.b64encode(
        ssl.PEM_cert_to_DER_cert(CERT.decode()).replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x05")
    )
    odd = b"-----BEGIN CERTIFICATE-----\n" + version + b"\n-----END CERTIFICATE-----\n"
    assert refusal(certificates_in, odd) == "the certificate that begins in line 1 is broken"
    assert refusal(key_in, KEY.replace(b"\nMIG", b"\nXXX")) == "the key that begins in line 1 is broken"


def test_a_key_is_found_without_reading_it() -> None:
    assert has_key(PAIR)
    assert has_key(b"-----BEGIN RSA PRIVATE KEY-----\nbroken")
    assert not has_key(CERT)
