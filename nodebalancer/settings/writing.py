"""Settings as a whole new file: for settings that did not come from one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from nodebalancer.fields import keys_of
from nodebalancer.model import Node, NodeBalancer, PortConfig, Service, Settings
from nodebalancer.settings.node_lines import write_node
from nodebalancer.settings.sections import section_name

INDENT = "    "


def render(settings: Settings) -> str:
    """An INI file that loads as ``settings`` again, without comments; keys at their defaults are left out.

    Values are expected as the kinds read them, so texts without blanks around them.
    """
    return "\n".join("".join(f"{line}\n" for line in section) for section in _sections(settings))


def nodebalancer_lines(nodebalancer: NodeBalancer, said: Collection[str] = ()) -> Iterator[list[str]]:
    """Its sections; ``said`` as in ``config_lines``."""
    yield section_lines(nodebalancer, "nodebalancer", nodebalancer.name)
    for config in nodebalancer.configs.values():
        yield from config_lines(nodebalancer.name, config, said)


def config_lines(owner: str, config: PortConfig, said: Collection[str] = ()) -> Iterator[list[str]]:
    """Its sections. ``said``: keys that [defaults] of the file has, so that their defaults here have to be told."""
    yield section_lines(config, "config", owner, config.name, said=said)
    if config.nodes:
        yield nodes_lines(owner, config.name, config.nodes.values())


def nodes_lines(owner: str, config: str, nodes: Iterable[Node]) -> list[str]:
    """The section of these nodes."""
    return [f"[{section_name('nodes', owner, config)}]", *map(node_line, nodes)]


def node_line(node: Node) -> str:
    """A node's line."""
    return f"{node.name} = {write_node(node)}"


def section_lines(thing: Any, word: str, *names: str, said: Collection[str] = ()) -> list[str]:
    """The section of a thing of the model, and those of its keys that are not at their defaults or among ``said``."""
    lines = [f"[{section_name(word, *names)}]"]
    for name, (field, key) in keys_of(type(thing)).items():
        value = getattr(thing, name)
        if value != field.default or name in said:
            lines += entry_lines(name, key.kind.write(value))
    return lines


def entry_lines(key: str, text: str) -> list[str]:
    """Several lines begin below the key, where they line up."""
    lines = text.split("\n")
    return [f"{key} = {text}".rstrip()] if len(lines) == 1 else [f"{key} =", *(INDENT + line for line in lines)]


def _sections(settings: Settings) -> Iterator[list[str]]:
    if settings.service != Service():
        yield section_lines(settings.service, "service")
    for word in ("manhole", "metrics", "api"):
        thing = getattr(settings, word)
        if thing is not None:
            yield section_lines(thing, word)
    for nodebalancer in settings.nodebalancers.values():
        yield from nodebalancer_lines(nodebalancer)
    for name, firewall in settings.firewalls.items():
        yield section_lines(firewall, "firewall", name)
