"""What the process takes."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
from prometheus_client import ProcessCollector

from nodebalancer.control.metrics.process_figures import ENTRIES_A_TURN, ProcessFigures


def test_they_are_those_of_every_other_exporter() -> None:
    figures = ProcessFigures()
    theirs = {metric.name: metric.samples[0].value for metric in ProcessCollector(registry=None).collect()}
    memory = figures.memory()
    assert memory is not None
    assert memory[0] == pytest.approx(theirs["process_resident_memory_bytes"], rel=0.1)
    assert memory[1] == pytest.approx(theirs["process_virtual_memory_bytes"], rel=0.1)
    assert figures.started_at() == pytest.approx(theirs["process_start_time_seconds"], abs=2)
    assert figures.cpu_seconds() == pytest.approx(theirs["process_cpu_seconds"], abs=1)
    assert figures.descriptors_max() == theirs["process_max_fds"]
    assert list(figures.descriptors())[-1] == pytest.approx(theirs["process_open_fds"], abs=2)


def test_the_beginning_stays_the_same() -> None:
    figures = ProcessFigures()
    before = figures.started_at()
    time.sleep(0.02)
    assert before is not None
    assert figures.started_at() == pytest.approx(before, abs=0.011)


def directory_of(proc: Path, count: int) -> ProcessFigures:
    (proc / "fd").mkdir()
    for number in range(count):
        (proc / "fd" / str(number)).touch()
    return ProcessFigures(proc)


def test_a_kernel_that_does_not_tell_the_number_has_them_counted_with_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = directory_of(tmp_path, 2 * ENTRIES_A_TURN + 50)
    monkeypatch.setattr(ProcessFigures, "told_descriptors", lambda self: 0)
    assert list(figures.descriptors()) == [None, None, 2 * ENTRIES_A_TURN + 50]


def test_where_there_is_no_proc_there_are_fewer_figures(tmp_path: Path) -> None:
    figures = ProcessFigures(tmp_path)
    assert figures.memory() is None
    assert figures.started_at() is None
    assert list(figures.descriptors()) == []
    assert figures.cpu_seconds() > 0


def test_no_limit_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert ProcessFigures().descriptors_max() == float("inf")
