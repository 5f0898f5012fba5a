from __future__ import annotations

import re

import pytest

from nodebalancer.balancing.member import Status
from nodebalancer.control.manhole.tables import Table, Text, moment, shown, size, states_in_one_line
from nodebalancer.model import Mode

COLUMNS = {"NAME": lambda row: row[0], "COUNT": lambda row: row[1]}


def test_numbers_stand_on_the_right_and_everything_else_on_the_left() -> None:
    table = Table([("a", 5), ("longer", 1234)], COLUMNS, without="none")
    assert repr(table) == "NAME    COUNT\na           5\nlonger   1234"


def test_a_cell_without_a_number_does_not_turn_its_column_around() -> None:
    assert repr(Table([("a", 5), ("b", "")], COLUMNS, without="")) == "NAME  COUNT\na         5\nb"


def test_a_table_is_a_list_of_its_values() -> None:
    rows = [("a", 1), ("b", 2), ("c", 3)]
    table = Table(rows, COLUMNS, without="none")
    assert (len(table), table[1], list(table[1:]), list(table)) == (3, rows[1], rows[1:], rows)


def test_without_rows_it_says_so_and_a_line_may_stand_below_the_others() -> None:
    assert repr(Table([], COLUMNS, without="no such thing", more="more")) == "no such thing"
    assert repr(Table([("a", 1)], COLUMNS, without="", more="… and 2 more")).endswith("\n… and 2 more")


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert shown("\x1b[31m\r\nü\\") == r"\x1b[31m\x0d\x0a\xc3\xbc\x5c"
    assert shown("\udcff") == r"\x5cudcff"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234, "1.23 kB"),
        (999_600, "1 MB"),
        (5 * 10**9, "5 GB"),
        (10**13, "10 TB"),
    ],
)
def test_bytes_have_three_digits(count: int, text: str) -> None:
    assert size(count) == text


def test_a_moment_is_local_time() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", moment(1.7e9))


def test_a_text_is_shown_as_it_is() -> None:
    assert repr(Text("a\nb")) == "a\nb"


def test_states_name_the_mode_where_it_is_a_special_one() -> None:
    states = [("a", Mode.ACCEPT, Status.UP), ("b", Mode.DRAIN, Status.DOWN)]
    assert states_in_one_line(states) == "a UP, b DOWN (drain)"
