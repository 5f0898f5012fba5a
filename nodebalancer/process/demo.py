"""``--demo``: three nodes and a balancer in front of them, without a file.

The balancer is the real one and takes the ordinary road: settings as text, ``settings.load``, ``ControlPlane.want``.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, gatherResults

from nodebalancer.certificates.selfsigned import self_signed
from nodebalancer.model import Settings
from nodebalancer.process.demo_nodes import DemoNode, DemoSite
from nodebalancer.process.launch import Launch
from nodebalancer.settings.reading import load

LOOPBACK = "127.0.0.1"

FIRST_PORT = 18080
"""Where the search for free ports begins: easy to remember, and below the ports that systems give out by themselves."""

ATTEMPTS = 5
"""How often ports are chosen anew when somebody took one between our look and our listening."""

INI = """\
[nodebalancer demo]
label = Three demo nodes
listen = {host}

[config demo/web]
port = {web}
protocol = http

[nodes demo/web]
{nodes}

[config demo/secure]
port = {secure}
protocol = https
ssl_cert = {certificate}
ssl_key = {certificate}

[nodes demo/secure]
{nodes}

[config demo/tcp]
port = {tcp}
protocol = tcp

[nodes demo/tcp]
{nodes}
"""

WELCOME = """\
Three demo nodes are running on this machine, and a NodeBalancer in front of them:
  http://{host}:{web}/  protocol = http
  https://{host}:{secure}/  protocol = https, with a certificate that nobody has signed
  http://{host}:{tcp}/  protocol = tcp: bytes pass unchanged
Type this a few times, in another terminal, and see the nodes take turns:
  curl http://{host}:{web}/
  curl -k https://{host}:{secure}/
Or try /slow, /status/404 and /bytes/1000000, and in a browser /chat, which is a WebSocket.
Control-C stops it all (a daemon: SIGTERM)."""


class Demo(Service):
    """The demo's nodes and certificate, and the settings that balance them.

    Args:
        reactor: ``IReactorTCP`` and ``IReactorTime``.
        launch: Its terminal gets the welcome.
        names: Of the nodes.
    """

    _directory: TemporaryDirectory[str]

    def __init__(self, reactor: Any, launch: Launch, names: tuple[str, ...] = ("demo-1", "demo-2", "demo-3")) -> None:
        self._reactor = reactor
        self._launch = launch
        self._names = names
        self._ports: list[Any] = []
        self._web = self._secure = self._tcp = 0

    def privilegedStartService(self) -> None:
        """Start the nodes, and make a certificate."""
        super().privilegedStartService()
        self._directory = TemporaryDirectory(prefix="nodebalancer-demo-", ignore_cleanup_errors=True)
        self._certificate.touch(0o600)
        self._certificate.write_bytes(self_signed())
        for name in self._names:
            site = DemoSite(DemoNode(name, self._reactor))
            self._ports.append(self._reactor.listenTCP(0, site, interface=LOOPBACK))

    def wanted(self) -> Iterator[Settings]:
        """Settings for these nodes, each time on other ports; to be asked for once the nodes run."""
        free = free_ports(FIRST_PORT)
        for _ in range(ATTEMPTS):
            self._web, self._secure, self._tcp = islice(free, 3)
            yield load(self._ini(), "demo")

    def startService(self) -> None:
        """Welcome whoever launched us."""
        super().startService()
        self._launch.tell(WELCOME.format(host=LOOPBACK, web=self._web, secure=self._secure, tcp=self._tcp))

    def stopService(self) -> Deferred[Any]:
        """Stop the nodes; requests under way go on. The certificate is loaded, so its file can go."""
        super().stopService()
        self._directory.cleanup()
        return gatherResults([port.stopListening() for port in self._ports])

    @property
    def _certificate(self) -> Path:
        return Path(self._directory.name, "demo.pem")

    def _ini(self) -> str:
        nodes = "\n".join(
            f"{name} = {LOOPBACK}:{port.getHost().port}" for name, port in zip(self._names, self._ports, strict=True)
        )
        return INI.format(
            host=LOOPBACK,
            web=self._web,
            secure=self._secure,
            certificate=self._certificate,
            tcp=self._tcp,
            nodes=nodes,
        )


def free_ports(first: int) -> Iterable[int]:
    """Ports from ``first`` on that nobody on this machine listens on right now, in ascending order."""
    for port in range(first, 32000):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        yield port
