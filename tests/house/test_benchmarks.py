"""The arithmetic and the texts of ``benchmarks``; the measuring itself is never part of the tests."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import certificates, chart, load, setups
from benchmarks.disciplines import ALL, FULL, QUICK, Discipline
from benchmarks.figures import Ratio, Sample, ratio, rows
from benchmarks.report import Report, number
from nodebalancer.certificates.contexts import make_context
from nodebalancer.certificates.pair import pair_of
from nodebalancer.model import CipherSuite

TCP = next(d for d in ALL if d.name == "tcp")


def samples(contestant: str, *values: float, faults: str = "") -> list[Sample]:
    return [Sample("tcp", contestant, i, v, user=0.25, busy=0.5, faults=faults) for i, v in enumerate(values)]


def report(*parts: list[Sample], disciplines: tuple[Discipline, ...] = (TCP,)) -> Report:
    everything = [sample for part in parts for sample in part]
    return Report({"Command": "python -m benchmarks"}, "haproxy", disciplines, rows(everything, "haproxy"), everything)


RACE = report(samples("haproxy", 10, 20, 30), samples("epoll", 12, 22, 27), samples("haproxy-again", 10, 21, 30))


def test_a_ratio_is_taken_round_by_round_so_that_drift_of_the_machine_cancels() -> None:
    """Twice the reference's cost in every round is a ratio of two, whatever the machine did between the rounds."""
    assert ratio(samples("epoll", 20, 60, 40), samples("haproxy", 10, 30, 20)) == Ratio(2, 2, 2, 3)


def test_the_ratio_is_the_median_and_comes_with_its_quartiles() -> None:
    assert ratio(samples("epoll", 1, 2, 3, 4, 5), samples("haproxy", 1, 1, 1, 1, 1)) == Ratio(3, 2, 4, 5)


def test_two_rounds_have_no_quartiles() -> None:
    assert ratio(samples("epoll", 1, 3), samples("haproxy", 1, 1)) == Ratio(2, 2, 2, 2)


@pytest.mark.parametrize(("mine", "base"), [("lost 1", ""), ("", "lost 1")])
def test_a_row_with_a_lost_request_has_no_ratio(mine: str, base: str) -> None:
    """A balancer that drops requests is not cheaper for it."""
    assert ratio(samples("epoll", 1, faults=mine), samples("haproxy", 1, faults=base)) is None


def test_rounds_that_only_one_of_two_has_are_not_compared() -> None:
    assert ratio(samples("epoll", 3, 9), samples("haproxy", 1)) == Ratio(3, 3, 3, 1)
    assert ratio(samples("epoll", 3), []) is None


def test_a_failed_row_says_what_was_lost() -> None:
    text = report(samples("haproxy", 1), samples("epoll", 1, 1, faults="lost 7")).text()
    assert "failed: lost 7" in text


def test_the_table_shows_the_noise_beside_every_ratio() -> None:
    """A/A, the reference against its own copy, is a column; the copy has no line of its own."""
    head, *lines = RACE.table(TCP)
    assert "A/A" in head
    assert [line[0] for line in lines] == ["haproxy", "epoll"]
    shown = [dict(zip(head, line, strict=True)) for line in lines]
    assert shown[1]["ratio"] == "1.10"
    assert [line["A/A"] for line in shown] == ["1.00", "1.00"]


def test_columns_that_say_nothing_are_left_out() -> None:
    assert "p99" not in RACE.table(TCP)[0]


def test_user_and_system_add_up_to_the_figure() -> None:
    head, _, epoll = RACE.table(TCP)
    shown = dict(zip(head, epoll, strict=True))
    assert (shown["figure"], shown["user"], shown["system"]) == ("22.0", "5.50", "16.5")


def test_the_results_file_has_every_sample() -> None:
    assert len(json.loads(RACE.json())["samples"]) == 9


def test_the_page_for_the_documentation_has_a_table_for_each_discipline() -> None:
    assert RACE.rst().count(".. csv-table::") == 1


