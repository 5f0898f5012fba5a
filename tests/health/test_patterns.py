"""What a probe's body must match."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from nodebalancer.health.patterns import NO_MATCH, SECONDS_MAX, TOO_MANY_STEPS, BodyPattern
from nodebalancer.testing.nodes import ROOT

PAGE = b"<html><title>Shop</title>\nstatus: ok\n</html>\n"


def objection(pattern: str, body: bytes) -> str:
    return BodyPattern(pattern).objection(body)


@pytest.mark.parametrize(
    "pattern",
    [
        "status: ok",
        "",
        "(?m)^status: ok$",
        "(?s)<html>.*</html>",
        "(?i)SHOP",
        r"status:\s++(?!down)\w+",
        r"(?<tag>title)>Shop</\g{tag}",
        r"(<(?:[^<>]|(?R))*>)",
        "(?x) status: \\  ok # a comment",
        "(*UTF)Sh.p",
        "(?:.|\n)*ok",
    ],
)
def test_perls_regular_expressions_are_searched_for_in_the_body(pattern: str) -> None:
    assert objection(pattern, PAGE) == ""


@pytest.mark.parametrize("pattern", ["^status", "status: ok$", "(?-i)SHOP", "status:(?! )"])
def test_a_body_that_does_not_match_says_so(pattern: str) -> None:
    assert objection(pattern, PAGE) == NO_MATCH


def test_what_is_not_ascii_is_matched_as_utf_8() -> None:
    assert objection("geöffnet", "Wir haben geöffnet".encode()) == ""


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a(b", "not a regular expression (PCRE): missing closing parenthesis (at character 3)"),
        ("öl[", "not a regular expression (PCRE): missing terminating ] for character class (at character 3)"),
        ("*", "not a regular expression (PCRE): quantifier does not follow a repeatable item (at character 1)"),
        ("a)(", "not a regular expression (PCRE): unmatched closing parenthesis (at character 2)"),
    ],
)
def test_what_is_no_pattern_is_refused_with_the_place(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        BodyPattern(pattern)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("pattern", "body"),
    [
        (r"^(\w+\s?)*$", b"word " * 13000 + b"!"),
        (r"(x+x+)+[yz]", (b"x" * 15 + b" ") * 4096),
        (r"(a|aa)+$", (b"a" * 20 + b"\n!") * 2900),
    ],
)
@pytest.mark.parametrize("jit", [True, False])
def test_a_pattern_that_never_ends_gives_up_before_anybody_notices(pattern: str, body: bytes, jit: bool) -> None:
    """Steps alone would not do: PCRE counts them anew for each byte at which a match may begin."""
    made = BodyPattern(pattern, jit=jit)
    before = time.thread_time()
    assert made.objection(body) == TOO_MANY_STEPS
    assert time.thread_time() - before < 10 * SECONDS_MAX


@pytest.mark.parametrize("jit", [True, False])
@pytest.mark.parametrize(
    ("pattern", "body"),
    [
        (".*healthy.*", b"x y z " * 10000 + b"healthy"),
        (r"(?:.|\n)*ok", b"x\n" * 30000 + b"ok"),
        (r"^(\w+\s?)*$", b"word " * 13000),
        (r"\bok\b", b"nope " * 13000 + b"ok"),
        ("(*UTF)(?:.|\n)*ok", b"x\n" * 30000 + b"ok"),
    ],
)
def test_honest_patterns_have_all_the_steps_they_need_in_a_long_body(pattern: str, body: bytes, jit: bool) -> None:
    assert BodyPattern(pattern, clock=lambda: 0.0, jit=jit).objection(body) == ""


def test_a_search_that_ended_in_time_is_believed_after_one_that_did_not() -> None:
    now = iter([0.0, 1.0, 2.0, 2.0])
    pattern = BodyPattern("[a-z]!", clock=lambda: next(now), jit=False)
    body = b"a " * 10 + b"!"  # ten places to begin at, and a look at the clock at the eighth
    assert pattern.objection(body) == TOO_MANY_STEPS
    assert pattern.objection(body) == NO_MATCH


def test_another_reason_to_give_up_is_told_in_pcres_words() -> None:
    assert objection("(*UTF)a.c", b"\xff").startswith("pattern gave up: UTF-8 error")


def test_patterns_are_equal_when_their_texts_are() -> None:
    make: Callable[[str], BodyPattern] = BodyPattern
    assert make("a") == make("a")
    assert make("a") != make("b")
    assert make("a") != "a"
    assert len({make("a"), make("a")}) == 1


def test_where_machine_code_is_forbidden_patterns_are_interpreted() -> None:
    """As under ``MemoryDenyWriteExecute`` of systemd; a process cannot take it back, so it is another one's."""
    program = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit('not here')\n"
        "from nodebalancer.health.patterns import BodyPattern, quick\n"
        "print(quick(b'a'), repr(BodyPattern('a+b').objection(b'xaab')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    if "not here" in done.stderr:
        pytest.skip("this kernel knows no PR_SET_MDWE")
    assert (done.stdout, done.stderr) == ("None ''\n", "")
