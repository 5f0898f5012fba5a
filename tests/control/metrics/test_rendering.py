"""The text of metrics, a slice at a time."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from nodebalancer.control.metrics.rendering import KINDS, SLICE_SAMPLES, Format, Renderer, format_for, slices
from nodebalancer.model import Protocol

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
PLAIN = format_for("", "")


class Fixed(Collector):
    """``count`` series of one metric and one of another, in pieces or whole."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.begun = 0

    def collect(self) -> Iterator[Metric]:
        many = CounterMetricFamily("many", "Many \\ of them.", labels=["n"])
        for number in range(self.count):
            many.add_metric([f"{number}"], number)
        yield many
        yield CounterMetricFamily("one", "One.", 1)

    def pieces(self, samples: int) -> Iterator[Metric | None]:
        self.begun += 1
        yield None
        many, one = self.collect()
        for first in range(0, self.count, samples):
            piece = CounterMetricFamily("many", "Many \\ of them.", labels=["n"])
            piece.samples = many.samples[first : first + samples]
            yield piece
        yield one


class Turns(Clock):
    """A reactor that turns once when it is told to: what is put off meanwhile waits for the next time."""

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            due, self.calls = self.calls, []
            for call in due:
                call.called = 1
                call.func(*call.args)


def results(deferred: Deferred[Any]) -> list[Any]:
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found


@pytest.mark.parametrize(("accept", "encode"), [("", generate_latest), (OPENMETRICS, generate_openmetrics)])
@pytest.mark.parametrize("zipped", [False, True])
def test_slices_together_are_what_would_be_made_in_one_go(
    accept: str, encode: Callable[[Collector], bytes], zipped: bool
) -> None:
    fixed = Fixed(25)
    text = b"".join(slices(fixed.pieces(10), format_for(accept, "br, gzip;q=0.5" if zipped else "identity")))
    assert (gzip.decompress(text) if zipped else text) == encode(fixed)


@pytest.mark.parametrize("zipped", [False, True])
def test_figures_are_the_same_in_slices_as_in_one_go(figured_with: Any, zipped: bool) -> None:
    figures = figured_with(Protocol.HTTP, 4).figures
    wanted = format_for(OPENMETRICS, "gzip" if zipped else "")
    text = b"".join(slices(figures.pieces(SLICE_SAMPLES), wanted))
    text = gzip.decompress(text) if zipped else text
    families = {family.name: len(family.samples) for family in text_string_to_metric_families(text.decode())}
    assert families == {metric.name: len(metric.samples) for metric in figures.collect()}


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=x.y", "text/plain;version=", "\xff;;=,", ""])
def test_whatever_a_client_says_it_accepts_it_gets_something(accept: str) -> None:
    assert b"".join(slices(Fixed(1).pieces(1), format_for(accept, accept))).startswith(b"# HELP many_total")


def test_no_turn_makes_more_than_a_slice_and_none_makes_much_less(figured_with: Any) -> None:
    """Counted in samples, of an encoder that looks over our shoulder."""
    figured = figured_with(Protocol.HTTP, 4)
    made: list[int] = []

    def encode(collector: Collector) -> bytes:
        made.append(sum(len(metric.samples) for metric in collector.collect()))
        return generate_latest(collector)

    clock = Turns()
    text = results(Renderer(clock, figured.figures.pieces, 20).render(Format("text", False, encode)))
    turns = []
    while not text:
        before = len(made)
        clock.turn()
        turns.append(sum(made[before:]))
    assert max(turns) < 20 + 22
    assert len(turns) > 20
    assert sum(turns) == sum(len(metric.samples) for metric in figured.figures.collect())
    assert clock.getDelayedCalls() == []


def test_who_asks_for_what_is_being_made_gets_that() -> None:
    clock, fixed = Turns(), Fixed(30)
    renderer = Renderer(clock, fixed.pieces, 10)
    first = results(renderer.render(PLAIN))
    clock.turn(3)
    second = results(renderer.render(format_for("", "")))
    clock.turn(10)
    assert first == second == [list(filter(None, slices(fixed.pieces(10), PLAIN)))]
    assert first[0] is second[0]
    assert fixed.begun == 2  # ours, just now


def test_who_asks_for_another_format_waits_for_its_turn() -> None:
    clock, fixed = Turns(), Fixed(30)
    renderer = Renderer(clock, fixed.pieces, 10)
    first, second = results(renderer.render(PLAIN)), results(renderer.render(format_for(OPENMETRICS, "")))
    clock.turn(5)
    assert (len(first), fixed.begun) == (0, 1)
    clock.turn(30)
    assert (len(first), len(second), fixed.begun) == (1, 1, 2)
    assert first != second


def test_what_nobody_waits_for_any_more_is_not_made() -> None:
    clock, fixed = Turns(), Fixed(30)
    renderer = Renderer(clock, fixed.pieces, 10)
    left, stays = renderer.render(PLAIN), results(renderer.render(format_for(OPENMETRICS, "")))
    gone = results(left)
    clock.turn(2)
    left.cancel()
    assert gone[0].check(CancelledError)
    clock.turn(30)
    assert len(stays) == 1
    alone = renderer.render(PLAIN)
    results(alone)
    alone.cancel()
    clock.turn(1)
    assert clock.getDelayedCalls() == []


def test_one_of_two_may_leave() -> None:
    clock, fixed = Turns(), Fixed(30)
    renderer = Renderer(clock, fixed.pieces, 10)
    left, stays = renderer.render(PLAIN), results(renderer.render(PLAIN))
    results(left)
    left.cancel()
    clock.turn(10)
    assert len(stays) == 1


def test_who_asks_again_at_once_gets_another() -> None:
    clock, fixed = Turns(), Fixed(5)
    renderer = Renderer(clock, fixed.pieces, 10)
    again: list[Any] = []
    renderer.render(PLAIN).addCallback(lambda _: renderer.render(PLAIN)).addCallback(again.append)
    clock.turn(20)
    assert (len(again), fixed.begun) == (1, 2)


def test_a_fault_of_ours_is_told_once_and_the_next_text_is_whole(logged_errors: Any) -> None:
    clock, fixed = Turns(), Fixed(5)

    def broken(samples: int) -> Iterator[Metric | None]:
        yield from [None]
        raise ZeroDivisionError

    pieces = iter([broken, fixed.pieces])
    renderer = Renderer(clock, lambda samples: next(pieces)(samples))
    failed = results(renderer.render(PLAIN))
    clock.turn(2)
    assert failed[0].check(ZeroDivisionError)
    assert len(logged_errors()) == 1
    whole = results(renderer.render(PLAIN))
    clock.turn(10)
    assert whole == [list(filter(None, slices(fixed.pieces(SLICE_SAMPLES), PLAIN)))]


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text;version=9.9", "text/plain;version=1.0.0;escaping=odd"]
)
def test_a_version_that_nobody_knows_makes_no_text_of_its_own(accept: str) -> None:
    assert format_for(accept, "").kind in {format_for(known, "").kind for known in ("", OPENMETRICS)} | KINDS


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [
        ("gzip", True),
        ("gzip;q=0.1", True),
        ("gzip;q=0", False),
        ("br, GZIP ; q=0.000, x", False),
        ("gzip;q=0, gzip", False),
    ],
)
def test_who_wants_no_gzip_gets_none(accepted: str, zipped: bool) -> None:
    assert format_for("", accepted).gzip is zipped
