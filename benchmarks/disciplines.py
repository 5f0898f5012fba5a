"""What is measured: each discipline makes one sample of one contestant."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from benchmarks.contestants import Contestant
from benchmarks.figures import Sample
from benchmarks.load import Clients, Load

IDLE_CONNECTIONS = 2000
FIRST_CONNECTIONS = 1000
"""Open before the ones that are measured, so that they have used up what was free in the process already."""

CONCURRENT_CONNECTIONS = 9900
GIGABYTE = 10**9


@attrs.frozen
class Plan:
    """How much of everything; see ``FULL`` and ``QUICK``.

    Attributes:
        seconds: How long clients ask in tcp and http.
        copies: Downloads of the bulk file.
        rate_seconds: How long the rate is held.
        rate: Requests a second in latency: half of what the reference could do; set by the run.
        rounds: By the name of a discipline; 0: left out unless it is asked for by name, and then once.
    """

    seconds: float
    copies: int
    rate_seconds: float
    rounds: dict[str, int]
    rate: float = 0.0

    def with_rounds(self, rounds: int) -> Plan:
        """As many rounds of all that is noisy; memory and concurrent connections are not."""
        few = {name: min(rounds, self.rounds[name]) for name in ("memory", "memory-tls", "concurrent")}
        return attrs.evolve(self, rounds={**dict.fromkeys(self.rounds, rounds), **few})


HTTPS = ("https-resumed-ecdsa", "https-resumed-rsa", "https-full-ecdsa", "https-full-rsa")

FULL = Plan(
    0.6,
    3,
    0.8,
    {
        "tcp": 12,
        "http": 12,
        **dict.fromkeys(HTTPS, 6),
        "bulk-tcp": 4,
        "bulk-http": 4,
        "latency": 5,
        "memory": 2,
        "memory-tls": 1,
        "concurrent": 1,
    },
)
QUICK = Plan(
    0.4,
    1,
    0.6,
    {
        "tcp": 3,
        "http": 3,
        **{name: 2 if name.endswith("ecdsa") else 0 for name in HTTPS},
        "bulk-tcp": 2,
        "bulk-http": 2,
        "latency": 2,
        "memory": 1,
        "memory-tls": 0,
        "concurrent": 0,
    },
)


@attrs.frozen
class Discipline:
    """One kind of measurement.

    Attributes:
        name: Its name; what ``--only`` takes is the part before the hyphen.
        title: What ``Sample.value`` is.
        unit: Of ``Sample.value``.
        bar: What is asked of ours, for the table.
        measure: Takes one sample; its contestant's other work is done.
        fresh: Whether each sample needs a process that has done nothing before.
        twin: Whether the reference's second copy takes part.
        counts: What ``Sample.rate`` counts.
        https: Whether contestants have to listen for https.
        without: Contestants who take no part unless the command names them, to save time.
    """

    name: str
    title: str
    unit: str
    bar: str
    measure: Callable[[Contestant, Clients, Plan], Sample]
    fresh: bool = False
    twin: bool = True
    counts: str = "requests"
    https: bool = False
    without: tuple[str, ...] = ()

    @property
    def group(self) -> str:
        """What ``--only`` calls it."""
        return self.name.partition("-")[0]


def _requests(name: str) -> Callable[[Contestant, Clients, Plan], Sample]:
    def measure(contestant: Contestant, clients: Clients, plan: Plan) -> Sample:
        return _cost(name, contestant, lambda: clients.many(contestant.ports[name], plan.seconds), 1e-3)

    return measure


def _secure(name: str, kind: str, *, resume: bool) -> Callable[[Contestant, Clients, Plan], Sample]:
    def measure(contestant: Contestant, clients: Clients, plan: Plan) -> Sample:
        port = contestant.ports[kind]
        return _cost(name, contestant, lambda: clients.secure(port, plan.seconds, resume=resume), 1e-3)

    return measure


def _bulk(name: str) -> Callable[[Contestant, Clients, Plan], Sample]:
    port = name.replace("-", "_")

    def measure(contestant: Contestant, clients: Clients, plan: Plan) -> Sample:
        return _cost(name, contestant, lambda: clients.bulk(contestant.ports[port], plan.copies), GIGABYTE / 1e6)

    return measure


def _cost(name: str, contestant: Contestant, use: Callable[[], Load], scale: float) -> Sample:
    """CPU time of ``contestant`` while ``use`` runs: nanoseconds for one of what it counts, times ``scale``."""
    before, begin = contestant.program.cpu(), time.monotonic()
    load = use()
    spent, elapsed = contestant.program.cpu() - before, time.monotonic() - begin
    return Sample(
        name,
        contestant.name,
        0,
        value=spent.nanoseconds * scale / load.count if load.count else 0.0,
        user=spent.user_ticks / max(1, spent.user_ticks + spent.system_ticks),
        rate=load.count / load.seconds if load.seconds else 0.0,
        busy=spent.nanoseconds / 1e9 / (load.seconds or elapsed),
        p50=load.p50,
        p99=load.p99,
        resident=contestant.program.resident(),
        faults=load.faults,
    )


def _latency(contestant: Contestant, clients: Clients, plan: Plan) -> Sample:
    sample = _cost(
        "latency", contestant, lambda: clients.rate(contestant.ports["http"], plan.rate, plan.rate_seconds), 1e-3
    )
    return attrs.evolve(sample, value=sample.p99)


def _memory(name: str, port: str, client: str) -> Callable[[Contestant, Clients, Plan], Sample]:
    def measure(contestant: Contestant, clients: Clients, _plan: Plan) -> Sample:
        with clients.idle(contestant.ports[port], FIRST_CONNECTIONS, client) as first:
            opened = first.open()
            before = contestant.program.resident()
            after, faults = _held(contestant, clients, IDLE_CONNECTIONS, port, client)
        if opened < FIRST_CONNECTIONS:
            faults = f"lost {FIRST_CONNECTIONS - opened} while opening"
        return Sample(name, contestant.name, 0, (after - before) / IDLE_CONNECTIONS, resident=after, faults=faults)

    return measure


def _concurrent(contestant: Contestant, clients: Clients, _plan: Plan) -> Sample:
    begin = time.monotonic()
    resident, faults = _held(contestant, clients, CONCURRENT_CONNECTIONS, "echo", "idle_client")
    seconds = time.monotonic() - begin
    return Sample(
        "concurrent",
        contestant.name,
        0,
        seconds,
        rate=CONCURRENT_CONNECTIONS / seconds,
        resident=resident,
        faults=faults,
    )


def _held(contestant: Contestant, clients: Clients, count: int, port: str, client: str) -> tuple[int, str]:
    """Resident bytes while ``count`` idle connections are open, and how many were lost."""
    with clients.idle(contestant.ports[port], count, client) as idle:
        opened = idle.open()
        resident = contestant.program.resident()
        alive = idle.alive()
    lost = "" if alive == count else f"lost {count - opened} while opening, {opened - alive} while open"
    return resident, lost


SLOWER = ("nginx", "reactor")
"""Who takes part in TCP and HTTP already."""

RESUMED, FULL_HANDSHAKES = "≤ 1.0, goal ≤ 0.9", "≤ 1.1, goal ≤ 1.0"

ALL = (
    Discipline("tcp", "TCP, CPU a connection", "µs", "≤ 1.25, goal < 1.0", _requests("tcp"), counts="connections"),
    Discipline("http", "HTTP, CPU a request", "µs", "≤ 1.35, goal < 1.0", _requests("http")),
    *(
        Discipline(
            f"https-{how}-{kind}",
            f"HTTPS, {title}, {key}, CPU a request",
            "µs",
            bar,
            _secure(f"https-{how}-{kind}", kind, resume=how == "resumed"),
            https=True,
            without=SLOWER,
        )
        for how, title, bar in (("resumed", "resumed", RESUMED), ("full", "full handshakes", FULL_HANDSHAKES))
        for kind, key in (("ecdsa", "ECDSA P-256"), ("rsa", "RSA-2048"))
    ),
    Discipline("bulk-tcp", "Bulk TCP, CPU a GB", "ms", "≤ 0.9, goal ≤ 0.7", _bulk("bulk-tcp"), counts="bytes"),
    Discipline("bulk-http", "Bulk HTTP body, CPU a GB", "ms", "≤ 0.9, goal ≤ 0.7", _bulk("bulk-http"), counts="bytes"),
    Discipline("latency", "HTTP, p99 latency at half of the maximum", "µs", "≤ 1.5, goal ≤ 1.0", _latency),
    Discipline(
        "memory",
        "Memory an idle TCP connection",
        "bytes",
        "≤ 4,096, goal ≤ 2,048 bytes",
        _memory("memory", "echo", "idle_client"),
        fresh=True,
        counts="",
    ),
    Discipline(
        "memory-tls",
        "Memory an idle TLS connection",
        "bytes",
        "to be stated",
        _memory("memory-tls", "ecdsa", "tls_idle_client"),
        fresh=True,
        twin=False,
        counts="",
        https=True,
        without=SLOWER,
    ),
    Discipline(
        "concurrent",
        f"{CONCURRENT_CONNECTIONS:,} TCP connections open at once, time to open and use them twice",
        "s",
        "none lost",
        _concurrent,
        fresh=True,
        twin=False,
        counts="connections",
    ),
)
"""In the order in which they run."""
