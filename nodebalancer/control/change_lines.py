"""What a change is, in words: in one line for the log, and line by line for ``--plan``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from nodebalancer.changes import Added, Change, Changed, Path, Removed
from nodebalancer.fields import Address, keys_of
from nodebalancer.model import Mode, Node, NodeBalancer, PortConfig, Redirect, Settings
from nodebalancer.settings.node_lines import write_node
from nodebalancer.settings.sections import section_name

VERBS = {Added: "added", Removed: "removed", Changed: "changed"}
WORDS = ("", "nodebalancer", "config", "nodes")
THINGS = ("", "NodeBalancer", "config", "node")
"""By the length of a path."""


def in_one_line(changes: Iterable[Change]) -> str:
    """``[service] grace_period: 30 -> 5, 1 config added, 2 nodes changed``; ``nothing changed``."""
    sections: list[str] = []
    counts: Counter[tuple[str, str]] = Counter()
    for change in changes:
        if change.path:
            for thing in _with_all_below(len(change.path), change):
                counts[thing, VERBS[type(change)]] += 1
            continue
        assert isinstance(change, Changed)
        for name, (now, then) in change.fields.items():
            if name == "firewalls":
                counts["firewall", "changed"] += 1
            else:
                sections += _section(name, now, then)
    return (
        ", ".join([*sections, *(f"{counted(n, thing)} {verb}" for (thing, verb), n in counts.items())])
        or "nothing changed"
    )


def _with_all_below(depth: int, change: Change) -> Iterator[str]:
    yield THINGS[depth]
    if isinstance(change, Changed):
        return
    below = list(_below(change.thing))
    while below:
        depth += 1
        for _ in below:
            yield THINGS[depth]
        below = [thing for each in below for thing in _below(each)]


def _below(thing: Any) -> Iterable[Any]:
    if isinstance(thing, NodeBalancer):
        return thing.configs.values()
    return thing.nodes.values() if isinstance(thing, PortConfig) else ()


def counted(count: int, thing: str) -> str:
    """``1 node``, ``2 nodes``."""
    return f"{count} {thing if count == 1 else f'{thing}s'}"


def in_lines(current: Settings, wanted: Settings, changes: Iterable[Change]) -> Iterator[str]:
    """What changes, thing by thing, and whom that touches."""
    for change in changes:
        yield from _change(change)
    yield from _listeners(_places(current), _places(wanted))
    yield from _nobody_left(current, wanted)


def _change(change: Change) -> Iterator[str]:
    header = _header(change.path)
    if isinstance(change, Changed):
        for name, (now, then) in change.fields.items():
            yield from _field(change.path, name, now, then)
    elif isinstance(change.thing, Node):
        if isinstance(change, Added):
            yield f"{header} is added: {write_node(change.thing)}"
        else:
            yield f"{header} goes: no new connections, open ones go on to their end"
    elif isinstance(change, Added):
        yield f"{header} is added"
        for thing in _below(change.thing):
            yield from _change(Added((*change.path, thing.name), thing))
    else:
        yield f"{header} goes, with all below it; open connections go on to their end"


def _field(path: Path, name: str, now: Any, then: Any) -> Iterator[str]:
    if name == "firewalls":
        for each in sorted(each for each in {**now, **then} if now.get(each) != then.get(each)):
            yield f"[{section_name('firewall', each)}] {_verb(now.get(each), then.get(each))}"
    elif not path:
        yield from _section(name, now, then)
    else:
        keyed = (NodeBalancer, PortConfig, Node)[len(path) - 1]
        yield f"{_header(path)} {_values(keyed, name, now, then)}{_meaning(name, then)}"


def _section(name: str, now: Any, then: Any) -> Iterator[str]:
    """What changes in one of the sections that there are once."""
    if now is None or then is None:
        yield f"[{name}] {_verb(now, then)}"
        return
    for key in keys_of(type(then)):
        values = getattr(now, key), getattr(then, key)
        if values[0] != values[1]:
            yield f"[{name}] {_values(type(then), key, *values)}"


def _values(keyed: type, name: str, now: Any, then: Any) -> str:
    keys = keys_of(keyed)
    write = keys[name][1].kind.write if name in keys else str
    return f"{name}: {write(now) or 'nothing'} -> {write(then) or 'nothing'}"


def _verb(now: Any, then: Any) -> str:
    if now is None:
        return "is added"
    return "goes" if then is None else "is changed"


def _meaning(name: str, then: Any) -> str:
    if name == "address":
        return "; new connections go there, open ones stay where they are"
    if name == "mode" and then is Mode.DRAIN:
        return "; new connections only of clients that stick to it"
    if name == "mode" and then is Mode.REJECT:
        return "; no new connections, open ones go on to their end"
    return ""


def _header(path: Path) -> str:
    if len(path) == len(WORDS) - 1:
        return f"[{section_name('nodes', *path[:2])}] {path[2]}"
    return f"[{section_name(WORDS[len(path)], *path)}]"


Places = dict[Address, tuple[str, str]]
"""Where is listened, and whether for something that needs a socket of its own: the protocol."""


def _places(settings: Settings) -> Places:
    return {
        Address(host, config.port): (config.protocol.value, f"{nodebalancer.name}/{config.name}")
        for nodebalancer in settings.nodebalancers.values()
        for config in nodebalancer.configs.values()
        for host in nodebalancer.listen
    }


def _listeners(now: Places, then: Places) -> Iterator[str]:
    for address, (protocol, path) in then.items():
        if address not in now:
            yield f"listens on {address} for [config {path}]"
        elif now[address][0] != protocol:
            yield f"listens on {address} anew, for {protocol}"
    for address, (_, path) in now.items():
        if address not in then:
            yield f"leaves {address}, where [config {path}] was"


def _nobody_left(current: Settings, wanted: Settings) -> Iterator[str]:
    """Configs that change and have no node then that clients may get, however many are up."""
    now = dict(_configs(current))
    for path, config in _configs(wanted):
        takers = any(node.mode in (Mode.ACCEPT, Mode.BACKUP) for node in config.nodes.values())
        if not takers and config != now.get(path) and config.redirect is Redirect.NONE:
            yield f"no node of {path} takes new clients then"


def _configs(settings: Settings) -> Iterator[tuple[str, PortConfig]]:
    for nodebalancer in settings.nodebalancers.values():
        for config in nodebalancer.configs.values():
            yield f"{nodebalancer.name}/{config.name}", config
