"""Changes that are no reload: made in the file and in what runs, or in neither.

Rules:

* The file changes in place, only where it has to; comments and order stay (``settings.editing``).
* Everything is ready before the file is written, and the file is written before anything changes. Where it cannot be
  written the change is refused and says why.
* What somebody has written into the file by hand and not loaded yet stays there and waits for its reload.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from nodebalancer.changes import Change, apply_all
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.errors import Problem, SettingsError
from nodebalancer.model import Mode, Settings
from nodebalancer.settings.editing import edited
from nodebalancer.settings.reading import load


class Editor:
    """Changes the settings that run, and their file with them.

    Args:
        file: Where they stand.
        plane: Makes them run.
        last_good: Keeps what runs.
    """

    def __init__(self, file: SettingsFile, plane: ControlPlane, last_good: LastGood) -> None:
        self._file = file
        self._plane = plane
        self._last_good = last_good

    def set_node(
        self, path: str, *, mode: Mode | None = None, weight: int | None = None
    ) -> Deferred[tuple[Change, ...]]:
        """Want another mode or weight of a node; None: as it is.

        Args:
            path: ``www/secure/app-1``.
            mode: What it is wanted for.
            weight: 1 to 255.

        Returns:
            What was changed; empty when it was so already.

        Raises:
            SettingsError: There is no such node, or ``change`` refuses; caught by whoever asked.
        """
        wanted = {name: value for name, value in (("mode", mode), ("weight", weight)) if value is not None}
        return self.change(lambda current: _with_node(current, path, wanted))

    def change(self, alter: Callable[[Settings], Settings]) -> Deferred[tuple[Change, ...]]:
        """Want what ``alter`` makes of the settings that run, and write it into the file.

        Returns:
            What was changed; empty when nothing was, and then the file is as it was too.

        Raises:
            SettingsError: The file cannot be read, changed or written, or followers refuse; nothing has changed. Caught by
                whoever asked.
        """
        return self._plane.alter(alter, self._save)

    def _save(self, wanted: Settings, changes: tuple[Change, ...]) -> None:
        """Everybody is ready: write ``changes`` into the file.

        Raises:
            SettingsError: It cannot be; for the plane, which abandons the change.
        """
        if not changes:
            return
        text = self._file.text()
        before = load(text, self._file.named)
        try:
            expected = apply_all(before, changes)
            new = edited(text, changes)
        except KeyError as e:
            message = (
                f"what is to be changed is not in the file ({e.args[0]}); it was edited and not loaded, reload first"
            )
            raise SettingsError((Problem(self._file.named, message),)) from None
        if load(new, self._file.named) != expected:
            message = "the change cannot be written so that it would be read as it is meant; nothing was changed"
            raise SettingsError((Problem(self._file.named, message),))
        self._file.replace(new)
        self._last_good.keep(wanted, self._file, new)


def _with_node(settings: Settings, path: str, wanted: dict[str, Any]) -> Settings:
    names = path.split("/")
    try:
        owner, config, name = names
        nodebalancer = settings.nodebalancers[owner]
        node = nodebalancer.configs[config].nodes[name]
    except (ValueError, KeyError):
        raise SettingsError((Problem(path, "there is no such node; expected NODEBALANCER/CONFIG/NODE"),)) from None
    nodes = {**nodebalancer.configs[config].nodes, name: attrs.evolve(node, **wanted)}
    configs = {**nodebalancer.configs, config: attrs.evolve(nodebalancer.configs[config], nodes=nodes)}
    changed = attrs.evolve(nodebalancer, configs=configs)
    return attrs.evolve(settings, nodebalancers={**settings.nodebalancers, owner: changed})
