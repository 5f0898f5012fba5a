"""Real clients shake hands with our contexts: openssl s_client and curl, which have an OpenSSL of their own (R10 to R12)."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.internet.task import Clock

from nodebalancer.certificates.follower import Certificates, ServerTLS
from nodebalancer.model import CipherSuite, Protocol
from nodebalancer.testing.builders import config, nodebalancer, settings

pytestmark = pytest.mark.integration

Serve = Callable[[Any], int]
REQUEST = b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


def tls(directory: Path, authority: trustme.CA, suite: CipherSuite = CipherSuite.RECOMMENDED) -> ServerTLS:
    """What the listeners of a config would get: www.example.org by default, shop.example by its name."""
    www, shop = authority.issue_cert("www.example.org"), authority.issue_cert("shop.example")
    more = directory / "more"
    more.mkdir()
    www.private_key_and_cert_chain_pem.write_to_path(directory / "www.pem")
    shop.private_key_and_cert_chain_pem.write_to_path(more / "shop.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    files = {name: str(directory / "www.pem") for name in ("ssl_cert", "ssl_key")}
    secure = config("secure", protocol=Protocol.HTTPS, cipher_suite=suite, ssl_cert_dir=str(more), **files)
    certificates, problems = Certificates(Clock()), list[Any]()
    certificates.prepare(settings(nodebalancer("www", secure)), ()).addCallback(problems.extend)
    certificates.commit()
    assert problems == []
    return certificates.tls_for(("www", "secure"))


@pytest.fixture
def s_client(tmp_path: Path, authority: trustme.CA, tls_server: Serve) -> Callable[..., str]:
    """Runs ``openssl s_client`` against a server of ours and answers all it says."""
    port = tls_server(tls(tmp_path, authority))

    def run(*arguments: str, port: int = port) -> str:
        argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", "ca.pem", "-ign_eof", *arguments]
        done = subprocess.run(
            argv, input=REQUEST, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30
        )
        return done.stdout.decode(errors="replace")

    return run


@pytest.mark.parametrize("name", ["www.example.org", "shop.example"])
@pytest.mark.parametrize("tickets", [(), ("-no_ticket",)], ids=["tickets", "session ids"])
def test_tls_1_2_sessions_are_resumed_again_and_again(
    s_client: Callable[..., str], name: str, tickets: tuple[str, ...]
) -> None:
    said = s_client("-tls1_2", "-reconnect", "-servername", name, *tickets)
    assert (said.count("\nNew, TLSv1.2"), said.count("\nReused, TLSv1.2")) == (1, 5)
    assert "Compression: NONE" in said


@pytest.mark.parametrize("name", ["www.example.org", "shop.example"])
def test_tls_1_3_sessions_are_resumed_and_take_no_early_data(s_client: Callable[..., str], name: str) -> None:
    first = s_client("-tls1_3", "-servername", name, "-sess_out", "session.pem", "-verify_hostname", name)
    assert "\nNew, TLSv1.3" in first
    assert "Verification: OK" in first
    assert "Max Early Data: 0" in first
    assert "\nReused, TLSv1.3" in s_client("-tls1_3", "-servername", name, "-sess_in", "session.pem")


def test_unknown_names_get_the_default_certificate(s_client: Callable[..., str]) -> None:
    assert "Verification: OK" in s_client("-servername", "unknown.example", "-verify_hostname", "www.example.org")
    assert "Verification: OK" in s_client("-noservername", "-verify_hostname", "www.example.org")
    assert "Verification: OK" in s_client("-servername", "shop.example", "-verify_hostname", "shop.example")


def test_http_1_1_is_agreed_on_or_nothing(s_client: Callable[..., str]) -> None:
    assert "ALPN protocol: http/1.1" in s_client("-alpn", "h2,http/1.1")
    assert "alert no application protocol" in s_client("-alpn", "h2")
    assert "served" in s_client()


@pytest.mark.parametrize(("option", "version"), [("-tls1", "TLSv1"), ("-tls1_1", "TLSv1.1")])
def test_old_clients_get_in_where_legacy_says_so(
    s_client: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
    authority: trustme.CA,
    tls_server: Serve,
    option: str,
    version: str,
) -> None:
    arguments = (option, "-cipher", "ALL:@SECLEVEL=0")
    assert "alert protocol version" in s_client(*arguments)
    legacy = tls_server(tls(tmp_path_factory.mktemp("legacy"), authority, CipherSuite.LEGACY))
    said = s_client(*arguments, port=legacy)
    assert f"Protocol  : {version}\n" in said
    assert "served" in said


def test_curl_is_served(tmp_path: Path, authority: trustme.CA, tls_server: Serve) -> None:
    port = tls_server(tls(tmp_path, authority))
    for name in ("www.example.org", "shop.example"):
        argv = ["curl", "-sS", "--cacert", "ca.pem", "--connect-to", f"{name}:443:127.0.0.1:{port}", f"https://{name}/"]
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert (done.stdout, done.stderr) == ("served", "")
