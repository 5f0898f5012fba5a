"""Certificates that are renewed in place while an engine serves with them (R11)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from OpenSSL import SSL

from nodebalancer.certificates.follower import Certificates
from nodebalancer.model import Protocol
from nodebalancer.testing.builders import config, nodebalancer, settings
from nodebalancer.testing.logs import logged
from nodebalancer.testing.recorder import Recorder
from nodebalancer.testing.secure_peers import SecurePeer
from nodebalancer.testing.secure_worlds import SecureWorld


@pytest.fixture(params=["reactor", "epoll"])
def world(request: pytest.FixtureRequest, secure_world: Callable[[str], SecureWorld]) -> SecureWorld:
    return secure_world(request.param)


class Site:
    """An https config's files, and the listener that serves with them.

    Attributes:
        certificates: Looks at the files when it is told to.
    """

    def __init__(self, world: SecureWorld, directory: Path, reactor: Any) -> None:
        self.cert, self.key = directory / "www.crt", directory / "www.key"
        self.key.touch(0o600)
        self.issued = self.issue()
        self.cert.write_bytes(self.issued.cert_chain_pems[0].bytes())
        self.key.write_bytes(self.issued.private_key_pem.bytes())
        files = {"ssl_cert": str(self.cert), "ssl_key": str(self.key)}
        wanted = settings(nodebalancer("www", config("secure", protocol=Protocol.HTTPS, **files)))
        self.certificates = Certificates(reactor)
        assert self.certificates.prepare(wanted, ()).result == ()
        self.certificates.commit()
        self._world = world
        self._address = world.serve_tls(
            lambda: Recorder(data=lambda r, data: r.transport.write(data)),
            tls=self.certificates.tls_for(("www", "secure")),
        ).address

    def issue(self) -> trustme.LeafCert:
        return self._authority.issue_cert("www.example.org", key_type=trustme.KeyType.ECDSA)

    _authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    anybody = SSL.Context(SSL.TLS_CLIENT_METHOD)

    async def client(self, session: SSL.Session | None = None) -> SecurePeer:
        """A new client that has spoken with us."""
        peer = self._world.secure(self._address, self.anybody, session)
        await self.echoes(peer)
        return peer

    async def echoes(self, peer: SecurePeer) -> None:
        before = len(peer.received)
        peer.send(b"hello")
        await self._world.until(lambda: len(peer.received) == before + 5)


def serial(peer: SecurePeer) -> int:
    certificate = peer.tls.get_peer_certificate(as_cryptography=True)
    assert certificate is not None
    return certificate.serial_number


async def test_renewed_files_are_for_new_connections(world: SecureWorld, tmp_path: Path, reactor: Any) -> None:
    site = Site(world, tmp_path, reactor)
    early = await site.client()
    renewed = site.issue()
    with logged() as lines:
        # By half: the certificate is new, the key old.
        site.cert.write_bytes(renewed.cert_chain_pems[0].bytes())
        await site.certificates.look()
        between = await site.client(early.tls.get_session())
        assert between.resumed
        assert serial(await site.client()) == serial(early)
        site.key.write_bytes(renewed.private_key_pem.bytes())
        await site.certificates.look()
    late = await site.client()
    assert serial(late) != serial(early)
    await site.echoes(early)
    half, whole = lines
    assert half.startswith(f"[config www/secure] ssl_key = {site.key}: does not belong to the certificate; ")
    assert whole.startswith(f"[config www/secure] new certificate {site.cert}: valid for www.example.org; expires on ")


@pytest.mark.parametrize("broken", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_broken_files_change_nothing(world: SecureWorld, tmp_path: Path, reactor: Any, broken: bytes) -> None:
    site = Site(world, tmp_path, reactor)
    early = await site.client()
    site.cert.write_bytes(broken)
    with logged() as lines:
        await site.certificates.look()
    [line] = lines
    assert line.endswith("; the certificate that was loaded before goes on serving")
    late = await site.client(early.tls.get_session())
    assert late.resumed
    assert serial(await site.client()) == serial(early)
