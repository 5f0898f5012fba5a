"""What a scanner finds at a running balancer with ``cipher_suite = recommended`` (R12): testssl.sh, which makes its own handshakes, byte by byte."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


def scan(port: int, directory: Path) -> list[dict[str, Any]]:
    """The findings about a server on 127.0.0.1: protocols, suites, forward secrecy, preferences, renegotiation, compression."""
    checks = ["--protocols", "--standard", "--pfs", "--server-preference", "--renegotiation", "--crime"]
    quiet = ["--quiet", "--color", "0", "--warnings", "batch", "--nodns", "none", "--jsonfile", "findings.json"]
    subprocess.run(
        ["testssl", *quiet, *checks, f"127.0.0.1:{port}"], cwd=directory, stdout=subprocess.DEVNULL, timeout=300
    )
    findings: list[dict[str, Any]] = json.loads((directory / "findings.json").read_text())
    return findings


def test_a_scanner_finds_nothing_weak(tmp_path: Path, run_secured: Callable[[str], Iterator[Any]]) -> None:
    for secured in run_secured("auto"):
        # RSA, since suites without forward secrecy exist for it only.
        findings = scan(secured.ports["rsa"], tmp_path)
    for one in findings:
        print(f"{one['id']:26} {one['severity']:8} {one['finding']}")  # noqa: T201 for the reader of the test's output
    found = {one["id"]: one["finding"] for one in findings}
    assert {key: value for key, value in EXPECTED.items() if not found.get(key, "missing").startswith(value)} == {}
    assert [one for one in findings if one["severity"] in ("MEDIUM", "HIGH", "CRITICAL")] == []
    secret = [suite.startswith("ECDHE-") for suite in found["cipherorder_TLSv1_2"].split()]
    assert secret == sorted(secret, reverse=True)
    assert {*secret} == {True, False}
