"""The tokenizer: one test a rule."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.settings.document import Document, Entry, Fault, Piece, Section, tokenize

LINES = [
    "",
    "  ",
    "# x",
    " ; x",
    "[a]",
    "[a b/c] ",
    "[a",
    "[]",
    "[a]]",
    "k = v",
    "k=",
    "= v",
    "k",
    " more",
    "\tmore",
    "\0",
    "\ufeff",
]
FILES = st.lists(st.one_of(st.sampled_from(LINES), st.text(max_size=10)), max_size=20).flatmap(
    lambda lines: st.sampled_from(["\n", "\r\n"]).map(lambda end: end.join(lines))
)


@settings(max_examples=200, deadline=None)
@given(FILES)
def test_any_text_becomes_a_document_that_is_the_text_again(text: str) -> None:
    """Whatever is in the file: nothing is raised, and nothing is lost."""
    document = tokenize(text)
    assert document.text() == text
    assert all(1 <= fault.line <= len(document.lines) for fault in document.faults)
    for section in document.sections:
        for piece in [piece for entry in section.entries for piece in entry.pieces]:
            assert piece.text in document.lines[piece.line - 1]


def entries(text: str) -> list[Entry]:
    document = tokenize("[a]\n" + text)
    assert document.faults == []
    return document.sections[0].entries


def faults(text: str) -> list[tuple[int, str]]:
    return [(fault.line, fault.message) for fault in tokenize(text).faults]


def test_sections_and_entries_know_their_lines() -> None:
    text = "# first\n\n[service]\nworkers = 1\n\n[config  www/plain]\n  \nport=80\n\tlisten\n"
    assert tokenize(text) == Document(
        text.split("\n"),
        [
            Section("service", 3, entries=[Entry("workers", [Piece(4, "1")])]),
            Section("config www/plain", 6, entries=[Entry("port", [Piece(8, "80"), Piece(9, "listen")])]),
        ],
        [],
    )


def test_an_empty_text_says_nothing() -> None:
    assert tokenize("") == Document([""])


@pytest.mark.parametrize("comment", ["# x = 1", "; x = 1", "  # x", "\t;", "#"])
def test_comments_stand_on_lines_of_their_own(comment: str) -> None:
    assert entries(comment) == []


def test_there_are_no_comments_behind_a_value() -> None:
    assert entries("port = 80 # web") == [Entry("port", [Piece(2, "80 # web")])]


def test_the_first_equals_sign_divides() -> None:
    assert entries("label =  a = b\t") == [Entry("label", [Piece(2, "a = b")])]


def test_a_percent_sign_is_a_percent_sign() -> None:
    assert entries("label = 100% of %(this)s") == [Entry("label", [Piece(2, "100% of %(this)s")])]


def test_a_value_may_be_empty() -> None:
    assert entries("label =") == [Entry("label", [Piece(2, "")])]


def test_indented_lines_go_on_with_the_value_above_across_comments() -> None:
    assert entries("list =\n  a\n\n  # why b\n\tb") == [Entry("list", [Piece(2, ""), Piece(3, "a"), Piece(6, "b")])]


def test_files_with_windows_line_ends_are_read_and_kept() -> None:
    text = "[a]\r\nk = v\r\n  w\r\n\r\n"
    document = tokenize(text)
    assert document.sections == [Section("a", 1, entries=[Entry("k", [Piece(2, "v"), Piece(3, "w")])])]
    assert document.faults == []
    assert document.text() == text


def test_a_section_stands_once_and_the_message_names_the_first_line() -> None:
    document = tokenize("[a]\nx = 1\n[b]\n[a]\nx = 2")
    assert document.faults == [Fault(4, "", "[a]", "this section stands in line 1 already")]
    assert [section.name for section in document.sections] == ["a", "b", "a"]


def test_a_key_stands_once_in_its_section_and_the_message_names_the_first_line() -> None:
    document = tokenize("[a]\nx = 1\n[b]\nx = 1\nx = 2\nx = 3")
    assert document.faults == [
        Fault(5, "b", "x = 2", "this key stands in line 4 already"),
        Fault(6, "b", "x = 3", "this key stands in line 4 already"),
    ]


@pytest.mark.parametrize(
    ("line", "name"), [("[a b", "a b"), ("[]", ""), ("[a] # x", "a"), ("[a] b]", "a"), ("[[a]", "[a")]
)
def test_a_broken_header_is_told_once_and_what_hangs_below_it_not_at_all(line: str, name: str) -> None:
    document = tokenize(f"[z]\n{line}\nk = 1\nnonsense\n  indented\n")
    message = "expected [section] alone on its line; comments stand on lines of their own"
    assert document.faults == [Fault(2, "", line, message)]
    assert document.sections[1] == Section(name, 2, sound=False)


@pytest.mark.parametrize("line", ["port 80", "port: 80", "= 80", "port"])
def test_a_line_that_is_nothing_is_told_once_with_what_was_expected(line: str) -> None:
    message = "expected key = value, [section], or a comment that begins with # or ;"
    assert tokenize(f"[a]\n{line}\n  indented").faults == [Fault(2, "a", line, message)]


def test_entries_before_the_first_section_are_told_once() -> None:
    message = "stands before the first [section]; begin with one such as [nodebalancer NAME]"
    assert tokenize("# x\nk = 1\n  more\nnonsense\n[a]\nl = 2").faults == [Fault(2, "", "k = 1", message)]


@pytest.mark.parametrize("text", ["  k = 1", "[a]\n  k = 1"])
def test_an_indented_line_needs_something_to_go_on_with(text: str) -> None:
    line = text.count("\n") + 1
    assert faults(text) == [(line, "indented, but nothing above it can go on; begin in the first column")]


def test_indented_lines_below_a_broken_header_are_quiet() -> None:
    assert [line for line, _ in faults("[a\n  k = 1")] == [1]


@pytest.mark.parametrize("character", ["\0", "\x1b", "\x7f", "\x85", "\u2028", "\r", "\ufeff"])
def test_a_control_character_is_told_and_its_line_is_not_read(character: str) -> None:
    document = tokenize(f"[a]\nk = 1{character}2\n  more\nl = 3")
    assert document.faults == [
        Fault(2, "a", f"k = 1{character}2", f"has the control character U+{ord(character):04X}; remove it")
    ]
    assert document.sections == [Section("a", 1, entries=[Entry("l", [Piece(4, "3")])])]


def test_a_control_character_in_a_header_leaves_the_section_unread() -> None:
    document = tokenize("[b]\n[a\0]\nk = 1")
    assert document.faults == [Fault(2, "", "[a\0]", "has the control character U+0000; remove it")]
    assert document.sections == [Section("b", 1), Section("a\0", 2, sound=False)]


def test_a_control_character_in_an_indented_line_costs_that_line_alone() -> None:
    document = tokenize("[a]\nk =\n  a\n  b\0\n  c")
    assert [fault.line for fault in document.faults] == [4]
    assert document.sections[0].entries == [Entry("k", [Piece(2, ""), Piece(3, "a"), Piece(5, "c")])]


def test_a_byte_order_mark_is_told_and_the_line_behind_it_is_read() -> None:
    document = tokenize("\ufeff[a]\nk = 1")
    assert document.faults == [
        Fault(1, "", "\ufeff[a]", "begins with a byte order mark; save the file as UTF-8 without one")
    ]
    assert document.sections == [Section("a", 1, entries=[Entry("k", [Piece(2, "1")])])]
