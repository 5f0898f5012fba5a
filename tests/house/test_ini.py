"""The INI file as we tell people about it."""

from __future__ import annotations

import importlib.util
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.fields import keys_of
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


def examples() -> Iterable[Any]:
    """Every INI file that a text shows."""
    for path in (ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))):
        blocks = re.findall(r"^\.\. code-block:: ini\n\n((?:(?: +.*)?\n)+)", path.read_text(), re.MULTILINE)
        for number, block in enumerate(blocks, start=1):
            yield pytest.param(textwrap.dedent(block), id=f"{path.name}-{number}")


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "etc").glob("*.ini")))
def test_a_shipped_file_can_be_used_as_it_is(name: str) -> None:
    assert load((ROOT / "etc" / name).read_text(), name).nodebalancers


def test_the_annotated_example_is_shipped() -> None:
    assert (ROOT / "etc/nodebalancer.ini").exists()


@pytest.mark.parametrize("text", list(examples()))
def test_an_example_in_the_docs_can_be_used_as_it_is(text: str) -> None:
    assert load(text, "example.ini").nodebalancers


def test_the_readme_shows_a_first_file_of_ten_lines() -> None:
    [first] = (param.values[0] for param in examples() if param.id == "README.rst-1")
    assert len(first.strip().splitlines()) == 10


def test_every_section_is_documented() -> None:
    described = re.findall(r"^\.\. ini-section:: (\w+)$", (ROOT / "docs/configuration.rst").read_text(), re.MULTILINE)
    # [defaults] takes the keys of [config …] and says so.
    assert sorted(described) == sorted(MODELS.keys() - {"defaults"})
    text = (ROOT / "docs/configuration.rst").read_text()
    assert [sort.form for sort in SORTS.values() if f"\n{sort.form}\n---" not in text] == []


@pytest.mark.parametrize("word", MODELS)
def test_every_key_is_documented(word: str) -> None:
    text = reference().section_text(word)
    assert [name for name in keys_of(MODELS[word]) if f"   * - ``{name}``\n" not in text] == []


@pytest.mark.parametrize("word", MODELS)
def test_what_a_key_means_is_said_in_a_sentence(word: str) -> None:
    assert [name for name, (_, key) in keys_of(MODELS[word]).items() if not re.fullmatch(r"[A-Z].*\.", key.doc)] == []


def test_the_reference_says_what_is_not_available_yet() -> None:
    assert "*Not available yet: udp.*" in reference().section_text("config")
