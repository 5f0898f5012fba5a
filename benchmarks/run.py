"""The run: contestants side by side, round by round, their order rotated."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import attrs

from benchmarks.contestants import AGAIN, PIPES, Contestant, Stable
from benchmarks.disciplines import Discipline, Plan
from benchmarks.figures import Sample
from benchmarks.load import Clients
from benchmarks.programs import StartError

WARM_SECONDS = 0.3
CALIBRATION_SECONDS = 0.5
CALIBRATIONS = 2


@attrs.frozen
class Run:
    """One run over all disciplines.

    Attributes:
        stable: Starts contestants.
        clients: The load.
        names: Contestants; the first is the reference, its second copy is added by the run.
    """

    stable: Stable
    clients: Clients
    names: Sequence[str]

    @property
    def reference(self) -> str:
        """Whom the others are compared with."""
        return self.names[0]

    def samples(self, disciplines: Sequence[Discipline], plan: Plan) -> Iterator[Sample]:
        """Every sample of the run as it is taken; those who cannot start are told on standard error and left out."""
        with ExitStack() as stack:
            running = {name: c for name in self._everybody(disciplines) if (c := self._started(stack, name))}
            if self.reference not in running:
                raise StartError(f"without the reference, {self.reference}, there is nothing to compare with")
            self._warm(running, disciplines)
            if any(d.name == "latency" for d in disciplines):
                plan = attrs.evolve(plan, rate=self._half_of_maximum(running[self.reference]))
            for discipline in disciplines:
                _say(f"{discipline.name} ")
                yield from self._rounds(discipline, running, plan)

    def _everybody(self, disciplines: Sequence[Discipline]) -> list[str]:
        """The contestants with the reference's copy and, for bulk, HAProxy's better half."""
        names = [self.reference, *self.names[1:], self.reference + AGAIN]
        if "haproxy" in names and any(d.group == "bulk" for d in disciplines):
            names.append(PIPES)
        return names

    def _started(self, stack: ExitStack, name: str) -> Contestant | None:
        try:
            return stack.enter_context(self.stable.running(name))
        except StartError as error:
            _say(f"left out: {error}\n")
            return None

    def _warm(self, running: dict[str, Contestant], disciplines: Sequence[Discipline]) -> None:
        """Let caches fill and Python specialise its code."""
        for contestant in running.values():
            groups = {d.group for d in disciplines if _takes_part(contestant.name, d)}
            if groups & {"tcp", "bulk"}:
                self.clients.many(contestant.ports["tcp"], WARM_SECONDS)
            if groups & {"http", "bulk", "latency"}:
                self.clients.many(contestant.ports["http"], WARM_SECONDS)
            if "https" in groups:
                for kind in self.stable.certificates:
                    self.clients.secure(contestant.ports[kind], WARM_SECONDS, resume=False)

    def _half_of_maximum(self, reference: Contestant) -> float:
        loads = [self.clients.many(reference.ports["http"], CALIBRATION_SECONDS) for _ in range(CALIBRATIONS)]
        return round(max(load.count / load.seconds for load in loads) / 2, -2)

    def _rounds(self, discipline: Discipline, running: dict[str, Contestant], plan: Plan) -> Iterator[Sample]:
        names = [name for name in running if _takes_part(name, discipline)]
        for number in range(max(1, plan.rounds[discipline.name])):
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                with self._ready(discipline, running[name]) as contestant:
                    sample = discipline.measure(contestant, self.clients, plan)
                    dead = "" if contestant.program.alive else "the contestant died"
                yield attrs.evolve(sample, round=number, faults="; ".join(filter(None, (sample.faults, dead))))
            _say(".")
        _say("\n")

    @contextmanager
    def _ready(self, discipline: Discipline, contestant: Contestant) -> Iterator[Contestant]:
        """The contestant, or a new process of its kind where the discipline needs that."""
        if not discipline.fresh:
            yield contestant
            return
        with self.stable.running(contestant.name) as fresh:
            yield fresh


def _takes_part(name: str, discipline: Discipline) -> bool:
    if name in discipline.without:
        return False
    return (discipline.twin or not name.endswith(AGAIN)) and (discipline.group == "bulk" or name != PIPES)


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
