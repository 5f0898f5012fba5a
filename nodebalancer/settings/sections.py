"""The sections that the file may have, and which names they take."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import attrs

from nodebalancer.model import NAME, Api, Firewall, Manhole, Metrics, NodeBalancer, PortConfig, Service

NAME_RULE = "a name is 1 to 64 of the characters A-Z a-z 0-9 _ . -"

LIKENESS_MAX = 100
"""Characters that are compared; the cost grows with their square."""


@attrs.frozen
class Sort:
    """A sort of section.

    Attributes:
        word: What its header begins with.
        model: The class whose keys are its keys; None for ``nodes``, where each line is a node.
        names: What follows the word, separated by a slash.
        available: False while what it configures is not built: its keys are checked, then it is refused.
    """

    word: str
    model: type | None
    names: tuple[str, ...] = ()
    available: bool = True

    @property
    def form(self) -> str:
        """Its header with placeholders: ``[config NODEBALANCER/CONFIG]``."""
        return f"[{section_name(self.word, *self.names)}]"

    def read_names(self, text: str) -> tuple[str, ...]:
        """The names in what follows the word.

        Raises:
            ValueError: With a sentence for the operator; caught by the reader.
        """
        names = tuple(text.split("/")) if text else ()
        if len(names) != len(self.names):
            raise ValueError(f"expected {self.form}")
        for name in names:
            if not re.fullmatch(NAME, name):
                raise ValueError(f"{name!r} cannot be a name; expected {self.form}, where {NAME_RULE}")
        return names


SORTS = {
    sort.word: sort
    for sort in (
        Sort("service", Service),
        Sort("manhole", Manhole),
        Sort("metrics", Metrics),
        Sort("api", Api, available=False),
        Sort("defaults", PortConfig),
        Sort("nodebalancer", NodeBalancer, ("NAME",)),
        Sort("config", PortConfig, ("NODEBALANCER", "CONFIG")),
        Sort("nodes", None, ("NODEBALANCER", "CONFIG")),
        Sort("firewall", Firewall, ("NAME",)),
    )
}
"""By their words."""


def section_name(word: str, *names: str) -> str:
    """The name of a section: ``section_name("config", "www", "secure") == "config www/secure"``."""
    return f"{word} {'/'.join(names)}".rstrip()


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of ``known`` (at least one) that is spelt most like ``word``, of which the beginning is enough."""
    by_folded = {name.casefold(): name for name in known}
    return by_folded[difflib.get_close_matches(word[:LIKENESS_MAX].casefold(), by_folded, n=1, cutoff=0.0)[0]]
