from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from nodebalancer.testing.peers import SocketPeer


@pytest.fixture
def ends() -> Iterator[tuple[SocketPeer, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname(), timeout=5)
        with listening.accept()[0] as other:
            other.settimeout(5)
            peer = SocketPeer(client)
            yield peer, other
            peer.reset()


def until(peer: SocketPeer, attribute: str) -> None:
    while not getattr(peer, attribute):
        peer.step()


def test_it_sends_and_reads_and_half_closes(ends: tuple[SocketPeer, socket.socket]) -> None:
    peer, other = ends
    peer.send(b"hello")
    peer.half_close()
    assert other.recv(100) == b"hello"
    assert other.recv(100) == b""
    other.sendall(b"answer")
    until(peer, "received")
    other.close()
    until(peer, "ended")
    assert peer.received == b"answer"


def test_it_keeps_what_does_not_fit_and_closes_after_it(ends: tuple[SocketPeer, socket.socket]) -> None:
    peer, other = ends
    peer.send(bytes(10_000_000))
    peer.close()
    assert peer.unsent
    received = 0
    while data := other.recv(1_000_000):
        received += len(data)
        peer.step()
    assert received == 10_000_000


def test_it_reads_nothing_when_told_so(ends: tuple[SocketPeer, socket.socket]) -> None:
    peer, other = ends
    peer.reading = False
    other.sendall(b"hello")
    peer.step()
    assert not peer.received


def test_it_resets_and_sees_resets(ends: tuple[SocketPeer, socket.socket]) -> None:
    peer, other = ends
    peer.reset()
    with pytest.raises(ConnectionResetError):
        other.recv(1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        victim = SocketPeer(socket.create_connection(listening.getsockname()))
        SocketPeer(listening.accept()[0]).reset()
        until(victim, "was_reset")
    victim.step()
