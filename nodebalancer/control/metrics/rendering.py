"""Metrics as text, made a slice at a time, so that traffic waits for a slice and never for the whole.

With 1,000 nodes the text is 8 MB and takes the better part of a second. A thread would be no help: it would keep the
interpreter for milliseconds whenever the event loop has called the system.
"""

from __future__ import annotations

import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, gzip_accepted
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()

SLICE_SAMPLES: Final = 100
"""Samples of a slice: with OpenMetrics and gzip about a millisecond."""

GZIP_LEVEL: Final = 1
"""The cheapest; metrics shrink to a fifteenth with any."""

GZIP_WBITS: Final = 31
"""For zlib: a gzip header and trailer around it."""

Encode = Callable[[Collector], bytes]
Pieces = Callable[[int], Iterator[Metric | None]]
"""``Figures.pieces``."""


@attrs.frozen
class Format:
    """How a client wants it.

    Attributes:
        kind: The value of Content-Type.
        gzip: Whether it is compressed.
        encode: Makes the text of what it collects.
    """

    kind: str
    gzip: bool
    encode: Encode = attrs.field(eq=False)


KINDS: Final = frozenset(
    choose_encoder(f"{kind}{version}{escaping}")[1]
    for kind in ("text/plain", "application/openmetrics-text")
    for version in ("", ";version=0.0.1", ";version=0.0.4", ";version=1.0.0")
    for escaping in ("", *(f";escaping={how}" for how in ("allow-utf-8", "underscores", "dots", "values")))
)
"""What Prometheus, of any version, may ask for."""

GZIP_REFUSED: Final = re.compile(r"\bgzip\s*;\s*q=0(?:\.0*)?\s*(?:,|$)", re.IGNORECASE)


def format_for(accept: str, accept_encoding: str) -> Format:
    """What a client that sent these fields gets; whatever they say, it gets something."""
    try:
        encode, kind = choose_encoder(accept)
    except (ValueError, TypeError):  # from a version that is none
        encode, kind = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    if kind not in KINDS:
        # The library repeats whatever version it is asked for; each would be a text of its own.
        encode, kind = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return Format(kind, gzip_accepted(accept_encoding) and not GZIP_REFUSED.search(accept_encoding), encode)


@attrs.define(eq=False)
class Rendering:
    """One text, for everybody who waits for it.

    Attributes:
        slices: Makes the next one.
        waiting: Who does.
        text: Those that are made, without empty ones.
    """

    format: Format
    slices: Iterator[bytes]
    waiting: list[Deferred[list[bytes]]] = attrs.field(factory=list)
    text: list[bytes] = attrs.field(factory=list)


class Renderer:
    """Makes texts one after the other; whoever asks for what is being made gets that.

    Args:
        clock: Has the turns.
        pieces: Of the metrics.
        samples: Of a slice.
    """

    def __init__(self, clock: IReactorTime, pieces: Pieces, samples: int = SLICE_SAMPLES) -> None:
        self._clock = clock
        self._pieces = pieces
        self._samples = samples
        self._queue: deque[Rendering] = deque()
        self._turn: Any = None

    def render(self, format: Format) -> Deferred[list[bytes]]:  # noqa: A002 it is one
        """The text, in pieces. To cancel the Deferred is to want it no more."""
        rendering = next((one for one in self._queue if one.format == format), None)
        if rendering is None:
            rendering = Rendering(format, slices(self._pieces(self._samples), format))
            self._queue.append(rendering)
        waiting: Deferred[list[bytes]] = Deferred(rendering.waiting.remove)
        rendering.waiting.append(waiting)
        self._set_turn()
        return waiting

    def _go_on(self) -> None:
        """A slice."""
        self._turn = None
        rendering = self._queue[0]
        try:
            if not rendering.waiting:
                self._queue.popleft()
            elif piece := next(rendering.slices):
                rendering.text.append(piece)
        except StopIteration:
            self._queue.popleft()
            for waiting in tuple(rendering.waiting):
                waiting.callback(rendering.text)
        except Exception:
            self._queue.popleft()
            failure = Failure()
            log.failure("metrics could not be rendered", failure)
            for waiting in tuple(rendering.waiting):
                waiting.errback(failure)
        self._set_turn()

    def _set_turn(self) -> None:
        if self._queue and self._turn is None:
            self._turn = self._clock.callLater(0, self._go_on)


def slices(metrics: Iterable[Metric | None], format: Format) -> Iterator[bytes]:  # noqa: A002 it is one
    """The text of ``metrics``, a slice for each, and at last its end."""
    end = format.encode(Of())
    compressor = zlib.compressobj(GZIP_LEVEL, wbits=GZIP_WBITS) if format.gzip else None
    name = ""
    for metric in metrics:
        if metric is None:
            yield b""
            continue
        text = format.encode(Of(metric)).removesuffix(end)
        if metric.name == name:
            text = without_head(text)
        name = metric.name
        yield compressor.compress(text) if compressor else text
    yield compressor.compress(end) + compressor.flush() if compressor else end


class Of(Collector):
    """A collector of these metrics and no others."""

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        """They."""
        return self._metrics


def without_head(text: bytes) -> bytes:
    """The text of a metric without the lines that say what it is."""
    begin = 0
    while text.startswith(b"#", begin):
        begin = text.index(b"\n", begin) + 1
    return text[begin:]
