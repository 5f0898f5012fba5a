"""What a change is, in words: in one line for the log, and line by line for ``--plan``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from nodebalancer.changes import Added, Change, Changed, Path, Removed
from nodebalancer.fields import Address, keys_of
from nodebalancer.model import Mode, Node, NodeBalancer, PortConfig, Settings
from nodebalancer.settings.node_lines import write_node
from nodebalancer.settings.sections import section_name

VERBS = {Added: "added", Removed: "removed", Changed: "changed"}
WORDS = ("", "nodebalancer", "config", "nodes")
THINGS = ("", "NodeBalancer", "config", "node")
"""By the length of a path."""


def in_one_line(changes: Iterable[Change]) -> str:
    """``1 config added, 2 nodes changed, 1 node removed``; ``nothing changed``."""
    counts: Counter[tuple[str, str]] = Counter()
    for change in changes:
        if change.path:
            for thing in _with_all_below(len(change.path), change):
                counts[thing, VERBS[type(change)]] += 1
        else:
            assert isinstance(change, Changed)
            counts.update(((f"[{name}]" if name != "firewalls" else "firewall"), "changed") for name in change.fields)
    parts = (
        f"{thing if thing.startswith('[') else counted(count, thing)} {verb}" for (thing, verb), count in counts.items()
    )
    return ", ".join(parts) or "nothing changed"


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
        yield f"[{name}] {_verb(now, then)}"
    else:
        keys = keys_of((NodeBalancer, PortConfig, Node)[len(path) - 1])
        write = keys[name][1].kind.write if name in keys else str
        yield f"{_header(path)} {name}: {write(now) or 'nothing'} -> {write(then) or 'nothing'}{_meaning(name, then)}"


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
