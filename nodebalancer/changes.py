"""What must change to get from one set of settings to another, as values. Pure.

A path names a thing: ``()`` is the settings as a whole, ``("www",)`` a NodeBalancer, ``("www", "secure")`` a config,
``("www", "secure", "app-1")`` a node. ``apply_all(a, plan(a, b)) == b`` for all a and b.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from nodebalancer.model import Node, NodeBalancer, PortConfig, Settings

Path = tuple[str, ...]
Thing = Settings | NodeBalancer | PortConfig | Node

CHILDREN: Mapping[type, str] = {Settings: "nodebalancers", NodeBalancer: "configs", PortConfig: "nodes"}
"""Which field of a class holds the things below it. Firewalls are plain fields of the settings: nothing hangs below them."""


@attrs.frozen
class Added:
    """``thing``, with all below it, is to exist at ``path``."""

    path: Path
    thing: NodeBalancer | PortConfig | Node


@attrs.frozen
class Removed:
    """What is at ``path`` is to go, with all below it; ``thing`` is what it was."""

    path: Path
    thing: NodeBalancer | PortConfig | Node


@attrs.frozen
class Changed:
    """Fields of the thing at ``path`` get other values; what is below it is told separately.

    Attributes:
        fields: Name of the field to (value now, value wanted).
    """

    path: Path
    fields: Mapping[str, tuple[Any, Any]]


Change = Added | Removed | Changed


def plan(current: Settings, wanted: Settings) -> tuple[Change, ...]:
    """The changes that lead from ``current`` to ``wanted``, outermost first; empty when they are equal."""
    return tuple(_plan((), current, wanted))


def _plan(path: Path, current: Thing, wanted: Thing) -> Iterable[Change]:
    below = CHILDREN.get(type(current))
    fields = {}
    for field in attrs.fields(type(current)):
        values = getattr(current, field.name), getattr(wanted, field.name)
        if field.name != below and values[0] != values[1]:
            fields[field.name] = values
    if fields:
        yield Changed(path, fields)
    if below:
        now, then = getattr(current, below), getattr(wanted, below)
        for name, thing in now.items():
            if name not in then:
                yield Removed((*path, name), thing)
        for name, thing in then.items():
            if name in now:
                yield from _plan((*path, name), now[name], thing)
            else:
                yield Added((*path, name), thing)


def apply_all(settings: Settings, changes: Iterable[Change]) -> Settings:
    """``settings`` after ``changes``.

    Raises:
        KeyError: A change names what is not there; a plan made from these settings never does.
    """
    for change in changes:
        settings = _apply(settings, change.path, change)
    return settings


def _apply(thing: Any, path: Path, change: Change) -> Any:
    if not path:
        assert isinstance(change, Changed)
        return attrs.evolve(thing, **{name: wanted for name, (_, wanted) in change.fields.items()})
    below = CHILDREN[type(thing)]
    things = dict(getattr(thing, below))
    if len(path) > 1 or isinstance(change, Changed):
        things[path[0]] = _apply(things[path[0]], path[1:], change)
    elif isinstance(change, Added):
        things[path[0]] = change.thing
    else:
        del things[path[0]]
    return attrs.evolve(thing, **{below: things})
