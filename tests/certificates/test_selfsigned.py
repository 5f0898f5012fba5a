"""The certificate made on the spot."""

from __future__ import annotations

import datetime

from cryptography.hazmat.primitives.asymmetric import ec

from nodebalancer.certificates.names import covers
from nodebalancer.certificates.pair import DAY, pair_of
from nodebalancer.certificates.selfsigned import self_signed


def test_it_is_a_pair_for_this_machine() -> None:
    text = self_signed()
    pair = pair_of(text, text)
    assert isinstance(pair.key, ec.EllipticCurvePrivateKey)
    assert pair.key.curve.name == "secp256r1"
    for name in ("localhost", "127.0.0.1", "::1"):
        assert covers(pair, name)
    assert not covers(pair, "www.example.org")


def test_names_and_time_are_as_wanted() -> None:
    text = self_signed(["a.example"], [], days=3)
    pair = pair_of(text, text)
    assert pair.names == ("a.example",)
    left = pair.expires_at - datetime.datetime.now(datetime.UTC).timestamp()
    assert 2.9 * DAY < left <= 3 * DAY
