"""How a problem finds its line."""

from __future__ import annotations

import pytest

from nodebalancer.errors import Problem, SettingsError
from nodebalancer.settings.document import Fault, tokenize
from nodebalancer.settings.places import NOWHERE, SHOWN_MAX, Finding, Places, Report, places_of, shown

TEXT = "[service]\nworkers = 1\n[config a/b]\nport=80\n[config a/b]\nport = 90\nlabel = x:\n[nodebalancer a]\nlisten =\n  ::\n"


@pytest.fixture
def places() -> Places:
    return places_of("etc/x.ini", tokenize(TEXT))


@pytest.mark.parametrize(
    ("spot", "line", "where"),
    [
        (("service", "workers"), 2, "etc/x.ini:2: [service] workers = 1"),
        (("service", "state_dir"), 1, "etc/x.ini:1: [service] state_dir"),
        (("service", ""), 1, "etc/x.ini:1: [service]"),
        (("config a/b", "port"), 4, "etc/x.ini:4: [config a/b] port = 80"),
        (("config a/b", "label"), 7, "etc/x.ini:7: [config a/b] label = x:"),
        (("nodebalancer a", "listen"), 9, "etc/x.ini:9: [nodebalancer a] listen ="),
        (("api", "listen"), 0, "[api] listen"),
        (("api", ""), 0, "[api]"),
    ],
)
def test_a_place_is_named_by_line_section_key_and_value(
    places: Places, spot: tuple[str, str], line: int, where: str
) -> None:
    """As far as the file says it; without a line, by section and key."""
    assert places.line(spot) == line
    assert places.where(spot) == where


def test_settings_without_a_file_are_named_by_section_and_key() -> None:
    assert NOWHERE.where(("config a/b", "port")) == "[config a/b] port"


def test_a_problem_that_is_told_without_a_line_gets_the_files(places: Places) -> None:
    told = Problem("[config a/b] port = 80", "is taken", ("config a/b", "port"))
    assert str(places.placed(told)) == "etc/x.ini:4: [config a/b] port = 80: is taken"
    elsewhere = Problem("[config c/d] port = 80", "is taken", ("config c/d", "port"))
    assert places.placed(elsewhere) == elsewhere
    assert NOWHERE.placed(told) == told
    assert places.placed(Problem("here", "is wrong")) == Problem("here", "is wrong")


def test_a_finding_is_told_at_the_first_of_its_keys_that_the_file_names(places: Places) -> None:
    spots = ("service", "state_dir"), ("config a/b", "port"), ("service", "workers")
    assert places.spot(Finding(spots, "")) == ("config a/b", "port")
    assert places.spot(Finding(spots[:1], "")) == ("service", "state_dir")


def test_a_line_without_a_section_is_repeated_alone(places: Places) -> None:
    assert places.at(3, "", "hello") == "etc/x.ini:3: hello"


def test_what_is_repeated_is_short_and_printable() -> None:
    assert shown("ü = \x1b[31m\0\ufeff\ud800") == "ü = \\x1b[31m\\x00\\ufeff\\ud800"
    assert shown("x" * SHOWN_MAX) == "x" * SHOWN_MAX
    assert shown("x" * (SHOWN_MAX + 1)) == "x" * SHOWN_MAX + "…"


def told(report: Report) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        report.close()
    return [str(problem) for problem in refused.value.problems]


def test_a_report_without_problems_is_quiet(places: Places) -> None:
    Report(places).close()


def test_problems_are_told_in_the_order_of_the_file(places: Places) -> None:
    sections = tokenize(TEXT).sections
    report = Report(places)
    report.entry(sections[3], sections[3].entries[0], "four")
    report.header(sections[1], "three")
    report.fault(Fault(2, "service", "workers", "two"))
    report.line(2, "service", "  more", "two and a half")
    report.file("one")
    assert told(report) == [
        "etc/x.ini: one",
        "etc/x.ini:2: [service] workers: two",
        "etc/x.ini:2: [service]   more: two and a half",
        "etc/x.ini:3: [config a/b]: three",
        "etc/x.ini:9: [nodebalancer a] listen =: four",
    ]


def test_a_finding_that_rests_on_a_doubtful_value_is_dropped(places: Places) -> None:
    """One slip, one problem."""
    sections = tokenize(TEXT).sections
    report = Report(places)
    report.entry(sections[0], sections[0].entries[0], "slip")
    report.finding(Finding((("config a/b", "port"), ("service", "workers")), "follows from the slip"))
    report.finding(Finding((("config a/b", "port"),), "stands"))
    assert told(report) == [
        "etc/x.ini:2: [service] workers = 1: slip",
        "etc/x.ini:4: [config a/b] port = 80: stands",
    ]


def test_a_finding_that_rests_on_a_doubtful_section_is_dropped(places: Places) -> None:
    report = Report(places)
    report.doubt(("service", ""))
    report.finding(Finding((("service", "workers"),), "follows"))
    report.close()


def test_a_problem_is_a_plain_sentence() -> None:
    assert str(Problem("a.ini:1: [x] y = 1", "not between 2 and 3")) == "a.ini:1: [x] y = 1: not between 2 and 3"
