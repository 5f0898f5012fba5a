"""Settings as a whole new file: for settings that did not come from one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nodebalancer.fields import keys_of
from nodebalancer.model import NodeBalancer, Service, Settings
from nodebalancer.settings.node_lines import write_node
from nodebalancer.settings.sections import section_name

INDENT = "\n    "


def render(settings: Settings) -> str:
    """An INI file that loads as ``settings`` again, without comments; keys at their defaults are left out.

    Values are expected as the kinds read them, so texts without blanks around them.
    """
    return "\n".join("".join(f"{line}\n" for line in section) for section in _sections(settings))


def _sections(settings: Settings) -> Iterator[list[str]]:
    if settings.service != Service():
        yield _section(settings.service, "service")
    for word in ("manhole", "metrics", "api"):
        thing = getattr(settings, word)
        if thing is not None:
            yield _section(thing, word)
    for nodebalancer in settings.nodebalancers.values():
        yield from _nodebalancer(nodebalancer)
    for name, firewall in settings.firewalls.items():
        yield _section(firewall, "firewall", name)


def _nodebalancer(nodebalancer: NodeBalancer) -> Iterator[list[str]]:
    yield _section(nodebalancer, "nodebalancer", nodebalancer.name)
    for config in nodebalancer.configs.values():
        names = nodebalancer.name, config.name
        yield _section(config, "config", *names)
        if config.nodes:
            header = f"[{section_name('nodes', *names)}]"
            yield [header, *(f"{node.name} = {write_node(node)}" for node in config.nodes.values())]


def _section(thing: Any, word: str, *names: str) -> list[str]:
    lines = [f"[{section_name(word, *names)}]"]
    for name, (field, key) in keys_of(type(thing)).items():
        value = getattr(thing, name)
        if value != field.default:
            lines.append(_entry(name, key.kind.write(value)))
    return lines


def _entry(key: str, text: str) -> str:
    """Several lines begin below the key, where they line up."""
    lines = text.split("\n")
    return f"{key} = {text}".rstrip() if len(lines) == 1 else INDENT.join([f"{key} =", *lines])
