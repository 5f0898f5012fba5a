from __future__ import annotations

import errno
import os
import socket
import sys

import pytest

from nodebalancer.errors import ListenError
from nodebalancer.fields import Address
from nodebalancer.transport.sockets import (
    adopt_listening,
    defer,
    in_the_way,
    listen_on,
    open_listening,
    reset,
)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_listening_socket_does_not_block_and_its_address_can_be_taken_over() -> None:
    with open_listening(Address("127.0.0.1", 0)) as listening:
        assert not listening.getblocking()
        assert not listening.get_inheritable()
        assert listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_an_ipv6_socket_takes_no_ipv4_clients() -> None:
    with open_listening(Address("::", 0)) as listening:
        assert listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


def test_an_address_that_cannot_be_had_leaves_no_socket() -> None:
    before = descriptors()
    with pytest.raises(OSError) as caught:  # noqa: PT011 the errno follows
        open_listening(Address("192.0.2.99", 0))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert descriptors() == before


def test_a_system_that_cannot_bind_freely_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd14")
    with pytest.raises(OSError, match="freebind") as caught:
        open_listening(Address("192.0.2.99", 0), freebind=True)
    assert caught.value.errno == errno.ENOPROTOOPT


def test_an_adopted_socket_is_a_duplicate_that_does_not_block() -> None:
    with open_listening(Address("127.0.0.1", 0)) as listening:
        listening.setblocking(True)
        with adopt_listening(listening.fileno()) as adopted:
            assert adopted.fileno() != listening.fileno()
            assert adopted.getsockname() == listening.getsockname()
            assert not adopted.getblocking()
            assert not adopted.get_inheritable()


def test_what_is_no_listening_tcp_socket_is_not_adopted_and_leaves_nothing() -> None:
    with (
        socket.socket() as bound,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        socket.socket(socket.AF_UNIX) as unix,
        open(os.devnull) as file,
    ):
        before = descriptors()
        bound.bind(("127.0.0.1", 0))
        for fd in (bound.fileno(), datagrams.fileno(), unix.fileno(), file.fileno(), 1_000_000):
            with pytest.raises(ListenError, match="no listening TCP socket"):
                adopt_listening(fd)
        assert descriptors() == before


def test_a_reset_is_heard_as_one() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        reset(listening.accept()[0])
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def shared(listening: socket.socket) -> bool:
    return bool(listening.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def test_nobody_else_gets_in_beside_two_that_share_a_port() -> None:
    with open_listening(Address("0.0.0.0", 0)) as wild:
        address = Address("127.0.0.1", wild.getsockname()[1])
        with open_listening(address, beside=[wild]) as specific, socket.socket() as other:
            assert not shared(wild)
            assert not shared(specific)
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.2", address.port))


def test_who_cannot_be_beside_leaves_no_socket_and_nothing_shared() -> None:
    with open_listening(Address("127.0.0.2", 0)) as one:
        port = one.getsockname()[1]
        with open_listening(Address("127.0.0.1", port)):
            before = descriptors()
            with pytest.raises(ListenError, match=f"by this process itself, which listens on 127.0.0.1:{port}"):
                listen_on(Address("0.0.0.0", port), beside=[one])
            assert descriptors() == before
            assert not shared(one)


def test_an_adopted_socket_defers_no_longer() -> None:
    """It is the one that the process before had, with another protocol perhaps."""
    with open_listening(Address("127.0.0.1", 0)) as listening:
        defer(listening, True)
        with adopt_listening(listening.fileno()) as adopted:
            assert not adopted.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)


def test_a_system_without_deferring_is_not_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_listening(Address("127.0.0.1", 0)) as listening:
        with monkeypatch.context() as patch:
            patch.delattr(socket, "TCP_DEFER_ACCEPT")
            defer(listening, True)
        assert not listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT)


def without_proc(*_: object) -> list[str]:
    raise FileNotFoundError


def test_an_address_that_this_process_has_itself_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_listening(Address("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert in_the_way(Address("0.0.0.0", port)) == ("127.0.0.1", port)
        assert in_the_way(Address("127.0.0.2", port)) is None
        assert in_the_way(Address("::", port)) is None
        monkeypatch.setattr(os, "listdir", without_proc)
        assert in_the_way(Address("0.0.0.0", port)) is None


def test_an_inherited_wildcard_of_both_families_is_in_the_way_of_both() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as listening:
        port = listening.getsockname()[1]
        assert in_the_way(Address("127.0.0.1", port)) == ("::", port)
        with pytest.raises(ListenError, match=r"itself, which listens on \[::\]"):
            listen_on(Address("0.0.0.0", port))
