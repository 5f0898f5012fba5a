"""Errors say whose fault it is, in words an operator can read."""

from __future__ import annotations

import pytest

from nodebalancer.errors import (
    CertificateError,
    DialError,
    HandshakeError,
    ListenError,
    MessageError,
    NodeBalancerError,
    Problem,
    SettingsError,
)

PROBLEM = Problem("etc/nodebalancer.ini:14: [config www/secure] check_timeout = 45", "not between 1 and 30 seconds")


def test_a_problem_reads_as_one_line_with_place_and_expectation() -> None:
    assert str(PROBLEM) == (
        "etc/nodebalancer.ini:14: [config www/secure] check_timeout = 45: not between 1 and 30 seconds"
    )


def test_a_settings_error_tells_every_problem() -> None:
    """Nobody has to fix one problem to hear of the next."""
    error = SettingsError((PROBLEM, Problem("[config www/plain] port", "used twice")))
    assert error.problems[0] is PROBLEM
    assert str(error) == f"{PROBLEM}; [config www/plain] port: used twice"


def test_a_message_error_has_the_answer_and_the_rule() -> None:
    error = MessageError(400, "request head: bare LF, RFC 9112 2.2")
    assert (error.status, error.rule, str(error)) == (400, "request head: bare LF, RFC 9112 2.2", error.rule)


def test_a_failed_handshake_says_what_the_client_did() -> None:
    error = HandshakeError("no shared cipher")
    assert (error.reason, str(error)) == ("no shared cipher", "no shared cipher")


def test_a_failed_dial_is_the_nodes_fault_unless_said_otherwise() -> None:
    assert (DialError("connection refused").ours, DialError("connection refused").timed_out) == (False, False)
    assert DialError("too many open files", ours=True).ours
    silent = DialError("no answer in 3 s", timed_out=True)
    assert (silent.timed_out, silent.reason, str(silent)) == (True, "no answer in 3 s", "no answer in 3 s")


def test_a_listener_that_cannot_be_had_says_why() -> None:
    error = ListenError("this machine has no IPv6", unsupported=True)
    assert (error.unsupported, error.reason, str(error)) == (True, "this machine has no IPv6", error.reason)
    assert not ListenError("already in use by another program").unsupported


def test_a_certificate_error_tells_every_flaw_and_what_it_is_about() -> None:
    error = CertificateError(("ssl_cert", "has expired"), ("ssl_key", "has a passphrase"))
    assert error.flaws == (("ssl_cert", "has expired"), ("ssl_key", "has a passphrase"))
    assert str(error) == "has expired; has a passphrase"


@pytest.mark.parametrize(
    "error",
    [
        SettingsError((PROBLEM,)),
        MessageError(400, "rule"),
        DialError("reason"),
        HandshakeError("reason"),
        ListenError("reason"),
        CertificateError(),
    ],
)
def test_all_are_one_family(error: Exception) -> None:
    assert isinstance(error, NodeBalancerError)
