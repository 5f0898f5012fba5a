"""The operator's own pages for our errors: ``error_pages = DIR``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from twisted.internet.defer import Deferred, succeed

from nodebalancer.changes import Change
from nodebalancer.errors import Problem
from nodebalancer.model import Settings
from nodebalancer.reading import read_whole
from nodebalancer.settings.sections import section_name
from nodebalancer.wire.answers import PAGE_BYTES_MAX, Page, Pages, read_page

EXPECTED: Final = "expected files such as 503.html or 503.http"

Path = tuple[str, str]
"""NodeBalancer and config."""


class ErrorPages:
    """Follows the settings with the pages that they name.

    Files are read when settings are examined or prepared and at no other time: an answer waits for no disk, and a file that
    is being edited harms nobody until the next reload.
    """

    def __init__(self) -> None:
        self._pages: Mapping[Path, Pages] = {}
        self._prepared: Mapping[Path, Pages] = {}

    def examine(self, wanted: Settings) -> Deferred[tuple[Problem, ...]]:
        """Read and judge every page that ``wanted`` names."""
        return succeed(_read(wanted)[1])

    def prepare(self, wanted: Settings, changes: tuple[Change, ...]) -> Deferred[tuple[Problem, ...]]:
        """Read them again: they may be others than a moment ago."""
        self._prepared, problems = _read(wanted)
        return succeed(problems)

    def commit(self) -> Deferred[None]:
        """Use them."""
        self._pages = self._prepared
        return succeed(None)

    def abandon(self) -> Deferred[None]:
        """Nothing is held."""
        return succeed(None)

    def pages_for(self, path: Path) -> Pages:
        """A config's pages, by status; empty for a config without ``error_pages``."""
        return self._pages.get(path, {})


def _read(wanted: Settings) -> tuple[Mapping[Path, Pages], tuple[Problem, ...]]:
    """The pages of all configs, and what is wrong with them."""
    pages: dict[Path, Pages] = {}
    problems: list[Problem] = []
    for nodebalancer in wanted.nodebalancers.values():
        for config in nodebalancer.configs.values():
            if not config.error_pages:
                continue
            path = nodebalancer.name, config.name
            section = section_name("config", *path)
            pages[path], faults = _read_directory(config.error_pages)
            problems += (
                Problem(f"[{section}] error_pages = {config.error_pages}", fault, (section, "error_pages"))
                for fault in faults
            )
    return pages, tuple(problems)


def _read_directory(directory: str) -> tuple[Pages, list[str]]:
    """The pages in a directory, and what is wrong with it; hidden files are passed over."""
    try:
        names = sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except OSError as e:
        return {}, [f"cannot be read: {_why(e)}; expected a directory"]
    if not names:
        return {}, [f"has no pages; {EXPECTED}"]
    pages: dict[int, Page] = {}
    files: dict[int, str] = {}
    faults = []
    for name in names:
        try:
            status, page = read_page(name, read_whole(os.path.join(directory, name), PAGE_BYTES_MAX)[0])
        except OSError as e:
            faults.append(f"{name}: cannot be read: {_why(e)}")
        except ValueError as e:
            faults.append(f"{name}: {e}")
        else:
            if status in pages:
                faults.append(f"{files[status]} and {name} are both for {status}; expected one of them")
            pages[status], files[status] = page, name
    return pages, faults


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
