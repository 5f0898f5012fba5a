"""The files that certificates come from."""

from __future__ import annotations

import hashlib
import os
import stat

import attrs

from nodebalancer.certificates.pem import has_key
from nodebalancer.errors import CertificateError
from nodebalancer.reading import read_whole
from nodebalancer.wire.http1.lines import escaped

BYTES_MOST = 2**20
"""Of one file. A certificate with its chain has some 5 KiB."""


@attrs.frozen
class Source:
    """Where a certificate and its key are.

    Attributes:
        cert: File of the certificate and its chain.
        key: File of the key. Empty for a file of ``ssl_cert_dir``: the same file if there is a key in it, else
            ``NAME.key`` beside ``NAME.pem``, as in HAProxy.
    """

    cert: str
    key: str = ""

    def read(self) -> Material:
        """What the files say now.

        Raises:
            CertificateError: With what cannot be read.
        """
        flaws: list[tuple[str, str]] = []
        cert = key = b""
        exposed = ""
        try:
            cert, exposed = _read(self.cert, "ssl_cert")
        except CertificateError as e:
            flaws += e.flaws
        if self.key or not (flaws or has_key(cert)):
            try:
                key, exposed = _read(self.key or self._key_beside(), "ssl_key")
            except CertificateError as e:
                flaws += e.flaws
        if flaws:
            raise CertificateError(*flaws)
        return Material(cert, key or cert, exposed)

    def _key_beside(self) -> str:
        path = f"{os.path.splitext(self.cert)[0]}.key"
        if os.path.lexists(path):
            return path
        beside = escaped(os.fsencode(os.path.basename(path)))
        message = f"has no private key in it, and there is no {beside} beside it"
        raise CertificateError(("ssl_cert", message))


@attrs.frozen
class Material:
    """What the files of one source say.

    Attributes:
        cert: Certificate and chain.
        key: The key.
        exposed: What is wrong with the rights of the key's file; empty: nothing.
        digest: Of both files: the same as long as they say the same.
    """

    cert: bytes = attrs.field(repr=False)
    key: bytes = attrs.field(repr=False)
    exposed: str

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(hashlib.sha256(self.cert).digest() + self.key).digest()


def sources_in(directory: str) -> tuple[Source, ...]:
    """The ``*.pem`` files of ``ssl_cert_dir``, in the order of their names, which is the order of preference.

    Raises:
        CertificateError: About ``ssl_cert_dir``.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError as e:
        raise CertificateError(("ssl_cert_dir", _why(e))) from None
    return tuple(Source(os.path.join(directory, name)) for name in names if _is_ours(name))


def _is_ours(name: str) -> bool:
    return name.endswith(".pem") and not name.startswith(".")


def _read(path: str, about: str) -> tuple[bytes, str]:
    """What a file says, and what is wrong with its rights if there is a key in it."""
    try:
        data, status = read_whole(path, BYTES_MOST)
    except OSError as e:
        raise CertificateError((about, _why(e))) from None
    except ValueError as e:
        raise CertificateError((about, str(e))) from None
    return data, _exposed(status)


def _exposed(status: os.stat_result) -> str:
    """The group may read a key that root owns: that is how a key is given to a service (as in PostgreSQL)."""
    allowed = 0o740 if status.st_uid == 0 else 0o700
    mode = stat.S_IMODE(status.st_mode)
    if not mode & 0o077 & ~allowed:
        return ""
    return f"others than its owner have rights to the key (mode {mode:o}); chmod 600 takes them away"


def _why(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or directory"
    if isinstance(error, IsADirectoryError):
        return "is a directory; a file was expected"
    if isinstance(error, NotADirectoryError):
        return "is not a directory"
    return f"cannot be read: {(error.strerror or str(error)).lower()}"
