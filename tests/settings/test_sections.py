"""Headers and the names in them."""

from __future__ import annotations

import pytest

from nodebalancer.settings.sections import NAME_RULE, SORTS, nearest, section_name


def test_the_form_of_a_header_shows_what_to_fill_in() -> None:
    assert SORTS["service"].form == "[service]"
    assert SORTS["nodebalancer"].form == "[nodebalancer NAME]"
    assert SORTS["nodes"].form == "[nodes NODEBALANCER/CONFIG]"


@pytest.mark.parametrize(
    ("word", "text", "names"),
    [("service", "", ()), ("nodebalancer", "www", ("www",)), ("config", "a.b/C-1_x", ("a.b", "C-1_x"))],
)
def test_names_that_fit_their_header(word: str, text: str, names: tuple[str, ...]) -> None:
    assert SORTS[word].read_names(text) == names
    assert section_name(word, *names) == f"{word} {text}".rstrip()


@pytest.mark.parametrize(
    ("word", "text", "message"),
    [
        ("service", "x", "expected [service]"),
        ("nodebalancer", "", "expected [nodebalancer NAME]"),
        ("nodebalancer", "a/b", "expected [nodebalancer NAME]"),
        ("config", "a", "expected [config NODEBALANCER/CONFIG]"),
        ("config", "a/", f"'' cannot be a name; expected [config NODEBALANCER/CONFIG], where {NAME_RULE}"),
        ("nodebalancer", "a b", f"'a b' cannot be a name; expected [nodebalancer NAME], where {NAME_RULE}"),
        ("nodebalancer", "x" * 65, f"'{'x' * 65}' cannot be a name; expected [nodebalancer NAME], where {NAME_RULE}"),
    ],
)
def test_names_that_do_not_fit_their_header(word: str, text: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 compared below
        SORTS[word].read_names(text)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("word", "name"), [("confg", "config"), ("PORT", "port"), ("", "port"), ("port" * 9999, "port")]
)
def test_the_nearest_name_is_found_for_any_word(word: str, name: str) -> None:
    assert nearest(word, ["port", "config"]) == name