def test_the_chart_is_svg_with_one_bar_a_ratio() -> None:
    drawing = ElementTree.fromstring(chart.svg(RACE))
    fills = [bar.get("fill") for bar in drawing.iter("{http://www.w3.org/2000/svg}rect")]
    assert fills == ["#fff", chart.COLOURS[0], chart.NOISE]


def test_a_bar_that_is_too_long_is_cut_and_keeps_its_figure() -> None:
    text = chart.svg(report(samples("haproxy", 1), samples("reactor", 50)))
    assert f'width="{chart.MOST * chart.SCALE}"' in text
    assert "50.00" in text


def test_a_discipline_that_was_not_measured_for_anybody_leaves_the_chart_empty() -> None:
    assert chart.bars(report()) == []


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.50"), (12.34, "12.3"), (123.4, "123"), (9876.5, "9,876")])
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown


WRK = """\
Running 1m test @ http://127.0.0.1:21011/
  Latency Distribution
     50%    1.62ms
     75%  906.00us
     90%    6.00ms
     99%    1.18s
  23925 requests in 500.00ms, 26.67MB read
"""


def test_what_wrk_says_is_understood() -> None:
    assert load.read_wrk(WRK) == load.Load(23925, 0.5, 1620.0, 1.18e6)


def test_what_wrk_lost_is_a_fault() -> None:
    lost = "  Socket errors: connect 0, read 3, write 0, timeout 0\n  Non-2xx or 3xx responses: 5\n"
    assert load.read_wrk(WRK + lost).faults == ("connect 0, read 3, write 0, timeout 0; Non-2xx or 3xx responses: 5")


@pytest.mark.parametrize("text", ["", "  0 requests in 1.10s, 0.00B read\n"])
def test_no_answer_at_all_is_a_fault(text: str) -> None:
    assert load.read_wrk(text).faults == "nothing was answered"


def secure(count: int, resumed: int, lost: dict[str, int] | None = None) -> str:
    return json.dumps({"count": count, "resumed": resumed, "lost": lost or {}, "seconds": 0.5})


def test_what_the_client_over_tls_says_is_understood() -> None:
    assert load.read_secure(secure(900, 899), resume=True) == load.Load(900, 0.5)
    assert load.read_secure(secure(900, 0), resume=False) == load.Load(900, 0.5)


@pytest.mark.parametrize(("resumed", "resume"), [(898, True), (0, True), (1, False)])
def test_a_handshake_of_the_wrong_kind_is_a_fault(resumed: int, resume: bool) -> None:
    """A row of resumed handshakes would look far too good, or too bad, with others among them."""
    faults = load.read_secure(secure(900, resumed), resume=resume).faults
    assert faults == f"{resumed} of 900 handshakes were resumed"


def test_what_was_lost_over_tls_is_a_fault() -> None:
    assert load.read_secure(secure(9, 0, {"unanswered": 2}), resume=False).faults == "lost 2 unanswered"
    assert load.read_secure("", resume=False).faults == "nothing was answered"


def test_certificates_of_a_run_serve(tmp_path: Path) -> None:
    for kind, file in certificates.write(tmp_path).items():
        pem = file.read_bytes()
        assert make_context(pair_of(pem, pem), CipherSuite.RECOMMENDED, kind)
        assert file.stat().st_mode & 0o777 == 0o600


def test_settings_of_a_run_keep_the_dollars_that_nginx_uses() -> None:
    assert setups.Setup("proxy_set_header Host $http_host; # @{port}").substitute(port=1) == (
        "proxy_set_header Host $http_host; # 1"
    )


def test_both_plans_know_every_discipline() -> None:
    assert {d.name for d in ALL} == set(FULL.rounds) == set(QUICK.rounds)


def test_more_rounds_are_for_what_is_noisy() -> None:
    assert FULL.with_rounds(20).rounds == {
        **dict.fromkeys(FULL.rounds, 20),
        "memory": 2,
        "memory-tls": 1,
        "concurrent": 1,
    }
