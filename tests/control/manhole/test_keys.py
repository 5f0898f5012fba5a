from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from nodebalancer.control.manhole import keys
from nodebalancer.control.manhole.keys import FILE_BYTES_MAX, HOST_KEY, host_key, read_authorized_keys, read_key

LINE = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN8z6YCPp6Rr0P5bUnTzTN4yTb7KQJ2k0wIhbcTBTBLk anna@example (her own)"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "authorized_keys"


def faults(file: Path) -> tuple[str, ...]:
    found, said = read_authorized_keys(str(file))
    assert not (found and not said)
    return said


def test_each_line_is_a_key_with_the_fingerprint_that_openssh_shows(file: Path, tmp_path: Path) -> None:
    for kind in ("ed25519", "ecdsa", "rsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", kind, "-f", tmp_path / kind], check=True)
    publics = [(tmp_path / f"{kind}.pub").read_text() for kind in ("ed25519", "ecdsa", "rsa")]
    file.write_text("# mine\n\n" + "".join(publics) + publics[0])
    found, said = read_authorized_keys(str(file))
    shown = subprocess.run(["ssh-keygen", "-lf", file], check=True, capture_output=True, text=True).stdout
    assert said == ()
    assert [key.comment for key in found.values()] == [b"ed25519", b"ecdsa", b"rsa"]
    assert [key.fingerprint for key in found.values()] == [line.split()[1] for line in shown.splitlines()[:3]]


def test_a_comment_may_be_anything() -> None:
    assert read_key(LINE).comment == b"anna@example (her own)"
    assert read_key(b" ".join(LINE.split()[:2])).comment == b""


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"ssh-ed25519", "not a public key that can be read"),
        (b"ssh-ed25519 AAAA!", "not a public key that can be read"),
        (b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN8z", "not a public key that can be read"),
        (
            b'from="10.0.0.1" ' + LINE,
            "expected a public key such as ssh-ed25519 AAAA… COMMENT, without options before it",
        ),
        (b"hello", "expected a public key such as ssh-ed25519 AAAA… COMMENT, without options before it"),
    ],
)
def test_every_line_that_is_no_key_is_told_with_its_number(file: Path, line: bytes, fault: str) -> None:
    file.write_bytes(b"\n".join([LINE, b"# comment", line, line]))
    assert faults(file) == (f"{file}:3: {fault}", f"{file}:4: {fault}")


def test_a_file_that_lets_nobody_in_is_a_fault(file: Path) -> None:
    assert faults(file) == (f"{file} cannot be read: no such file or directory",)
    file.write_text("# nobody yet\n")
    assert faults(file) == (f"{file} has no key in it; nobody could log in",)


def test_a_file_that_others_can_write_is_a_fault(file: Path) -> None:
    file.write_bytes(LINE)
    file.chmod(0o664)
    assert "can be written by others than its owner" in faults(file)[0]


def test_what_is_no_file_or_too_large_is_not_read(file: Path, tmp_path: Path) -> None:
    os.mkfifo(file)
    assert faults(file) == (f"{file} is no ordinary file",)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    assert faults(large) == (f"{large} has more than {FILE_BYTES_MAX} bytes",)


def test_the_host_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    made = host_key(str(tmp_path / "state"))
    file = tmp_path / "state" / HOST_KEY
    assert made.sshType() == b"ssh-ed25519"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert host_key(str(tmp_path / "state")) == made


def test_a_host_key_that_somebody_else_makes_meanwhile_is_ours_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = host_key(str(tmp_path))
    read = keys._read
    answers = [FileNotFoundError]

    def late(file: str) -> bytes:
        if answers:
            raise answers.pop()
        return read(file)

    monkeypatch.setattr(keys, "_read", late)
    assert host_key(str(tmp_path)) == made


def test_what_is_no_host_key_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / HOST_KEY).write_text("mine\n")
    with pytest.raises(ValueError, match="is no private key; remove it"):
        host_key(str(tmp_path))
    assert (tmp_path / HOST_KEY).read_text() == "mine\n"
    (tmp_path / HOST_KEY).unlink()
    os.mkfifo(tmp_path / HOST_KEY)
    with pytest.raises(ValueError, match="is no ordinary file"):
        host_key(str(tmp_path))
