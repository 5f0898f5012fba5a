"""The balancers that are compared, and how each is started.

All do the same work, as ``setups`` says: one process on one core, round robin over the same two nodes, no keep-alive on
either side, X-Forwarded-For and X-Forwarded-Proto set in http, time-outs and limits on, no access log; https with the same
certificates, TLS 1.2 and 1.3, tickets and a session cache.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks import setups
from benchmarks.machine import free_port
from benchmarks.nodes import Nodes
from benchmarks.programs import Program, StartError
from benchmarks.revisions import Revisions

STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
"""Debian's libnginx-mod-stream."""

CONNECTIONS = 9950
"""The limit of every contestant: two descriptors each, and some to spare, of the usual hard limit of 20,000."""

AGAIN = "-again"
"""The end of the name of the reference's second copy, which shows the noise of a run (A/A)."""

PIPES = "haproxy-pipes"
"""HAProxy with pipes of 1 MiB instead of the kernel's 64 KiB: better than its defaults at bulk, all else the same."""

OURS = ("epoll", "reactor")
"""Ours by the name of the engine."""


@attrs.frozen
class Contestant:
    """A balancer that runs.

    Attributes:
        name: ``haproxy``, ``nginx``, ``epoll``, …; ours perhaps with a revision: ``epoll@v0.1``.
        program: Its process or processes.
        ports: Where it listens: ``tcp``, ``http``, ``bulk_tcp`` and ``bulk_http`` lead to the web nodes, ``echo`` (tcp)
            to the echo, ``ecdsa`` and ``rsa`` (https) to the web nodes.
    """

    name: str
    program: Program
    ports: Mapping[str, int]


@attrs.frozen
class Stable:
    """Starts contestants by name.

    Attributes:
        nodes: What they balance.
        core: Where they run: all on the same core, one of them busy at a time.
        directory: For their settings and logs.
        revisions: The checkout and older trees of it.
        certificates: Files with certificate and key, by kind.
        https: Whether ours is given https; older revisions do not know it.
    """

    nodes: Nodes
    core: int
    directory: Path
    revisions: Revisions
    certificates: Mapping[str, Path]
    https: bool

    @contextmanager
    def running(self, name: str) -> Iterator[Contestant]:
        """The contestant ``name`` for as long as the context lasts.

        Raises:
            StartError: It does not run here; caught by ``__main__``.
        """
        ports = {name: free_port() for name in ("tcp", "http", "echo", *self.certificates)}
        kind, _, revision = name.removesuffix(AGAIN).partition("@")
        if kind in OURS:
            program = self._ours(name, kind, ports, self.revisions.tree(revision))
        elif kind == "nginx":
            program = self._nginx(name, ports)
        else:
            ports |= {"bulk_tcp": free_port(), "bulk_http": free_port()}
            program = self._haproxy(name, ports, "tune.pipesize 1048576" if kind == PIPES else "")
        with program:
            program.wait_for(port for of, port in ports.items() if self.https or of not in self.certificates)
            yield Contestant(name, program, {"bulk_tcp": ports["tcp"], "bulk_http": ports["http"], **ports})

    def _haproxy(self, name: str, ports: Mapping[str, int], pipes: str) -> Program:
        config = self._configured("haproxy.cfg", name, ports, pipes=pipes)
        return Program(name, ["haproxy", "-db", "-f", str(config)], self.core, self.directory)

    def _nginx(self, name: str, ports: Mapping[str, int]) -> Program:
        if not STREAM_MODULE.exists():
            raise StartError(f"nginx: {STREAM_MODULE} is missing; Debian has it in libnginx-mod-stream")
        config = self._configured("nginx.conf", name, ports, stream_module=STREAM_MODULE)
        return Program(name, ["nginx", "-c", str(config)], self.core, self.directory)

    def _ours(self, name: str, engine: str, ports: Mapping[str, int], tree: Path) -> Program:
        config = self._configured("nodebalancer.ini", name, ports)
        if self.https:
            with config.open("a") as file:
                file.write(self._configured("nodebalancer-https.ini", name, ports).read_text())
        twistd = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "nodebalancer"]
        options = ["--engine", engine, "--config", str(config)]
        return Program(name, twistd + options, self.core, self.directory, {"PYTHONPATH": str(tree)})

    def _configured(self, template: str, name: str, ports: Mapping[str, int], **more: object) -> Path:
        return setups.write(
            template,
            self.directory / f"{name.replace('/', '-')}-{template}",
            name=name.replace("/", "-"),
            directory=self.directory,
            connections=CONNECTIONS,
            web_1=self.nodes.web[0],
            web_2=self.nodes.web[1],
            echo_node=self.nodes.echo,
            **ports,
            **{f"{kind}_pem": path for kind, path in self.certificates.items()},
            **more,
        )
