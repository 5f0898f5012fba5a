"""What a scanner finds in ``cipher_suite = recommended`` (R12): testssl.sh, which makes its own handshakes, byte by byte."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme
from OpenSSL import SSL

from nodebalancer.certificates.contexts import make_context
from nodebalancer.certificates.pair import pair_of
from nodebalancer.model import CipherSuite

pytestmark = pytest.mark.integration

EXPECTED = {
    "SSLv2": "not offered",
    "SSLv3": "not offered",
    "TLS1": "not offered",
    "TLS1_1": "not offered",
    "TLS1_2": "offered",
    "TLS1_3": "offered with final",
    "ALPN": "http/1.1",
    "cipherlist_NULL": "not offered",
    "cipherlist_aNULL": "not offered",
    "cipherlist_EXPORT": "not offered",
    "cipherlist_LOW": "not offered",
    "cipherlist_3DES_IDEA": "not offered",
    "cipherlist_STRONG": "offered",
    "PFS": "offered",
    "cipher_order": "server",
    "secure_renego": "supported",
    "secure_client_renego": "not vulnerable",
    "CRIME_TLS": "not vulnerable",
}


@attrs.frozen
class OneContext:
    only: SSL.Context

    def context(self) -> SSL.Context:
        return self.only


def scan(port: int, directory: Path) -> list[dict[str, Any]]:
    """The findings about a server on 127.0.0.1: protocols, suites, forward secrecy, preferences, renegotiation, compression."""
    checks = ["--protocols", "--standard", "--pfs", "--server-preference", "--renegotiation", "--crime"]
    quiet = ["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--jsonfile", "findings.json"]
    subprocess.run(
        ["testssl", *quiet, *checks, f"127.0.0.1:{port}"], cwd=directory, stdout=subprocess.DEVNULL, timeout=300
    )
    findings: list[dict[str, Any]] = json.loads((directory / "findings.json").read_text())
    return findings


def test_a_scanner_finds_nothing_weak(tmp_path: Path, tls_server: Callable[[Any], int]) -> None:
    # RSA, since suites without forward secrecy exist for it only.
    issued = trustme.CA().issue_cert("www.example.org", key_type=trustme.KeyType.RSA)
    pair = pair_of(issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes())
    findings = scan(tls_server(OneContext(make_context(pair, CipherSuite.RECOMMENDED, "www/secure"))), tmp_path)
    for one in findings:
        print(f"{one['id']:26} {one['severity']:8} {one['finding']}")  # noqa: T201 for the reader of the test's output
    found = {one["id"]: one["finding"] for one in findings}
    assert {key: value for key, value in EXPECTED.items() if not found.get(key, "missing").startswith(value)} == {}
    assert [one for one in findings if one["severity"] in ("MEDIUM", "HIGH", "CRITICAL")] == []
    secret = [suite.startswith("ECDHE-") for suite in found["cipherorder_TLSv1_2"].split()]
    assert secret == sorted(secret, reverse=True)
    assert {*secret} == {True, False}
