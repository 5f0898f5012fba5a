"""The values of the model, and that every key of it can be documented, written and read."""

from __future__ import annotations

import pickle
import re

import attrs
import pytest

from nodebalancer import model
from nodebalancer.fields import Address, keys_of
from nodebalancer.model import NAME, NOTHING, Node, NodeBalancer, PortConfig, Settings

CLASSES = [thing for thing in vars(model).values() if attrs.has(thing) and keys_of(thing)]
KEYS = [(cls, name) for cls in CLASSES for name in keys_of(cls)]


def test_every_section_has_its_class() -> None:
    assert {cls.__name__ for cls in CLASSES} == {
        "Node",
        "PortConfig",
        "NodeBalancer",
        "Service",
        "Manhole",
        "Metrics",
        "Api",
        "Firewall",
    }


@pytest.mark.parametrize(("cls", "name"), KEYS)
def test_a_default_is_available_and_can_be_written_into_the_file(cls: type, name: str) -> None:
    field, key = keys_of(cls)[name]
    assert key.available is None or key.available(field.default)
    assert key.kind.read(key.kind.write(field.default)) == field.default
    assert key.kind.expected


@pytest.mark.parametrize(("cls", "name"), KEYS)
def test_a_key_has_one_sentence_for_the_reference(cls: type, name: str) -> None:
    doc = keys_of(cls)[name][1].doc
    assert doc.endswith(".")
    assert "\n" not in doc


@pytest.mark.parametrize(("cls", "name"), KEYS)
def test_what_is_not_available_yet_is_refused_and_what_is_off_is_not(cls: type, name: str) -> None:
    """Each guarded key refuses at least one value that its kind can read."""
    key = keys_of(cls)[name][1]
    if key.available:
        others = [*key.kind.values, 2, "x", ("x",)]
        assert not all(key.available(value) for value in others)


@pytest.mark.parametrize("name", ["www", "A-1_b.c", "x" * 64])
def test_names_that_are_taken(name: str) -> None:
    assert re.fullmatch(NAME, name)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "ü", "a\n"])
def test_names_that_are_refused(name: str) -> None:
    assert not re.fullmatch(NAME, name)


def example(order: int = 1) -> Settings:
    nodes = [Node("a", Address("192.0.2.1", 80)), Node("b", Address("192.0.2.2", 80), weight=7)][::order]
    config = PortConfig("plain", {node.name: node for node in nodes})
    return Settings({"www": NodeBalancer("www", {"plain": config})})


def test_settings_are_equal_whatever_the_order_of_the_file() -> None:
    assert example() == example(-1)
    assert example() != NOTHING


def test_settings_travel_to_another_process() -> None:
    assert pickle.loads(pickle.dumps(example())) == example()


def test_settings_cannot_be_changed_behind_anybodys_back() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        example().nodebalancers["www"].label = "other"  # type: ignore[misc]


def test_nothing_runs_before_the_first_settings() -> None:
    assert not NOTHING.nodebalancers
    assert NOTHING.manhole is None
