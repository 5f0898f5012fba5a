"""What ``--check`` says of certificates, as the operator sees it (R11)."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from nodebalancer.testing.nodes import in_own_state, run_twistd

pytestmark = pytest.mark.integration

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


class Site:
    """A directory with certificates, and a file with an https config for each.

    Attributes:
        lines: The number of the line on which each config's ``ssl_cert`` stands; ``ssl_key`` stands on the next.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.lines: dict[str, int] = {}
        self._text = ["[nodebalancer www]", "listen = 127.0.0.1"]

    def issue(self, *names: str, since: int = 1, days: int = 90) -> tuple[bytes, bytes]:
        """Certificate and key."""
        issued = self.ca.issue_cert(
            *names, not_before=NOW - since * DAY, not_after=NOW + days * DAY, key_type=trustme.KeyType.ECDSA
        )
        return issued.cert_chain_pems[0].bytes(), issued.private_key_pem.bytes()

    def add(self, name: str, cert: bytes | None, key: bytes | None, more: str = "", mode: int = 0o600) -> None:
        """A config with these files; None: there is no such file."""
        for ending, content in (("crt", cert), ("key", key)):
            if content is not None:
                (self.directory / f"{name}.{ending}").write_bytes(content)
                (self.directory / f"{name}.{ending}").chmod(mode)
        self._text += [f"[config www/{name}]", f"port = {20000 + len(self.lines)}", "protocol = https"]
        self.lines[name] = len(self._text) + 1
        self._text += [f"ssl_cert = {name}.crt", f"ssl_key = {name}.key", *filter(None, [more])]
        self._text += [f"[nodes www/{name}]", "one = 127.0.0.1:9"]

    def check(self) -> tuple[int, list[str], str]:
        """Exit status, the lines on standard error, and standard output."""
        ini = in_own_state(self.directory, "\n".join(self._text))
        (self.directory / "lb.ini").write_text(ini)
        done = run_twistd(self.directory, "nodebalancer", "--config", "lb.ini", "--check")
        return done.returncode, done.stderr.splitlines(), done.stdout


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_every_problem_is_told_at_once_with_its_line(site: Site) -> None:
    cert, key = site.issue("www.example.org")
    stranger = trustme.CA(organization_name="Somebody", key_type=trustme.KeyType.ECDSA).cert_pem.bytes()
    locked = load_pem_private_key(key, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    site.add("missing", None, None)
    site.add("mismatch", cert, site.issue("www.example.org")[1])
    site.add("locked", cert, locked)
    site.add("broken", cert.replace(b"M", b"!", 40), key)
    site.add("stranger", cert + stranger, key)
    site.add("unnamed", cert, key, more="ssl_names = shop.example")
    (site.directory / "directory.crt").mkdir()
    site.add("directory", None, key)
    status, told, out = site.check()
    assert (status, out) == (1, "")
    expected = [
        ("missing", "cert", "there is no such file or directory"),
        ("missing", "key", "there is no such file or directory"),
        ("mismatch", "key", "does not belong to the certificate"),
        ("locked", "key", "has a passphrase"),
        ("broken", "cert", ""),
        ("stranger", "cert", "the chain does not fit: "),
        ("directory", "cert", "is a directory; a file was expected"),
    ]
    beginnings = [
        f"lb.ini:{site.lines[name] + (key == 'key')}: [config www/{name}] ssl_{key} = "
        f"{name}.{'crt' if key == 'cert' else 'key'}: {message}"
        for name, key, message in expected
    ]
    line = site.lines["unnamed"] + 2
    beginnings.append(
        f"lb.ini:{line}: [config www/unnamed] ssl_names = shop.example: the certificate is not valid for shop.example, "
        "but for www.example.org"
    )
    assert [start for start in beginnings if not any(one.startswith(start) for one in told)] == [], told
    assert len(told) == len(beginnings), told


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_told(site: Site) -> None:
    site.add("secret", *site.issue("www.example.org"), mode=0)
    _, told, _ = site.check()
    assert [one.rpartition(": ")[2] for one in told] == ["permission denied"] * 2


def test_warnings_leave_the_file_good_and_certificates_are_described(site: Site) -> None:
    site.add("good", *site.issue("www.example.org", "*.example.org"))
    site.add("expired", *site.issue("a.example", since=90, days=-2))
    site.add("early", *site.issue("b.example", since=-2))
    site.add("soon", *site.issue("c.example", days=5))
    site.add("open", *site.issue("d.example"), mode=0o644)
    status, told, out = site.check()
    assert status == 0

    def day(days: int) -> str:
        return (NOW + days * DAY).date().isoformat()

    def warning(name: str, message: str, key: str = "cert", ending: str = "crt") -> str:
        line = site.lines[name] + (key == "key")
        return f"warning: lb.ini:{line}: [config www/{name}] ssl_{key} = {name}.{ending}: {message}"

    assert told == [
        warning("expired", f"the certificate expired on {day(-2)}"),
        warning("early", f"the certificate is not valid before {day(2)}"),
        warning("soon", f"the certificate expires on {day(5)}, in 4 days"),
        warning(
            "open",
            "others than its owner have rights to the key (mode 644); chmod 600 takes them away",
            "key",
            "key",
        ),
    ]
    assert f"    certificate good.crt: valid for www.example.org, *.example.org; expires on {day(90)}\n" in out
