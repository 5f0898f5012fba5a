"""The clients: what they did, and what went wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.nodes import BULK_BYTES
from benchmarks.programs import pinned

PATIENCE = 60.0
"""Seconds after which a client is ended, whatever it waits for."""

CLIENTS_OPENSSL = Path(__file__).parent / "setups" / "clients-openssl.cnf"
"""How clients agree on keys: in the same way with all contestants, whatever they could do best."""

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 6e7}
_FAULTS = (r"Socket errors: (.*)", r"(Non-2xx or 3xx responses: \d+)")


@attrs.frozen
class Load:
    """What clients did.

    Attributes:
        count: Requests that were answered, bytes that came, or connections that live.
        seconds: How long it took.
        p50, p99: Latency in µs; 0 when it was not looked at.
        faults: What went wrong, in words; empty: nothing.
    """

    count: int
    seconds: float
    p50: float = 0.0
    p99: float = 0.0
    faults: str = ""


@attrs.frozen
class Clients:
    """Starts clients.

    Attributes:
        core: Where they run.
        root: The checkout.
    """

    core: int
    root: Path

    def many(self, port: int, seconds: float) -> Load:
        """As many requests as 64 clients get answered, one request a connection (wrk)."""
        options = ["-t", "1", "-c", "64", "-d", "60", "--latency", "-H", "Connection: close"]
        argv = ["wrk", *options, f"http://127.0.0.1:{port}/"]
        with subprocess.Popen(pinned(self.core, argv), stdout=subprocess.PIPE, text=True) as wrk:
            # wrk counts whole seconds; interrupted, it reports what it has.
            time.sleep(seconds)
            wrk.send_signal(signal.SIGINT)
            return read_wrk(wrk.communicate(timeout=PATIENCE)[0])

    def secure(self, port: int, seconds: float, *, resume: bool) -> Load:
        """As many requests over TLS as 64 clients get answered, one request a connection; all but the first resume, or none."""
        options = [str(port), str(seconds), "resumed" if resume else "full"]
        argv = [sys.executable, "-m", "benchmarks.tls_client", *options]
        return read_secure(self._run(argv, {"OPENSSL_CONF": str(CLIENTS_OPENSSL)}), resume=resume)

    def bulk(self, port: int, copies: int) -> Load:
        """``copies`` downloads of the bulk file, one after the other (curl)."""
        url = f"http://127.0.0.1:{port}/bulk?[1-{copies}]"
        begin = time.monotonic()
        out = self._run(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{size_download}\n", url])
        seconds = time.monotonic() - begin
        whole = out.splitlines().count(f"200 {BULK_BYTES}")
        return Load(whole * BULK_BYTES, seconds, faults=f"{copies - whole} cut short" if whole < copies else "")

    def rate(self, port: int, rate: float, seconds: float) -> Load:
        """``rate`` requests a second, whatever the answers do."""
        argv = [sys.executable, "-m", "benchmarks.rate_client", str(port), str(rate), str(seconds)]
        seen = json.loads(self._run(argv))
        latencies = sorted(seen["latencies"]) or [0.0]
        p50, p99 = (latencies[len(latencies) * percent // 100] * 1e6 for percent in (50, 99))
        lost = ", ".join(f"{count} {how}" for how, count in seen["lost"].items())
        return Load(len(seen["latencies"]), seen["seconds"], p50, p99, f"lost {lost}" if lost else "")

    @contextmanager
    def idle(self, port: int, count: int, client: str = "idle_client") -> Iterator[IdleClients]:
        """``count`` connections, open while the context lasts; to an echo, or over TLS with ``tls_idle_client``."""
        argv = [sys.executable, "-m", f"benchmarks.{client}", str(port), str(count)]
        with subprocess.Popen(
            pinned(self.core, argv), cwd=self.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield IdleClients(process)
            finally:
                process.kill()

    def _run(self, argv: list[str], environment: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            pinned(self.core, argv),
            cwd=self.root,
            stdout=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
            check=False,
            env={**os.environ, **(environment or {})},
        )
        return done.stdout


class IdleClients:
    """Connections that are held open by a process of their own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def open(self) -> int:
        """How many could be opened and echo; waits until all have been tried."""
        return self._answer("open")

    def alive(self) -> int:
        """How many of them echo still, all open at once."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer("alive")

    def _answer(self, key: str) -> int:
        """The number it prints; 0 when it has ended before."""
        assert self._process.stdout is not None
        return int(json.loads(self._process.stdout.readline() or "{}").get(key, 0))


def read_secure(text: str, *, resume: bool) -> Load:
    """What ``tls_client`` printed; a handshake of the wrong kind is a fault."""
    seen = json.loads(text or "{}")
    count = seen.get("count", 0)
    faults = [f"lost {number} {how}" for how, number in seen.get("lost", {}).items()]
    if not count:
        return Load(0, 0.0, faults="; ".join(["nothing was answered", *faults]))
    expected = count - 1 if resume else 0
    if seen["resumed"] != expected:
        faults.append(f"{seen['resumed']} of {count} handshakes were resumed")
    return Load(count, seen["seconds"], faults="; ".join(faults))


def read_wrk(text: str) -> Load:
    """What wrk printed with ``--latency``."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)", text)
    latency = {
        percent: float(value) * _UNITS[unit]
        for percent, value, unit in re.findall(r"^ +(\d+)% +([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    }
    faults = [found[1] for pattern in _FAULTS if (found := re.search(pattern, text))]
    if total is None or int(total[1]) == 0:
        return Load(0, 0.0, faults="; ".join(["nothing was answered", *faults]))
    seconds = float(total[2]) * _UNITS[total[3]] / 1e6
    return Load(int(total[1]), seconds, latency.get("50", 0.0), latency.get("99", 0.0), "; ".join(faults))
