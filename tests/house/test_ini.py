"""The INI file as we tell people about it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.errors import SettingsError
from nodebalancer.fields import ListOf, Text, keys_of
from nodebalancer.model import Node
from nodebalancer.settings import load
from nodebalancer.settings.sections import SORTS

ROOT = Path(__file__).parents[2]
MODELS = {"node": Node} | {word: sort.model for word, sort in SORTS.items() if sort.model is not None}


def reference() -> Any:
    spec = importlib.util.spec_from_file_location("ini_reference", ROOT / "docs/_ext/ini_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = reference()


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "etc").glob("*.ini")))
def test_a_shipped_file_can_be_used_as_it_is(name: str) -> None:
    assert load((ROOT / "etc" / name).read_text(), name).nodebalancers


def test_the_annotated_example_is_shipped() -> None:
    assert (ROOT / "etc/nodebalancer.ini").exists()


def test_every_section_is_documented() -> None:
    described = re.findall(r"^\.\. ini-section:: (\w+)$", (ROOT / "docs/configuration.rst").read_text(), re.MULTILINE)
    # [defaults] takes the keys of [config …] and says so.
    assert sorted(described) == sorted(MODELS.keys() - {"defaults"})
    text = (ROOT / "docs/configuration.rst").read_text()
    assert [sort.form for sort in SORTS.values() if f"\n{sort.form}\n---" not in text] == []


@pytest.mark.parametrize("word", sorted(MODELS.keys() - {"defaults"}))
def test_every_key_is_described_once_with_all_that_is_said_of_it(word: str) -> None:
    described = re.split(r"^\.\. ini-key:: ", REFERENCE.section_text(word), flags=re.MULTILINE)[1:]
    keys = keys_of(MODELS[word])
    assert [text.partition("\n")[0] for text in described] == [f"{word}.{name}" for name in keys]
    for text, (field, key) in zip(described, keys.values(), strict=True):
        plain = text.replace("\\", "")
        assert key.doc in plain
        assert f":Expected: {key.kind.expected}" in plain
        assert (f":Default: ``{key.kind.write(field.default)}``\n" in text) is (key.kind.write(field.default) != "")
        assert f":Serves: {key.row} of" in text or not key.row


@pytest.mark.parametrize("word", MODELS)
def test_what_a_key_means_is_said_in_a_sentence(word: str) -> None:
    assert [name for name, (_, key) in keys_of(MODELS[word]).items() if not re.fullmatch(r"[A-Z].*\.", key.doc)] == []


def test_the_reference_says_what_is_not_available_yet() -> None:
    assert "*Not available yet: udp.*" in REFERENCE.section_text("config")


def test_examples_of_keys_are_taken_from_a_file_that_can_be_used() -> None:
    """But for what this version cannot do yet; and none of them shows the default."""
    text = (ROOT / "docs/recipes/every-key.ini").read_text()
    assert [problem for problem in problems_of(text) if "not available yet" not in problem] == []
    shown = REFERENCE.examples()
    for word in MODELS.keys() - {"defaults", "node"}:
        for name, (field, key) in keys_of(MODELS[word]).items():
            written = "\n".join(line.strip() for line in shown[word, name].partition("=")[2].split("\n"))
            assert key.kind.read(written.strip()) != field.default, f"{word}.{name}"


def problems_of(text: str) -> list[str]:
    try:
        load(text, "every-key.ini")
    except SettingsError as e:
        return list(map(str, e.problems))
    return []


def test_mistakes_of_every_kind_are_shown() -> None:
    told = REFERENCE.mistakes_text("mistakes.ini").split("\n")
    assert all(line.startswith("mistakes.ini:") for line in told)
    every = [key.kind for model in MODELS.values() for _, key in keys_of(model).values()]
    wrong = [kind for line in told if (kind := _kind_of(line)) is not None]
    assert {type(kind) for kind in every} - {type(kind) for kind in wrong} == set()
    # What is wrong with a text alone (label) is the same in a list of texts.
    items = {type(kind.item) for kind in every if isinstance(kind, ListOf)}
    assert items - {type(kind.item) for kind in wrong if isinstance(kind, ListOf)} == {Text}


def _kind_of(problem: str) -> Any:
    """The kind of the value that a problem is about; None when it is about something else."""
    found = re.match(r"\S+ \[(\w+)[^]]*\] (\w+) =", problem)
    if found is None or found[1] not in MODELS or found[2] not in keys_of(MODELS[found[1]]):
        return None
    return keys_of(MODELS[found[1]])[found[2]][1].kind
