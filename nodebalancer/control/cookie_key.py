"""The key from which cookies of stickiness are made: kept in a file, so that clients keep their nodes over a restart (R16)."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from twisted.internet.defer import Deferred, succeed

from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.model import Settings, Stickiness
from nodebalancer.reading import read_whole

KEY_BYTES: Final = 32

KEY_BYTES_MIN: Final = 16
"""A key of the operator's own may be shorter, but no guess."""

KEY_BYTES_MAX: Final = 4096
"""With the end of its line; what is longer is no key but another file."""


class CookieKey:
    """Follows the settings with the key that they name; makes one in ``state_dir`` where they name none.

    Nothing is read or made as long as no config holds its clients by cookie. A file that is named is read at every reload,
    so that its key can be changed. One of ours nobody changes: it is read once, since after that we may have dropped the
    right to.

    Attributes:
        key: The key; empty as long as nobody needs one.
    """

    def __init__(self) -> None:
        self.key = b""
        self._own: Path | None = None  # where ``key`` is from, if that is ours
        self._prepared: tuple[bytes, Path | None] = (b"", None)

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """A file that is named has to be there; one of ours is made when it is needed."""
        if not wanted.service.cookie_key_file or not _needed(wanted):
            return succeed(())
        try:
            _read(Path(wanted.service.cookie_key_file))
        except (OSError, ValueError) as e:
            return succeed((_problem(wanted, e),))
        return succeed(())

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Read the key, or make one."""
        self._prepared = self.key, self._own
        if _needed(wanted):
            try:
                self._prepared = self._key(wanted)
            except (OSError, ValueError) as e:
                return succeed((_problem(wanted, e),))
        return succeed(())

    def commit(self) -> Deferred[None]:
        """Use it."""
        self.key, self._own = self._prepared
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        """A key that was made stays; nobody uses it."""
        return succeed(None)

    def _key(self, wanted: Settings) -> tuple[bytes, Path | None]:
        if wanted.service.cookie_key_file:
            return _read(Path(wanted.service.cookie_key_file)), None
        own = Path(wanted.service.state_dir, "cookie.key")
        if own == self._own:
            return self.key, own
        try:
            return _read(own), own
        except FileNotFoundError:
            return _make(own), own


def _needed(wanted: Settings) -> bool:
    return any(
        config.stickiness is Stickiness.HTTP_COOKIE
        for nodebalancer in wanted.nodebalancers.values()
        for config in nodebalancer.configs.values()
    )


def _read(file: Path) -> bytes:
    try:
        key = read_whole(str(file), KEY_BYTES_MAX)[0].strip()
    except ValueError as e:
        raise ValueError(f"{file} {e}") from None
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(f"{file} has {len(key)} bytes; a key has {KEY_BYTES_MIN} to {KEY_BYTES_MAX}")
    return key


def _make(file: Path) -> bytes:
    """A new key, for nobody else to read; the one that somebody else has made meanwhile, if so.

    Written whole before it has its name: a machine that stops or a disk that is full leaves no key that is none.
    """
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = secrets.token_hex(KEY_BYTES).encode()
    fd, name = tempfile.mkstemp(dir=file.parent, prefix=".cookie.key.")
    try:
        with open(fd, "wb") as opened:
            opened.write(key + b"\n")
            opened.flush()
            os.fsync(fd)
        os.link(name, file)
    except FileExistsError:
        return _read(file)
    finally:
        os.unlink(name)
    return key


def _problem(wanted: Settings, error: OSError | ValueError) -> Problem:
    key = "cookie_key_file" if wanted.service.cookie_key_file else "state_dir"
    where = wanted.service.cookie_key_file or wanted.service.state_dir
    what = f"{error.filename or where}: {error.strerror}" if isinstance(error, OSError) else str(error)
    hint = "" if wanted.service.cookie_key_file else "; stickiness http_cookie keeps its key there"
    return Problem("[service]", f"{key}: {what}{hint}", ("service", key))
