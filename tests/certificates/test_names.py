"""Names: what a certificate covers, and who gets which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from OpenSSL import SSL

from nodebalancer.certificates.names import chosen, contexts_by_name, covers
from nodebalancer.certificates.pair import pair_of
from nodebalancer.certificates.selfsigned import self_signed

Issue = Callable[..., Any]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www.example.org", True),
        ("WWW.Example.ORG", True),
        ("a.wild.example", True),
        ("wild.example", False),
        ("a.b.wild.example", False),
        ("*.wild.example", True),
        ("*.WILD.example", True),
        ("*.example.org", False),
        ("bücher.example", True),
        ("xn--bcher-kva.example", True),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("2001:db8::1", True),
        ("example.org", False),
        ("no name at all", False),
        ("a..b", False),
    ],
)
def test_a_name_is_covered_as_a_client_would_see_it(issue: Issue, name: str, expected: bool) -> None:
    pair = issue("www.example.org", "*.wild.example", "bücher.example", "192.0.2.1", "2001:db8::1").pair
    assert covers(pair, name) is expected


def test_a_certificate_for_no_name_covers_none() -> None:
    text = self_signed([], [])
    assert not covers(pair_of(text, text), "www.example.org")


def test_the_exact_name_goes_before_the_wildcard_and_the_first_certificate_before_others(issue: Issue) -> None:
    pairs = [
        issue("*.example.org").pair,
        issue("www.example.org", "Bücher.example").pair,
        issue("www.example.org").pair,
    ]
    first, second, third = (SSL.Context(SSL.TLS_SERVER_METHOD) for _ in range(3))
    table = contexts_by_name(zip(pairs, (first, second, third), strict=True))
    assert chosen(table, b"www.example.org") is second
    assert chosen(table, b"WWW.EXAMPLE.org") is second
    assert chosen(table, b"other.example.org") is first
    assert chosen(table, b"XN--BCHER-KVA.example") is second
    assert chosen(table, b"a.b.example.org") is None
    assert chosen(table, b"example.org") is None
    assert chosen(table, b"localhost") is None
    assert third not in table.values()
