"""Who may come in, and who we are: the file ``authorized_keys``, and our host key."""

from __future__ import annotations

import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.conch.ssh.keys import Key

from nodebalancer.reading import read_whole

HOST_KEY: Final = "manhole.key"
"""Its name in ``state_dir``."""

FILE_BYTES_MAX: Final = 1 << 20

KINDS: Final = (b"ssh-", b"ecdsa-", b"sk-")
"""What a line with a key and without options begins with."""


@attrs.frozen
class AuthorizedKey:
    """A public key that may log in.

    Attributes:
        blob: As it comes over the wire.
        fingerprint: As ``ssh-keygen -l`` shows it, which is how the log names its owner: ``SHA256:…``.
        comment: What stands behind it in the file; may be empty, and anything.
    """

    blob: bytes
    fingerprint: str
    comment: bytes


AuthorizedKeys = Mapping[bytes, AuthorizedKey]
"""By blob."""


def read_authorized_keys(file: str) -> tuple[AuthorizedKeys, tuple[str, ...]]:
    """The keys in ``file``, and everything that is wrong with it, in sentences that name it and the line.

    Options before a key (``from=``, ``command=``) are refused: to pass over what somebody meant as a limit would open what
    should be shut.
    """
    try:
        lines = _contents(file).split(b"\n")
    except OSError as e:
        return {}, (f"{file} cannot be read: {_why(e)}",)
    except ValueError as e:
        return {}, (f"{file} {e}",)
    keys: dict[bytes, AuthorizedKey] = {}
    faults = []
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if line and not line.startswith(b"#"):
            try:
                key = read_key(line)
            except ValueError as e:
                faults.append(f"{file}:{number}: {e}")
            else:
                keys.setdefault(key.blob, key)
    if not keys and not faults:
        faults.append(f"{file} has no key in it; nobody could log in")
    return keys, tuple(faults)


def read_key(line: bytes) -> AuthorizedKey:
    """The key that a line says.

    Raises:
        ValueError: It says none; with a phrase for the operator.
    """
    if not line.startswith(KINDS):
        raise ValueError("expected a public key such as ssh-ed25519 AAAA… COMMENT, without options before it")
    _, coded, comment = (*line.split(None, 2), b"", b"")[:3]
    try:
        blob = b64decode(coded, validate=True)
        Key.fromString(blob, type="blob")
    except Exception:  # conch, struct and cryptography each have their own
        raise ValueError("not a public key that can be read") from None
    return AuthorizedKey(blob, f"SHA256:{b64encode(sha256(blob).digest()).decode().rstrip('=')}", comment)


def host_key(directory: str) -> Key:
    """Our key in ``directory``, made (as is the directory) when there is none, for its owner only.

    Raises:
        OSError: It cannot be read or made.
        ValueError: What is there is no key.
    """
    file = os.path.join(directory, HOST_KEY)
    try:
        data = _read(file)
    except FileNotFoundError:
        data = _make(file)
    try:
        key: Key = Key.fromString(data)
    except Exception:  # as above
        raise ValueError(f"{file} is no private key; remove it and another one is made") from None
    return key


def _contents(file: str) -> bytes:
    """What is in a file whose writers may do everything here.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such file, or others can write it; with a phrase.
    """
    data, status = read_whole(file, FILE_BYTES_MAX)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ValueError("can be written by others than its owner, who could let themselves in; chmod go-w helps")
    return data


def _make(file: str) -> bytes:
    """A new key; the one that somebody else has made meanwhile, if so."""
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    try:
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(file)
    with open(fd, "wb") as opened:
        opened.write(key)
    return key


def _read(file: str) -> bytes:
    try:
        return read_whole(file, FILE_BYTES_MAX)[0]
    except ValueError as e:
        raise ValueError(f"{file} {e}") from None


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
