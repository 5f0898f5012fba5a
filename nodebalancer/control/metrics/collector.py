"""Reads the counters when somebody asks, and makes metrics of them, some at a time.

Nothing is counted here, and traffic pays nothing for being watched. All series of a metric have to stand together, so with
many nodes one metric is many pieces; between two of them traffic has its turn. What is in one piece is of one moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from nodebalancer.balancing.counters import Durations
from nodebalancer.balancing.member import Member, Status
from nodebalancer.control.metrics import names
from nodebalancer.control.metrics.lag import Lag
from nodebalancer.control.metrics.names import Family
from nodebalancer.control.metrics.process_figures import ProcessFigures
from nodebalancer.control.metrics.sources import IGate, ILiveConfig, Sources
from nodebalancer.model import Protocol

Labels = tuple[str, ...]
Row = tuple[Any, ...]
"""What ``add_metric`` of a metric takes: values of its labels, and the figure."""
Rows = Iterable[Row]

BOUNDS: Final = tuple(floatToGoString(bound) for bound, _ in Durations().cumulated())
"""The label ``le`` of each bucket."""

METRICS: Final[Mapping[str, Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
    "info": InfoMetricFamily,
}


class Figures(Collector):
    """A collector of everything that there is to tell.

    Args:
        sources: What is read.
        lag: The event loop's.
        process: What the process takes.
    """

    def __init__(self, sources: Sources, lag: Lag, process: ProcessFigures | None = None) -> None:
        self._sources = sources
        self._lag = lag
        self._process = process or ProcessFigures()
        self._build = {"version": version("nodebalancer"), "twisted": version("twisted"), "engine": sources.engine}
        self._python = CollectorRegistry()
        PlatformCollector(registry=self._python)
        GCCollector(registry=self._python)

    def collect(self) -> Iterator[Metric]:
        """Every metric, whole."""
        return (metric for metric in self.pieces(None) if metric is not None)

    def pieces(self, samples: int | None) -> Iterator[Metric | None]:
        """Every metric in pieces, those of one metric together; None: there is none yet, and time for a break.

        Args:
            samples: With so many a piece is finished; the last figure may bring 22 of them. None: never.
        """
        for family, rows in self._families():
            metric = made(family)
            for row in rows:
                if row:
                    metric.add_metric(*row)
                if not row or (samples is not None and len(metric.samples) >= samples):
                    yield metric if metric.samples else None
                    metric = made(family)
            if metric.samples:
                yield metric
        yield from self._python.collect()

    def _families(self) -> Iterator[tuple[Family, Rows]]:
        """Each metric with its rows, which are read as they are wanted. An empty row is a break."""
        data = self._sources.data
        # Who is here now stays to the end: a reload may come between two pieces.
        gates = tuple(data.gates.items())
        configs = tuple(data.configs.items())
        nodes = tuple((path, live, tuple(live.pool.members.items())) for path, live in configs)
        yield from self._process_families()
        for family, of_gate in GATES:
            yield family, (((name,), of_gate(gate)) for name, gate in gates)
        for family, of_config in CONFIGS:
            yield family, (row for path, live in configs if speaks(family, live) for row in of_config(path, live))
        for family, of_node in NODES:
            yield (
                family,
                (
                    row
                    for path, live, members in nodes
                    if speaks(family, live)
                    for name, member in members
                    for row in of_node((*path, name), member)
                ),
            )

    def _process_families(self) -> Iterator[tuple[Family, Rows]]:
        sources, process = self._sources, self._process
        reloader = sources.reloader
        if reloader is not None:
            yield names.RELOAD_SUCCEEDED, one(int(reloader.succeeded))
            yield names.RELOAD_SUCCEEDED_AT, one(reloader.succeeded_at)
            yield names.RELOADS, (((word,), reloader.count[result]) for result, word in names.RESULTS.items())
            yield names.FILE_DIFFERS, one(int(reloader.differs()))
        # A file may be named twice in one config.
        expiries = {(*path, file): at for path, file, at in sources.expiries()}
        yield names.CERTIFICATE_EXPIRY, expiries.items()
        yield names.STATUS_CHANGES, one(sources.events.count)
        yield names.ACCESS_LOG_LOST, one(sources.lost())
        yield names.LOOP_LAG, histogram((), self._lag.durations)
        yield names.BUILD, (((), self._build),)
        yield names.CPU, one(process.cpu_seconds())
        memory = process.memory()
        if memory is not None:
            yield names.RESIDENT, one(memory[0])
            yield names.VIRTUAL, one(memory[1])
        began = process.started_at()
        if began is not None:
            yield names.STARTED_AT, one(began)
        yield names.DESCRIPTORS, (() if count is None else ((), count) for count in process.descriptors())
        yield names.DESCRIPTORS_MAX, one(process.descriptors_max())


def made(family: Family) -> Any:
    """A metric without samples."""
    labels = () if family.kind == "info" else family.labels
    return METRICS[family.kind](family.name.removesuffix("_info"), family.meaning, labels=labels)


def speaks(family: Family, live: ILiveConfig) -> bool:
    """Whether a config has this metric."""
    return not family.http or live.wanted.protocol is not Protocol.TCP


def one(value: float) -> Rows:
    """The only series of a metric."""
    return (((), value),)


def by(words: Sequence[str], at: Labels, values: Iterable[float]) -> Rows:
    """A series for each word."""
    return [((*at, word), value) for word, value in zip(words, values, strict=True)]


def is_one_of(words: Sequence[str], at: Labels, word: str) -> Rows:
    """1 for the word that is true, 0 for the others."""
    return [((*at, each), int(each == word)) for each in words]


def histogram(at: Labels, durations: Durations) -> Rows:
    """Its buckets, each with those below it, and the sum."""
    counts = [(bound, count) for bound, (_, count) in zip(BOUNDS, durations.cumulated(), strict=True)]
    return ((at, counts, durations.seconds),)


GATES: Final[tuple[tuple[Family, Callable[[IGate], int]], ...]] = (
    (names.CONNECTIONS, lambda gate: gate.open),
    (names.CONNECTIONS_LIMIT, lambda gate: gate.limit),
    (names.FIREWALLED, lambda gate: gate.firewalled),
    (names.THROTTLED, lambda gate: gate.throttle.refused),
    (names.CROWDED, lambda gate: gate.counts.refused),
    (names.PUSHED_OUT, lambda gate: gate.pushed_out),
    (names.PAUSES, lambda gate: gate.times_full),
)

CONFIGS: Final[tuple[tuple[Family, Callable[[Labels, ILiveConfig], Rows]], ...]] = (
    (names.CONFIG_OPEN, lambda at, live: ((at, live.counters.open),)),
    (names.CONFIG_TOTAL, lambda at, live: ((at, live.counters.total),)),
    (names.CONFIG_ENDED, lambda at, live: by(names.OUTCOMES, at, live.counters.outcomes)),
    (names.CONFIG_RESPONSES, lambda at, live: by(names.CLASSES, at, live.counters.responses[1:6])),
    (names.CONFIG_RECEIVED, lambda at, live: ((at, live.counters.bytes_in),)),
    (names.CONFIG_SENT, lambda at, live: ((at, live.counters.bytes_out),)),
    (names.CONFIG_DURATION, lambda at, live: histogram(at, live.counters.lasted)),
    (
        names.CONFIG_REFUSED,
        lambda at, live: [((*at, rule), count) for rule, count in live.counters.refused_by_rule.items()],
    ),
)

NODES: Final[tuple[tuple[Family, Callable[[Labels, Member], Rows]], ...]] = (
    (names.NODE_UP, lambda at, node: ((at, int(node.shown is Status.UP)),)),
    (names.NODE_STATUS, lambda at, node: is_one_of(names.STATUSES, at, node.shown.value)),
    (names.NODE_MODE, lambda at, node: is_one_of(names.MODES, at, node.node.mode.value)),
    (names.NODE_WEIGHT, lambda at, node: ((at, node.node.weight),)),
    (names.NODE_CHANGES, lambda at, node: ((at, node.flaps),)),
    (names.NODE_CHANGED_AT, lambda at, node: ((at, node.since),)),
    (names.NODE_OPEN, lambda at, node: ((at, node.open),)),
    (names.NODE_PICKS, lambda at, node: ((at, node.picks),)),
    (names.NODE_ENDED, lambda at, node: by(names.OUTCOMES, at, node.outcomes)),
    (names.NODE_RESPONSES, lambda at, node: by(names.CLASSES, at, node.responses[1:6])),
    (names.NODE_RECEIVED, lambda at, node: ((at, node.bytes_in),)),
    (names.NODE_SENT, lambda at, node: ((at, node.bytes_out),)),
    (names.NODE_CONNECT, lambda at, node: histogram(at, node.connecting)),
    (names.NODE_FIRST_BYTE, lambda at, node: histogram(at, node.answering)),
)
