"""HTTP as a user has it: curl in front, nginx behind."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from nodebalancer.testing.nodes import LOOPBACK, balancer, curl, free_port, nginx

pytestmark = pytest.mark.integration

NODE = """\
        add_header X-Node {name} always;
        root {directory}/www;
        location = /seen {{
            default_type text/plain;
            return 200 "method=$request_method host=$http_host xff=$http_x_forwarded_for xfp=$http_x_forwarded_proto connection=$http_connection keep=$http_x_keep";
        }}
        location = /posted {{ proxy_set_header X-Body $request_body; proxy_pass http://{host}:{port}/body; }}
        location = /body {{ return 200 "$http_x_body"; }}
        location /put/ {{ dav_methods PUT; create_full_put_path on; }}
        location = /empty {{ return 204; }}
        location = /broken {{ return 500 "sorry"; }}
"""

INI = """\
[nodebalancer www]
listen = 127.0.0.1, ::1

[config www/web]
port = {web}
check_passive = false

[nodes www/web]
one = 127.0.0.1:{one} weight=100
two = 127.0.0.1:{two} weight=50

[config www/lame]
port = {lame}

[nodes www/lame]
dead = 127.0.0.1:{dead}
two = 127.0.0.1:{two}

[config www/down]
port = {down}
timeout_connect = 1

[nodes www/down]
dead = 127.0.0.1:{dead}
deader = 127.0.0.1:{deader}
"""


@attrs.frozen
class Site:
    """Two nginx nodes that serve one directory, and the balancer in front of them."""

    directory: Path
    ports: dict[str, int]

    def url(self, path: str, config: str = "web", host: str = LOOPBACK) -> str:
        return f"http://{host}:{self.ports[config]}{path}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("site")
    (directory / "www/put").mkdir(parents=True)
    ports = {name: free_port() for name in ("one", "two", "web", "lame", "down", "dead", "deader")}
    with ExitStack() as stack:
        for name in ("one", "two"):
            server = NODE.format(name=name, directory=directory, host=LOOPBACK, port=ports[name])
            stack.enter_context(nginx(directory, server, name=name, port=ports[name])[0])
        ini = INI.format(**ports)
        stack.enter_context(balancer(directory, ini, [ports[name] for name in ("web", "lame", "down")]))
        yield Site(directory, ports)


def test_a_page_arrives_with_its_fields(site: Site) -> None:
    (site.directory / "www/hello.txt").write_text("hello\n")
    head, _, body = curl("-i", site.url("/hello.txt")).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "\r\nConnection: close" in head
    assert "\r\nContent-Length: 6" in head
    assert body == "hello\n"


def test_nodes_see_the_client_the_protocol_and_the_host_as_it_was_asked_for(site: Site) -> None:
    seen = curl("-H", "Host: shop.example:8443", "-H", "X-Keep: me", site.url("/seen"))
    assert seen == "method=GET host=shop.example:8443 xff=127.0.0.1 xfp=http connection=close keep=me"


def test_a_client_cannot_forge_its_address(site: Site) -> None:
    assert "xff=127.0.0.1 xfp=http " in curl("-H", "X-Forwarded-For: 6.6.6.6", site.url("/seen"))


def test_clients_come_over_ipv6_too(site: Site) -> None:
    assert "xff=::1 " in curl("-g", site.url("/seen", host="[::1]"))


def test_old_clients_are_served(site: Site) -> None:
    assert curl("-0", "-i", site.url("/seen")).startswith("HTTP/1.1 200 OK\r\n")


def test_head_has_the_fields_and_no_body(site: Site) -> None:
    (site.directory / "www/head.txt").write_text("x" * 1000)
    answer = curl("-I", site.url("/head.txt"))
    assert answer.startswith("HTTP/1.1 200 OK\r\n")
    assert "\r\nContent-Length: 1000\r\n" in answer
    assert answer.endswith("\r\n\r\n")


def test_an_answer_without_a_body_has_none(site: Site) -> None:
    assert curl("-i", site.url("/empty")).startswith("HTTP/1.1 204 No Content\r\n")


@pytest.mark.parametrize(("path", "status"), [("/no-such-page", "404"), ("/broken", "500")])
def test_errors_of_a_node_pass_as_they_are(site: Site, path: str, status: str) -> None:
    answer = curl("-i", site.url(path))
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert "X-Node: " in answer


def test_a_posted_form_arrives(site: Site) -> None:
    assert curl("-d", "name=value&more=1", site.url("/posted")) == "name=value&more=1"


@pytest.mark.parametrize("framing", ["Content-Length: ", "Transfer-Encoding: chunked"])
def test_an_upload_arrives_whole_however_it_is_framed(site: Site, framing: str) -> None:
    content = os.urandom(3_000_000)
    source = site.directory / "source"
    source.write_bytes(content)
    fields = [] if framing.startswith("Content-Length") else ["-H", framing]
    status = curl("-T", str(source), *fields, "-w", "%{http_code}", site.url("/put/target"))
    assert status in ("201", "204")
    assert (site.directory / "www/put/target").read_bytes() == content


def test_a_big_download_arrives_whole(site: Site) -> None:
    content = os.urandom(20_000_000)
    (site.directory / "www/big").write_bytes(content)
    target = site.directory / "got"
    curl("-o", str(target), site.url("/big"))
    assert hashlib.sha256(target.read_bytes()).digest() == hashlib.sha256(content).digest()


def test_nodes_take_turns_by_their_weight(site: Site) -> None:
    urls = [argument for _ in range(30) for argument in ("-o", "/dev/null", site.url("/seen"))]
    nodes = curl("-w", "%header{x-node}\n", *urls).split()
    assert Counter(nodes) == {"one": 20, "two": 10}


def test_a_node_that_refuses_is_skipped_and_no_client_notices(site: Site) -> None:
    urls = [argument for _ in range(10) for argument in ("-o", "/dev/null", site.url("/seen", "lame"))]
    answers = curl("-w", "%{http_code} %header{x-node}\n", *urls).splitlines()
    assert answers == ["200 two"] * 10


def test_with_no_node_left_the_client_gets_a_plain_503_page(site: Site) -> None:
    head, _, body = curl("-i", site.url("/seen", "down")).partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 503 Service Unavailable\r\n")
    assert "\r\nConnection: close" in head
    assert "503 Service Unavailable" in body


def test_many_clients_at_once_are_all_served(site: Site) -> None:
    done = subprocess.run(
        ["wrk", "-t1", "-c32", "-d1s", "-H", "Connection: close", site.url("/seen")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "requests in" in done.stdout
    assert "Socket errors" not in done.stdout
    assert "Non-2xx" not in done.stdout
