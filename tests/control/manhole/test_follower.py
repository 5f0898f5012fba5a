"""The manhole follows the settings."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.control.manhole.follower import Manhole
from nodebalancer.control.manhole.keys import HOST_KEY
from nodebalancer.errors import Problem
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Service, Settings
from nodebalancer.model import Manhole as Wanted
from nodebalancer.testing.nodes import LOOPBACK, free_port

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN8z6YCPp6Rr0P5bUnTzTN4yTb7KQJ2k0wIhbcTBTBLk anna\n"


def now(deferred: Any) -> Any:
    results: list[Any] = []
    deferred.addBoth(results.append)
    [result] = results
    return result


class Followed:
    """A manhole, and settings for it."""

    def __init__(self, directory: Path, lb: Any, reactor: Any) -> None:
        self.keys = directory / "keys"
        self.keys.write_text(KEY)
        self.state = directory / "state"
        self.manhole = Manhole(reactor, lb.subject)

    def wanted(self, port: int) -> Settings:
        wanted = Wanted(Address(LOOPBACK, port), str(self.keys))
        return Settings(manhole=wanted, service=Service(state_dir=str(self.state)))

    def follow(self, wanted: Settings) -> tuple[Problem, ...]:
        problems: tuple[Problem, ...] = now(self.manhole.prepare(wanted, ()))
        if problems:
            now(self.manhole.abandon())
        else:
            now(self.manhole.commit())
        return problems


@pytest.fixture
def followed(tmp_path: Path, lb_for: Any, reactor: Any) -> Any:
    followed = Followed(tmp_path, lb_for(reactor), reactor)
    yield followed
    followed.manhole.close()


def greeting(port: int, seconds: float = 0.2) -> socket.socket:
    connection = socket.create_connection((LOOPBACK, port), 5)
    connection.settimeout(seconds)
    return connection


def test_without_the_section_nothing_is_made(followed: Any) -> None:
    assert now(followed.manhole.examine(NOTHING)) == ()
    assert followed.follow(NOTHING) == ()
    assert followed.manhole.address is None
    assert not followed.state.exists()


async def test_it_listens_from_prepare_on_and_lets_in_after_commit(followed: Any, reactor: Any) -> None:
    port = free_port()
    wanted = followed.wanted(port)
    assert now(followed.manhole.examine(wanted)) == ()
    assert not followed.state.exists()
    assert now(followed.manhole.prepare(wanted, ())) == ()
    with greeting(port) as early:
        await turns(reactor, 0.1)
        with pytest.raises(TimeoutError):
            early.recv(10)
        now(followed.manhole.commit())
        await turns(reactor, 0.1)
        early.settimeout(5)
        assert early.recv(8) == b"SSH-2.0-"
    assert followed.manhole.address == Address(LOOPBACK, port)
    assert (followed.state / HOST_KEY).exists()
    await turns(reactor, 0.1)


async def turns(reactor: Any, seconds: float) -> None:
    from twisted.internet.task import deferLater

    await deferLater(reactor, seconds)


async def test_a_change_that_is_abandoned_leaves_what_was(followed: Any, reactor: Any) -> None:
    one, other = free_port(), free_port()
    assert followed.follow(followed.wanted(one)) == ()
    now(followed.manhole.prepare(followed.wanted(other), ()))
    now(followed.manhole.abandon())
    await turns(reactor, 0)
    assert followed.manhole.address == Address(LOOPBACK, one)
    with pytest.raises(ConnectionRefusedError):
        greeting(other)
    greeting(one).close()
    await turns(reactor, 0.1)


async def test_it_moves_and_goes(followed: Any, reactor: Any) -> None:
    one, other = free_port(), free_port()
    followed.follow(followed.wanted(one))
    followed.follow(followed.wanted(one))
    followed.follow(followed.wanted(other))
    await turns(reactor, 0)
    with pytest.raises(ConnectionRefusedError):
        greeting(one)
    greeting(other).close()
    followed.follow(NOTHING)
    await turns(reactor, 0.1)
    with pytest.raises(ConnectionRefusedError):
        greeting(other)
    followed.follow(followed.wanted(one))
    greeting(one).close()
    await turns(reactor, 0.1)


def test_keys_that_let_nobody_in_are_a_problem_before_anything_is_bound(followed: Any) -> None:
    followed.keys.write_text("no key\n")
    wanted = followed.wanted(free_port())
    [problem] = now(followed.manhole.examine(wanted))
    assert problem.spot == ("manhole", "authorized_keys")
    assert str(problem).startswith(
        f"[manhole] authorized_keys = {followed.keys}: {followed.keys}:1: expected a public key"
    )
    assert followed.follow(wanted) == (problem,)
    assert followed.manhole.address is None


def test_an_address_that_cannot_be_had_is_a_problem(followed: Any) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        [problem] = followed.follow(followed.wanted(port))
    assert str(problem) == (
        f"[manhole] listen = {LOOPBACK}:{port}: cannot listen on {LOOPBACK}:{port}: already in use by this process "
        f"itself, which listens on {LOOPBACK}:{port}"
    )


def test_a_host_key_that_cannot_be_had_is_a_problem(followed: Any) -> None:
    followed.state.write_text("a file")
    [problem] = followed.follow(followed.wanted(free_port()))
    assert str(problem).startswith("[service] state_dir: ")
    assert str(problem).endswith("; the manhole keeps its host key there")
    followed.state.unlink()
    followed.state.mkdir()
    (followed.state / HOST_KEY).write_text("junk")
    [problem] = followed.follow(followed.wanted(free_port()))
    assert "is no private key" in str(problem)


async def test_the_host_key_is_read_once(followed: Any, reactor: Any) -> None:
    """After root's rights are given up it could not be read again."""
    port = free_port()
    followed.follow(followed.wanted(port))
    (followed.state / HOST_KEY).unlink()
    assert followed.follow(followed.wanted(port)) == ()
    assert not (followed.state / HOST_KEY).exists()
    followed.manhole.stop()
    followed.manhole.stop()
    await turns(reactor, 0)
    with pytest.raises(ConnectionRefusedError):
        greeting(port)
