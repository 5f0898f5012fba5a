"""What several of these tests need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
import trustme

from nodebalancer.testing.nodes import Program, balancer, free_port, nginx

INI = """\
[nodebalancer www]
listen = 127.0.0.1

[config www/secure]
port = {secure}
protocol = https
ssl_cert = www.pem
ssl_key = www.pem
ssl_cert_dir = more

[config www/legacy]
port = {legacy}
protocol = https
cipher_suite = legacy
ssl_cert = www.pem
ssl_key = www.pem

[config www/rsa]
port = {rsa}
protocol = https
ssl_cert = rsa.pem
ssl_key = rsa.pem

[nodes www/secure]
one = 127.0.0.1:{one}
[nodes www/legacy]
one = 127.0.0.1:{one}
[nodes www/rsa]
one = 127.0.0.1:{one}
"""

NODE = """
location / { return 200 "served over $http_x_forwarded_proto"; }
location /big { root .; }
"""

BIG_BYTES = 100_000_000


@attrs.frozen
class Secured:
    """A balancer with https configs before an nginx.

    Attributes:
        directory: Has ``ca.pem``, whom to trust.
        engine: Of the balancer.
        program: The balancer.
        ports: Of ``secure`` (www.example.org, and shop.example by its name), ``legacy`` and ``rsa``.
        big: The file that the node serves as ``/big``.
        issue: Makes another ``www.pem``.
    """

    directory: Path
    engine: str
    program: Program
    ports: dict[str, int]
    big: Path
    issue: Callable[[], bytes]


@pytest.fixture(scope="session")
def run_secured(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Iterator[Secured]]:
    """Runs a ``Secured`` on an engine, for as long as the iterator lives."""

    def run(engine: str) -> Iterator[Secured]:
        directory = tmp_path_factory.mktemp(f"secured-{engine}")
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        authority.cert_pem.write_to_path(directory / "ca.pem")
        (directory / "more").mkdir()

        def issue(name: str = "www.example.org", key: trustme.KeyType = trustme.KeyType.ECDSA) -> bytes:
            return authority.issue_cert(name, key_type=key).private_key_and_cert_chain_pem.bytes()

        for file, content in (
            ("www.pem", issue()),
            ("more/shop.pem", issue("shop.example")),
            ("rsa.pem", issue(key=trustme.KeyType.RSA)),
        ):
            (directory / file).touch(0o600)
            (directory / file).write_bytes(content)
        big = directory / "big"
        with big.open("wb") as hole:
            hole.truncate(BIG_BYTES)
        ports = {name: free_port() for name in ("secure", "legacy", "rsa")}
        one, one_port = nginx(directory, NODE.replace("root .", f"root {directory}"))
        ini = INI.format(one=one_port, **ports)
        with one, balancer(directory, ini, [ports["secure"]], engine=engine) as program:
            yield Secured(directory, engine, program, ports, big, issue)
            assert "Traceback" not in program.output
            assert program.stop() == 0

    return run
