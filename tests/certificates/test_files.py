"""The files that certificates come from."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodebalancer.certificates.files import BYTES_MOST, Source, sources_in
from nodebalancer.certificates.selfsigned import self_signed
from nodebalancer.errors import CertificateError

PAIR = self_signed()
CERT = PAIR[: PAIR.index(b"-----BEGIN PRIVATE")]
KEY = PAIR[len(CERT) :]


def put(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def flaws(source: Source) -> tuple[tuple[str, str], ...]:
    with pytest.raises(CertificateError) as caught:
        source.read()
    return caught.value.flaws


@contextmanager
def as_nobody() -> Iterator[None]:
    if os.geteuid() == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            yield
        finally:
            os.seteuid(0)
    else:
        yield


def test_both_files_are_read(tmp_path: Path) -> None:
    material = Source(put(tmp_path / "a.crt", CERT), put(tmp_path / "a.key", KEY)).read()
    assert (material.cert, material.key, material.exposed) == (CERT, KEY, "")


def test_the_digest_changes_with_either_file_and_only_then(tmp_path: Path) -> None:
    source = Source(put(tmp_path / "a.crt", CERT), put(tmp_path / "a.key", KEY))
    digests = [source.read().digest]
    for name, content in [("a.crt", CERT), ("a.crt", CERT + b"\n"), ("a.key", KEY + b"\n")]:
        put(tmp_path / name, content)
        digests.append(source.read().digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_what_cannot_be_read_is_told_for_each_file(tmp_path: Path) -> None:
    missing, directory, pipe = tmp_path / "missing", tmp_path / "directory", tmp_path / "pipe"
    directory.mkdir()
    os.mkfifo(pipe)
    large = put(tmp_path / "large", b"x" * (BYTES_MOST + 1))
    nowhere = "there is no such file or directory"
    assert flaws(Source(str(missing), str(missing))) == (("ssl_cert", nowhere), ("ssl_key", nowhere))
    assert flaws(Source(str(directory), str(pipe))) == (
        ("ssl_cert", "is a directory; a file was expected"),
        ("ssl_key", "is no ordinary file"),
    )
    assert flaws(Source(large, large))[0] == ("ssl_cert", "has more than 1048576 bytes")


def test_a_file_without_the_right_to_read_it_is_told(tmp_path: Path) -> None:
    path = put(tmp_path / "a.pem", PAIR, mode=0)
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(0o755)
    with as_nobody():
        assert flaws(Source(path, path))[0] == ("ssl_cert", "cannot be read: permission denied")


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o660])
def test_a_key_that_others_may_read_or_write_is_told(tmp_path: Path, mode: int) -> None:
    source = Source(put(tmp_path / "a.crt", CERT, 0o644), put(tmp_path / "a.key", KEY, mode))
    assert source.read().exposed == (
        f"others than its owner have rights to the key (mode {mode:o}); chmod 600 takes them away"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_only_roots_keys_may_be_read_by_their_group(tmp_path: Path) -> None:
    path = put(tmp_path / "a.pem", PAIR, 0o640)
    assert Source(path, path).read().exposed == ""
    os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
    assert "mode 640" in Source(path, path).read().exposed


def test_a_file_of_the_directory_has_its_key_in_it_or_beside_it(tmp_path: Path) -> None:
    put(tmp_path / "b.pem", PAIR)
    put(tmp_path / "b.key", b"not looked at")
    put(tmp_path / "a.pem", CERT, 0o644)
    put(tmp_path / "a.key", KEY, 0o600)
    put(tmp_path / ".hidden.pem", b"")
    put(tmp_path / "README", b"")
    first, second = sources_in(str(tmp_path))
    assert (os.path.basename(first.cert), os.path.basename(second.cert)) == ("a.pem", "b.pem")
    assert (first.read().key, first.read().exposed) == (KEY, "")
    assert (second.read().key, second.read().exposed) == (PAIR, "")


def test_a_file_of_the_directory_without_a_key_is_told(tmp_path: Path) -> None:
    put(tmp_path / "a.pem", CERT)
    [source] = sources_in(str(tmp_path))
    assert flaws(source) == (("ssl_cert", "has no private key in it, and there is no a.key beside it"),)


@pytest.mark.parametrize(
    ("name", "message"), [("none", "there is no such file or directory"), ("file", "is not a directory")]
)
def test_a_directory_that_is_none_is_told(tmp_path: Path, name: str, message: str) -> None:
    put(tmp_path / "file", b"")
    with pytest.raises(CertificateError) as caught:
        sources_in(str(tmp_path / name))
    assert caught.value.flaws == (("ssl_cert_dir", message),)
