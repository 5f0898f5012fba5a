"""That a secure peer says what it has seen."""

from __future__ import annotations

import contextlib

import pytest
from OpenSSL import SSL

from nodebalancer.fields import Address
from nodebalancer.testing.memory import MemoryNetwork
from nodebalancer.testing.memory_ends import MemoryPeer
from nodebalancer.testing.secure_peers import Authority, SecurePeer

WWW = Address("203.0.113.1", 443)


class Ends:
    """A secure peer, and a server played by OpenSSL alone, on a network in memory."""

    def __init__(self, authority: Authority) -> None:
        self.network = MemoryNetwork()
        accepted = self.network.node(WWW)
        self.tls = authority.server()
        self.peer = SecurePeer(self.network.client(WWW), authority.client())
        self.network.pump()
        self.below: MemoryPeer = accepted[0]
        self.server = SSL.Connection(self.tls.context())
        self.server.set_accept_state()

    def turn(self) -> None:
        for _ in range(4):
            if self.below.received:
                self.server.bio_write(bytes(self.below.received))
                self.below.received.clear()
            with contextlib.suppress(SSL.WantReadError):
                self.server.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                self.below.send(self.server.bio_read(65536))
            self.network.pump()
            self.peer.step()
            self.network.pump()


@pytest.fixture
def ends() -> Ends:
    return Ends(Authority())


def test_it_shakes_hands_and_then_sends_what_has_waited(ends: Ends) -> None:
    ends.peer.send(b"hello")
    assert not ends.peer.established
    ends.turn()
    assert ends.peer.established
    assert ends.server.recv(100) == b"hello"
    assert (ends.tls.asked, ends.peer.resumed) == (1, False)


def test_it_knows_an_end_from_a_truncation(ends: Ends) -> None:
    ends.turn()
    ends.server.send(b"all")
    ends.server.shutdown()
    ends.turn()
    assert ends.peer.received == b"all"
    assert ends.peer.ended
    ends.below.close()
    ends.turn()
    assert not ends.peer.truncated


def test_a_close_without_close_notify_is_a_truncation(ends: Ends) -> None:
    ends.turn()
    ends.server.send(b"half")
    ends.turn()
    ends.below.close()
    ends.turn()
    assert ends.peer.truncated
    assert not ends.peer.ended


def test_it_says_that_no_more_comes(ends: Ends) -> None:
    ends.turn()
    ends.peer.half_close()
    ends.turn()
    with pytest.raises(SSL.ZeroReturnError):
        ends.server.recv(100)


def test_it_keeps_what_has_gone_wrong(ends: Ends) -> None:
    ends.below.send(b"this is not TLS at all")
    ends.network.pump()
    ends.peer.step()
    assert isinstance(ends.peer.error, SSL.Error)
