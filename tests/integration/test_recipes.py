"""The recipes of the docs for nodes that are to see the true client, on real nodes (R8)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodebalancer.testing.nodes import LOOPBACK, ROOT, Program, balancer, curl, free_port, nginx

pytestmark = pytest.mark.integration

RECIPES = ROOT / "docs/recipes"
BALANCER_IN_RECIPES = "192.168.1.5"
CLIENT = "127.0.0.2"
ELSEWHERE = "203.0.113.7"

APACHE = """\
ServerRoot {directory}
ServerName localhost
PidFile {directory}/apache.pid
ErrorLog {directory}/apache.err
Listen 127.0.0.1:{port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule remoteip_module /usr/lib/apache2/modules/mod_remoteip.so
LoadModule rewrite_module /usr/lib/apache2/modules/mod_rewrite.so
LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
User nobody
Group nogroup
Mutex pthread
RewriteEngine on
RewriteRule ^ - [R=204,L]
Header always set X-Client "expr=%{{REMOTE_ADDR}}"
Include {recipe}
"""

INI = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/plain]
port = {plain}
check = none

[nodes www/plain]
one = 127.0.0.1:{node}

[nodebalancer behind]
listen = 127.0.0.1
trusted_proxies = 127.0.0.1/32

[config behind/plain]
port = {behind}
check = none

[nodes behind/plain]
one = 127.0.0.1:{node}
"""


def recipe(directory: Path, name: str) -> Path:
    """The recipe as the docs have it, with our balancer's address."""
    text = (RECIPES / name).read_text()
    assert BALANCER_IN_RECIPES in text
    file = directory / name
    file.write_text(text.replace(BALANCER_IN_RECIPES, LOOPBACK))
    return file


def nginx_node(directory: Path) -> tuple[Program, int]:
    included = recipe(directory, "nginx-real-ip.conf")
    return nginx(directory, f"include {included}; add_header X-Client $remote_addr always; return 204;")


def apache_node(directory: Path) -> tuple[Program, int]:
    port = free_port()
    file = directory / "httpd.conf"
    file.write_text(APACHE.format(directory=directory, port=port, recipe=recipe(directory, "apache-remoteip.conf")))
    return Program(["apache2", "-f", str(file), "-DFOREGROUND"], directory, "apache", [port]), port


@pytest.fixture(params=[nginx_node, apache_node])
def ports(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, int]]:
    """Where a node is, and two balancers before it: one for clients, and one behind another proxy."""
    make: Callable[[Path], tuple[Program, int]] = request.param
    program, node = make(tmp_path)
    found = {"node": node, "plain": free_port(), "behind": free_port()}
    with ExitStack() as stack:
        stack.enter_context(program)
        stack.enter_context(balancer(tmp_path, INI.format(**found), [found["plain"], found["behind"]]))
        yield found


def seen(port: int, *options: str) -> str:
    """Whom the node takes for the client."""
    said = curl("-o", "/dev/null", "-w", "%{http_code} %header{x-client}", *options, f"http://{LOOPBACK}:{port}/")
    assert said.startswith("204 ")
    return said.removeprefix("204 ")


def test_a_node_sees_the_true_client(ports: dict[str, int]) -> None:
    assert seen(ports["plain"], "--interface", CLIENT) == CLIENT
    forged = ("-H", f"X-Forwarded-For: {ELSEWHERE}", "-H", f"X-Real-IP: {ELSEWHERE}")
    assert seen(ports["plain"], "--interface", CLIENT, *forged) == CLIENT
    # The other way round: a node that is asked directly does not believe it.
    assert seen(ports["node"], "--interface", CLIENT, *forged) == CLIENT
    # A proxy before the balancer, which is trusted, and has said who its client is.
    assert seen(ports["behind"], "-H", f"X-Forwarded-For: {ELSEWHERE}") == ELSEWHERE
    assert seen(ports["behind"], "-H", f"X-Forwarded-For: 6.6.6.6, {ELSEWHERE}") == ELSEWHERE
