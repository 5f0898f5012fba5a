"""A certificate, its chain and its key."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from nodebalancer.certificates.pair import DAY, pair_of
from nodebalancer.certificates.pem import certificates_in
from nodebalancer.certificates.selfsigned import self_signed
from nodebalancer.errors import CertificateError

Issue = Callable[..., Any]


@pytest.fixture(scope="module")
def intermediates(authority: trustme.CA) -> tuple[trustme.CA, trustme.CA]:
    """An authority below ours, and one below that."""
    upper = authority.create_child_ca(trustme.KeyType.ECDSA)
    return upper, upper.create_child_ca(trustme.KeyType.ECDSA)


def flaws(cert: bytes, key: bytes) -> tuple[tuple[str, str], ...]:
    with pytest.raises(CertificateError) as caught:
        pair_of(cert, key)
    return caught.value.flaws


def test_certificate_and_chain_may_stand_in_any_order_and_the_root_is_left_out(
    issue: Issue, authority: trustme.CA, intermediates: tuple[trustme.CA, trustme.CA]
) -> None:
    upper, lower = intermediates
    issued = issue(ca=lower)
    leaf = certificates_in(issued.cert)[0].public_bytes(Encoding.PEM)
    rest = [upper.cert_pem.bytes(), lower.cert_pem.bytes(), authority.cert_pem.bytes()]
    for order in itertools.permutations([leaf, *rest]):
        pair = pair_of(b"".join(order), issued.key)
        assert pair.leaf.public_bytes(Encoding.PEM) == leaf
        assert [one.public_bytes(Encoding.PEM) for one in pair.chain] == [rest[1], rest[0]]


def test_a_chain_may_lack_its_upper_end_and_name_a_certificate_twice(
    issue: Issue, intermediates: tuple[trustme.CA, trustme.CA]
) -> None:
    _, lower = intermediates
    issued = issue(ca=lower)
    leaf = certificates_in(issued.cert)[0].public_bytes(Encoding.PEM)
    assert pair_of(leaf, issued.key).chain == ()
    assert len(pair_of(leaf + leaf + lower.cert_pem.bytes() * 2, issued.key).chain) == 1


def test_of_an_authority_that_signed_itself_and_was_signed_by_another_the_longer_way_is_taken(issue: Issue) -> None:
    """As with Let's Encrypt's roots: both certificates of one authority may be in the file."""
    newer, older = trustme.CA(key_type=trustme.KeyType.ECDSA), trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = issue(ca=newer)
    root = x509.load_pem_x509_certificate(newer.cert_pem.bytes())
    over = x509.load_pem_x509_certificate(older.cert_pem.bytes())
    signer = load_pem_private_key(older.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    crossed = (
        x509.CertificateBuilder(over.subject, root.subject, root.public_key(), 1)
        .not_valid_before(root.not_valid_before_utc)
        .not_valid_after(root.not_valid_after_utc)
        .sign(signer, SHA256())
    )
    both = root.public_bytes(Encoding.PEM) + crossed.public_bytes(Encoding.PEM)
    assert pair_of(issued.cert + both, issued.key).chain == (crossed,)


def test_a_self_signed_certificate_is_its_own_leaf() -> None:
    text = self_signed()
    pair = pair_of(text, text)
    assert pair.chain == ()
    assert pair.names == ("localhost", "127.0.0.1", "::1")


def test_a_certificate_that_belongs_to_nothing_in_the_chain_is_a_problem(issue: Issue) -> None:
    issued, stranger = issue("a.example"), trustme.CA(organization_name="Somebody", key_type=trustme.KeyType.ECDSA)
    [(about, message)] = flaws(issued.cert + stranger.cert_pem.bytes(), issued.key)
    assert about == "ssl_cert"
    assert message.startswith("the chain does not fit: ")
    assert "Somebody" in message
    assert message.endswith(" has issued neither the certificate nor one of its issuers")


@pytest.mark.parametrize("rsa", [False, True])
def test_a_key_that_does_not_match_is_told(issue: Issue, rsa: bool) -> None:
    assert flaws(issue().cert, issue(rsa=rsa).key) == (("ssl_key", "does not belong to the certificate"),)


def test_what_is_wrong_with_both_files_is_told_at_once() -> None:
    assert [about for about, _ in flaws(b"", b"")] == ["ssl_cert", "ssl_key"]


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        (b"\x06\x03\x55\x1d\x13", b"\x06\x03\x55\x1d\x11", "Duplicate 2.5.29.17 extension found"),
        (b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x7f", "Unknown key type: 1.2.840.10045.2.127"),
    ],
    ids=["two alternative names", "a key of a type that nobody knows"],
)
def test_a_certificate_that_only_looks_like_one_is_told(was: bytes, becomes: bytes, message: str) -> None:
    text = self_signed()
    odd = certificates_in(text)[0].public_bytes(Encoding.DER).replace(was, becomes)
    cert = x509.load_der_x509_certificate(odd).public_bytes(Encoding.PEM)
    assert flaws(cert, text) == (("ssl_cert", f"a certificate in it cannot be understood: {message}"),)


def test_a_certificate_without_alternative_names_has_no_names() -> None:
    assert pair_of(*([nameless()] * 2)).names == ()


def nameless() -> bytes:
    """A certificate of the old kind, with a common name only, and its key."""
    text = self_signed()
    [own] = certificates_in(text)
    key = load_pem_private_key(text, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = (
        x509.CertificateBuilder(own.subject, own.subject, key.public_key(), 1)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) + text[text.index(b"-----BEGIN PRIVATE") :]


@pytest.mark.parametrize(
    ("days_left", "word", "sentence"),
    [
        (31, None, ""),
        (29.5, "30 days", "expires on {day}, in 29 days"),
        (13.5, "14 days", "expires on {day}, in 13 days"),
        (6.5, "7 days", "expires on {day}, in 6 days"),
        (1.5, "7 days", "expires on {day}, in 1 day"),
        (0.5, "1 days", "expires on {day}, in less than a day"),
        (-1, "expired", "expired on {day}"),
    ],
)
def test_the_end_of_a_certificate_is_told_in_time(
    issue: Issue, days_left: float, word: str | None, sentence: str
) -> None:
    pair = issue(days=200).pair
    at = pair.expires_at - days_left * DAY
    expected = word and (word, "the certificate " + sentence.format(day=pair.last_day))
    assert pair.lifetime_warning(at) == expected


def test_a_certificate_that_is_not_valid_yet_is_told(issue: Issue) -> None:
    pair = issue(since=0).pair
    begin = pair.leaf.not_valid_before_utc
    assert pair.lifetime_warning(begin.timestamp() - 1) == (
        "early",
        f"the certificate is not valid before {begin.date().isoformat()}",
    )


def test_what_a_certificate_says_is_escaped_for_people() -> None:
    """An issuer may be anybody, and these words go to logs and terminals."""
    text = self_signed(("a\n[config b].example",), ())
    pair = pair_of(text, text)
    assert pair.names == ("a\n[config b].example",)
    assert pair.names_told == "a\\x0a[config b].example"


def test_a_certificate_for_an_rsa_pss_key_is_told_as_such(tmp_path: Path) -> None:
    cert, key = tmp_path / "pss.crt", tmp_path / "pss.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa-pss", "-noenc", "-subj", "/CN=pss", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    assert flaws(cert.read_bytes(), key.read_bytes()) == (
        ("ssl_cert", "is for a key of type RSA-PSS; clients know RSA and ECDSA keys"),
    )


def test_the_name_of_a_stranger_in_the_chain_is_escaped(issue: Issue) -> None:
    issued, stranger = issue("a.example"), trustme.CA(organization_name="Ex\x1b[2J", key_type=trustme.KeyType.ECDSA)
    [(_, message)] = flaws(issued.cert + stranger.cert_pem.bytes(), issued.key)
    assert "O=Ex\\x1b[2J" in message
    assert message.isprintable()
