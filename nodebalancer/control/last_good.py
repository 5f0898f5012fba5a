"""``last-good.ini``: a copy of what runs, for ``--or-last-good`` and ``--plan``.

Rules:

* Its first line says which settings file it was made from: to start from another balancer's settings would be worse than
  not to start.
* One that was made from another file is neither used nor written over. One that does not say is ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from twisted.logger import Logger

from nodebalancer.control.settings_file import SettingsFile, replace
from nodebalancer.errors import SettingsError
from nodebalancer.model import Service, Settings
from nodebalancer.settings.document import tokenize
from nodebalancer.settings.reading import load
from nodebalancer.settings.writing import render
from nodebalancer.wire.http1.lines import escaped

log = Logger()

NAME: Final = "last-good.ini"

MADE_FROM: Final = "# what ran last of the settings in "
"""Begins the first line of a copy; the rest of it is the file's absolute path, escaped."""


class LastGood:
    """Keeps what runs in ``state_dir``, after every start, reload and change.

    Args:
        make_directory: Whether to make ``state_dir`` where there is none. Else nothing is kept there: a first try
            should leave no traces.
    """

    def __init__(self, *, make_directory: bool = False) -> None:
        self._make_directory = make_directory

    def keep(self, settings: Settings, file: SettingsFile, text: str) -> None:
        """``settings`` run now.

        A copy that cannot be written keeps nothing from running: the log says it.

        Args:
            settings: What runs.
            file: Where they stand.
            text: What is there, kept to the byte if it says just that. (There may be more in it, not loaded yet.) Else the
                copy that is there stays, comments and all, if that does.
        """
        directory = settings.service.state_dir
        try:
            if self._make_directory:
                os.makedirs(directory, mode=0o700, exist_ok=True)
            elif not os.path.isdir(directory):
                return
            path = os.path.join(directory, NAME)
            made_from, copied = _parted(SettingsFile(path).remains())
            if made_from not in ("", _shown(file)):
                log.warn(
                    "{path} was made from {other}, not from {file}, and is left alone: both have the same state_dir, and each "
                    "needs its own; if the other is no more, remove the copy",
                    path=path,
                    other=made_from,
                    file=_shown(file),
                )
                return
            replace(path, f"{MADE_FROM}{_shown(file)}\n{_said_in((text, copied), settings)}".encode())
        except OSError as e:
            reason = (e.strerror or str(e)).lower()
            log.warn(
                "{name} cannot be kept in {directory}: {reason}; --or-last-good and --plan will not know of this change",
                name=NAME,
                directory=directory,
                reason=reason,
            )


def last_good_of(text: str) -> SettingsFile:
    """The copy that goes with a settings file that says ``text``, however broken. Where it does not say, it is the default."""
    said = (
        entry.pieces[0].text
        for section in tokenize(text).sections
        for entry in section.entries
        if (section.name, entry.key) == ("service", "state_dir")
    )
    return SettingsFile(os.path.join(next(filter(None, said), Service().state_dir), NAME))


def stranger(copy: SettingsFile, file: SettingsFile) -> str:
    """The other settings file that ``copy`` was made from, as it can be shown; empty: it is the copy of ``file``."""
    made_from, _ = _parted(copy.remains())
    return "" if made_from == _shown(file) else made_from


def _parted(text: str) -> tuple[str, str]:
    """What a copy says it was made from (empty: nothing), and what was copied."""
    first, _, rest = text.partition("\n")
    return (first.removeprefix(MADE_FROM), rest) if first.startswith(MADE_FROM) else ("", text)


def _shown(file: SettingsFile) -> str:
    return escaped(os.fsencode(file.path))


def _said_in(texts: Iterable[str], settings: Settings) -> str:
    """The first of ``texts`` that says ``settings``, or one of ours that does."""
    for text in texts:
        with suppress(SettingsError):
            if load(text, NAME) == settings:
                return text
    return render(settings)
