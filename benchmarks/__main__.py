"""The command: ``python -m benchmarks``, from the root of the checkout."""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs
from OpenSSL import SSL

from benchmarks import certificates, chart, machine, nodes
from benchmarks.contestants import Stable
from benchmarks.disciplines import ALL, FULL, QUICK, Discipline, Plan
from benchmarks.figures import Sample, rows
from benchmarks.load import Clients
from benchmarks.programs import StartError
from benchmarks.report import Report
from benchmarks.revisions import Revisions
from benchmarks.run import Run

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
CONTESTANTS = "haproxy,nginx,reactor,epoll"
PACKAGES = {"taskset": "util-linux", "nginx": "nginx", "wrk": "wrk", "curl": "curl"}
"""What nodes and clients need, and the Debian package that has it."""

AGAINST_ROUNDS = 12
"""Enough to tell a difference of 3 % from noise."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    groups = ",".join(dict.fromkeys(d.group for d in ALL))
    parser.add_argument("--quick", action="store_true", help="a first impression in less than 45 seconds")
    parser.add_argument("--rounds", type=int, help="rounds of every discipline")
    parser.add_argument("--only", help=f"disciplines, of {groups}")
    parser.add_argument(
        "--contestants", help=f"default {CONTESTANTS}; the first is the reference; epoll@REV is ours at a revision"
    )
    parser.add_argument("--against", metavar="REV", help="compare ours with itself at REV (epoll@REV,epoll)")
    return parser.parse_args(argv)


def disciplines(options: argparse.Namespace, plan: Plan) -> list[Discipline]:
    """What to run: what was asked for, or everything that the plan has rounds for."""
    if options.contestants is not None:  # nobody who was asked for is left out
        return [attrs.evolve(d, without=()) for d in _of(options, plan)]
    return _of(options, plan)


def _of(options: argparse.Namespace, plan: Plan) -> list[Discipline]:
    if options.only is None:
        return [d for d in ALL if plan.rounds[d.name]]
    asked = options.only.split(",")
    unknown = set(asked) - {d.group for d in ALL} - {d.name for d in ALL}
    if unknown:
        raise SystemExit(f"no such discipline: {', '.join(sorted(unknown))}")
    return [d for d in ALL if d.group in asked or d.name in asked]


def contestants(options: argparse.Namespace) -> list[str]:
    """Who runs; the first is the reference."""
    named = (options.contestants or ("" if options.against else CONTESTANTS)).split(",")
    ours = [f"epoll@{options.against}", "epoll"] if options.against else []
    return list(dict.fromkeys(filter(None, ours + named)))


def main() -> None:
    """Measure, print, write."""
    options = arguments()
    plan = QUICK if options.quick else FULL
    rounds = options.rounds or (AGAINST_ROUNDS if options.against and not options.quick else None)
    if rounds:
        plan = plan.with_rounds(rounds)
    _become_able()
    chosen, names = disciplines(options, plan), contestants(options)
    begin, others = time.monotonic(), os.getloadavg()[0]
    samples = measured(chosen, names, plan)
    report = Report(about(time.monotonic() - begin, others), names[0], chosen, rows(samples, names[0]), samples)
    sys.stdout.write(report.text())
    _write(report, {(): "latest", ("--quick",): "quick"}.get(tuple(sys.argv[1:]), "partial"))


def measured(chosen: list[Discipline], names: list[str], plan: Plan) -> list[Sample]:
    """All samples of a run."""
    cores = machine.cores()
    with TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # nginx started by root works as another user
        with nodes.running(cores.nodes, directory, ROOT) as web:
            https = any(d.https for d in chosen)
            revisions = Revisions(ROOT, directory)
            stable = Stable(web, cores.balancer, directory, revisions, certificates.write(directory), https)
            try:
                return list(Run(stable, Clients(cores.clients, ROOT), names).samples(chosen, plan))
            except StartError as error:
                raise SystemExit(str(error)) from None


def about(seconds: float, others: float) -> dict[str, str]:
    """Facts of this run for whoever reads it: how long it took, and the load average before it began, which is others' work."""
    cores = machine.cores()
    return {
        "When": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()) + f", {seconds:.0f} seconds",
        "Command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "Ours": Revisions(ROOT, ROOT).describe(),
        "Versions": f"{_first('haproxy', '-v')}; {_first('nginx', '-v')}; Python {sys.version.split()[0]}, "
        f"Twisted {version('twisted')}",
        "OpenSSL": f"haproxy: {_openssl('haproxy', '-vv')}; nginx: {_openssl('nginx', '-V')}; ours: {_version(SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode())}; clients: {_version(ssl.OPENSSL_VERSION)}",
        "Machine": f"{machine.processor()}; balancer on core {cores.balancer}, clients on {cores.clients}, nodes on {cores.nodes}; load average before the run {others:.1f}",
    }


def _first(*argv: str) -> str:
    """The first line of what a program says about itself."""
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    line = (said.stdout + said.stderr).strip().splitlines()[0]
    return line.removeprefix("nginx version: ").partition(" 20")[0]


def _openssl(*argv: str) -> str:
    """The version of OpenSSL that a program runs on; both of these say it last."""
    said = subprocess.run(argv, capture_output=True, text=True, check=False)
    return _version(said.stdout + said.stderr)


def _version(text: str) -> str:
    """The last version of OpenSSL that a text names."""
    found = re.findall(r"OpenSSL (\d[\w.]*)", text)
    return str(found[-1]) if found else "not told"


def _become_able() -> None:
    """As many descriptors as we may have, for all we start; an orderly end when somebody ends us.

    Raises:
        SystemExit: A program is missing.
    """
    missing = [f"{name} (Debian: {package})" for name, package in PACKAGES.items() if not shutil.which(name)]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))


def _write(report: Report, name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    for ending, text in (("json", report.json()), ("rst", report.rst()), ("svg", chart.svg(report))):
        (RESULTS / f"{name}.{ending}").write_text(text)
    sys.stderr.write(f"written: {RESULTS / name}.json, .rst, .svg\n")


if __name__ == "__main__":
    main()
