"""``last-good.ini``: a copy of what runs, for ``--or-last-good`` and ``--plan``."""

from __future__ import annotations

import os
from typing import Final

from twisted.logger import Logger

from nodebalancer.control.settings_file import SettingsFile, replace
from nodebalancer.errors import SettingsError
from nodebalancer.model import Service, Settings
from nodebalancer.settings.document import tokenize
from nodebalancer.settings.reading import load
from nodebalancer.settings.writing import render

log = Logger()

NAME: Final = "last-good.ini"


class LastGood:
    """Keeps what runs in ``state_dir``, after every start, reload and change.

    Args:
        make_directory: Whether to make ``state_dir`` where there is none. Else nothing is kept there: a first try
            should leave no traces.
    """

    def __init__(self, *, make_directory: bool = False) -> None:
        self._make_directory = make_directory

    def keep(self, settings: Settings, text: str) -> None:
        """``settings`` run now.

        A copy that cannot be written keeps nothing from running: the log says it.

        Args:
            settings: What runs.
            text: The file, kept to the byte if it says just that. (There may be more in it, not loaded yet.)
        """
        directory = settings.service.state_dir
        try:
            if self._make_directory:
                os.makedirs(directory, mode=0o700, exist_ok=True)
            elif not os.path.isdir(directory):
                return
            replace(os.path.join(directory, NAME), _said_in(text, settings).encode())
        except OSError as e:
            reason = (e.strerror or str(e)).lower()
            log.warn(
                "{name} cannot be kept in {directory}: {reason}; --or-last-good and --plan will not know of this change",
                name=NAME,
                directory=directory,
                reason=reason,
            )


def last_good_of(text: str | None) -> SettingsFile:
    """The copy that goes with a settings file that says ``text``, however broken; None: nobody knows what it says."""
    said = (
        entry.pieces[0].text
        for section in tokenize(text or "").sections
        for entry in section.entries
        if (section.name, entry.key) == ("service", "state_dir")
    )
    return SettingsFile(os.path.join(next(said, Service().state_dir), NAME))


def _said_in(text: str, settings: Settings) -> str:
    try:
        if load(text, NAME) == settings:
            return text
    except SettingsError:
        pass
    return render(settings)
