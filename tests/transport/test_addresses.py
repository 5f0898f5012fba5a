from __future__ import annotations

import errno
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodebalancer.fields import Address
from nodebalancer.transport.addresses import OURS, address_of, clash, dial_error, family, listen_error, normal_host


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:c000:201", "::ffff:c000:201"),  # the kernel never writes it so
        ("::", "::"),
    ],
)
def test_a_client_has_one_spelling(raw: str, normal: str) -> None:
    assert normal_host(raw) == normal


@given(st.ip_addresses(v=4).map(str))
def test_a_mapped_client_is_its_ipv4_address(host: str) -> None:
    assert normal_host(f"::ffff:{host}") == normal_host(host) == host


def test_socket_names_become_addresses() -> None:
    assert address_of(("192.0.2.1", 80)) == Address("192.0.2.1", 80)
    assert address_of(("::ffff:192.0.2.1", 80, 0, 0)) == Address("192.0.2.1", 80)
    assert address_of(("fe80::1%eth0", 80, 0, 2)) == Address("fe80::1", 80)


def test_the_family_follows_from_the_host() -> None:
    assert family("192.0.2.1") == socket.AF_INET
    assert family("::1") == socket.AF_INET6


def test_a_refused_dial_is_the_nodes_fault() -> None:
    error = dial_error(errno.ECONNREFUSED)
    assert (error.reason, error.ours, error.timed_out) == ("connection refused", False, False)


def test_a_silent_node_timed_out() -> None:
    error = dial_error(errno.ETIMEDOUT)
    assert (error.ours, error.timed_out) == (False, True)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL])
def test_what_we_lack_is_no_verdict_on_the_node(number: int) -> None:
    assert dial_error(number).ours
    assert number in OURS


def test_an_errno_without_words_of_ours_has_the_systems() -> None:
    assert dial_error(errno.EHOSTUNREACH).reason == "no route to host"
    assert not dial_error(errno.EHOSTUNREACH).ours


@pytest.mark.parametrize(
    ("number", "reason", "unsupported"),
    [
        (errno.EADDRINUSE, "already in use by another program", False),
        (
            errno.EACCES,
            "ports below 1024 need the right to bind them (run as root, or CAP_NET_BIND_SERVICE)",
            False,
        ),
        (errno.EADDRNOTAVAIL, "this machine has no such address", False),
        (errno.EAFNOSUPPORT, "this machine has no IPv6", True),
        (errno.ENETDOWN, "network is down", False),
    ],
)
def test_why_an_address_cannot_be_had(number: int, reason: str, unsupported: bool) -> None:
    error = listen_error(OSError(number, os.strerror(number)))
    assert (error.reason, error.unsupported) == (reason, unsupported)


def test_an_error_without_errno_keeps_its_text() -> None:
    assert listen_error(OSError("not a socket")).reason == "not a socket"
    assert listen_error(socket.gaierror(socket.EAI_NONAME, "Name or service not known")).reason.endswith("not known")


def test_it_is_not_always_another_program_that_has_the_address() -> None:
    here = Address("0.0.0.0", 80)
    taken = OSError(errno.EADDRINUSE, "taken")
    assert listen_error(taken, here).reason == "already in use by this process itself, which listens on 0.0.0.0:80"
    assert listen_error(OSError(errno.ENETDOWN, "down"), here).reason == "network is down"


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "2001:db8::1", True),
        ("::", "0.0.0.0", False),
        ("::1", "0.0.0.0", False),
    ],
)
def test_a_wildcard_clashes_with_every_address_of_its_family(one: str, other: str, expected: bool) -> None:
    assert clash(Address(one, 80), Address(other, 80)) == clash(Address(other, 80), Address(one, 80)) == expected
    assert not clash(Address(one, 80), Address(other, 81))
