"""Values for this version, and the keys of a section."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from nodebalancer.errors import SettingsError
from nodebalancer.fields import Choice, Flag, Integer, Key, Text, only
from nodebalancer.settings.document import tokenize
from nodebalancer.settings.places import Report, places_of
from nodebalancer.settings.sections import SORTS
from nodebalancer.settings.values import read_keys, read_value


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"


PORT = Key(Integer(1, 99), "")


def test_a_value_is_what_its_kind_reads() -> None:
    assert read_value("80", PORT, 1) == 80
    assert read_value("red", Key(Choice(Colour), "", only(Colour.RED)), Colour.RED) is Colour.RED


def refusal(text: str, key: Key, default: Any) -> str:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 compared by the callers
        read_value(text, key, default)
    return str(refused.value)


def test_a_bad_value_that_seems_to_hold_a_comment_gets_a_hint() -> None:
    assert refusal("100", PORT, 1) == "not between 1 and 99"
    for text in ("80 # web", "80 ;web", "#80"):
        assert refusal(text, PORT, 1).endswith("from 1 to 99; comments stand on lines of their own")
    assert refusal("80#", PORT, 1).endswith("from 1 to 99")


@pytest.mark.parametrize(
    ("text", "key", "default", "available"),
    [
        ("blue", Key(Choice(Colour), "", only(Colour.RED, Colour.GREEN)), Colour.RED, "available: red, green"),
        ("true", Key(Flag(), "", only(False)), False, "available: false"),
        ("2", Key(Integer(0, 9), "", only(0)), 0, "available: 0"),
        ("x", Key(Text(), "", only("")), "", "leave it empty"),
    ],
)
def test_what_is_not_built_yet_is_refused_with_what_is(text: str, key: Key, default: Any, available: str) -> None:
    assert refusal(text, key, default) == f"not available yet in this version; {available}"


def keys(text: str, word: str = "nodebalancer") -> tuple[dict[str, Any], list[str], set[tuple[str, str]]]:
    """The values, the problems, and what is in doubt, of one section."""
    document = tokenize(f"[{word}]\n{text}")
    report = Report(places_of("f", document))
    values = read_keys(document.sections[0], SORTS[word], report)
    try:
        report.close()
    except SettingsError as e:
        return values, [str(problem) for problem in e.problems], report.doubtful
    return values, [], report.doubtful


def test_the_keys_of_a_section_are_read_and_the_others_left_to_their_defaults() -> None:
    assert keys("label = Shop\nlisten = 192.0.2.1,\n  ::1") == (
        {"label": "Shop", "listen": ("192.0.2.1", "::1")},
        [],
        set(),
    )


def test_a_value_that_is_refused_is_left_out_and_in_doubt() -> None:
    values, problems, doubtful = keys("max_connections = none\nlabel = x")
    assert values == {"label": "x"}
    assert problems == [
        "f:2: [nodebalancer] max_connections = none: not a whole number; expected a whole number from 1 to 1000000"
    ]
    assert doubtful == {("nodebalancer", "max_connections")}


def test_of_a_key_that_stands_twice_the_first_counts_and_both_are_judged() -> None:
    values, problems, _ = keys("label = a\nlabel = b\nmax_connections = 1\nmax_connections = x")
    assert values == {"label": "a", "max_connections": 1}
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("word", "key", "message"),
    [
        ("nodebalancer", "lisen", "unknown key; the nearest known one is listen"),
        ("config", "check_timout", "unknown key; the nearest known one is check_timeout"),
        ("config", "listen", "unknown key here; it belongs to [manhole] or [metrics] or [api] or [nodebalancer NAME]"),
        ("nodebalancer", "port", "unknown key here; it belongs to [config NODEBALANCER/CONFIG]"),
    ],
)
def test_an_unknown_key_is_told_with_a_way_out_and_its_section_is_in_doubt(word: str, key: str, message: str) -> None:
    values, problems, doubtful = keys(f"{key} = 1", word)
    assert values == {}
    assert problems == [f"f:2: [{word}] {key} = 1: {message}"]
    assert (word, "") in doubtful


def test_a_value_of_one_line_does_not_go_on_and_its_section_is_in_doubt() -> None:
    values, problems, doubtful = keys("label = x\n  listen = ::\n  more")
    assert values == {"label": "x"}
    assert problems == [
        "f:3: [nodebalancer] listen = ::: indented, but label takes one line only; begin in the first column",
        "f:4: [nodebalancer] more: indented, but label takes one line only; begin in the first column",
    ]
    assert doubtful == {("nodebalancer", "")}
