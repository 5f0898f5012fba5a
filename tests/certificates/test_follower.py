"""Certificates follow the settings and the files (R10 to R12)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from nodebalancer.certificates.follower import LOOK_SECONDS, Certificates
from nodebalancer.certificates.loading import KEPT
from nodebalancer.certificates.pair import DAY
from nodebalancer.changes import plan
from nodebalancer.errors import Problem
from nodebalancer.model import NOTHING, Protocol, Settings
from nodebalancer.testing.builders import config, nodebalancer, settings

Issue = Callable[..., Any]
Shake = Callable[..., SSL.Connection]
PATH = ("www", "secure")


class World:
    """A follower with a clock, a config ``www/secure`` whose files lie in ``directory``, and what was logged."""

    def __init__(self, directory: Path, issue: Issue, log: list[str]) -> None:
        self.directory, self.issue, self.log = directory, issue, log
        self.clock = Clock()
        self.clock.advance(time.time())
        self.more = directory / "more"
        self.more.mkdir()
        self.issued = issue("www.example.org")
        self.cert, self.key = self.issued.write(directory)
        self.certificates = Certificates(self.clock, at=self.clock.seconds, in_thread=self.in_thread)
        self.held: list[tuple[Deferred[Any], Callable[[], Any]]] | None = None

    def in_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        if self.held is None:
            return maybeDeferred(function)
        waiting: Deferred[Any] = Deferred()
        self.held.append((waiting, function))
        return waiting

    def wanted(self, **fields: Any) -> Settings:
        plain = config("plain", port=8000)
        fields = {"ssl_cert": self.cert, "ssl_key": self.key, **fields}
        return settings(nodebalancer("www", plain, config("secure", protocol=Protocol.HTTPS, **fields)))

    def reload(self, wanted: Settings) -> tuple[Problem, ...]:
        """The road that the control plane takes."""
        problems: list[Problem] = []
        self.certificates.examine(wanted).addCallback(problems.extend)
        if not problems:
            self.certificates.prepare(wanted, plan(NOTHING, wanted)).addCallback(problems.extend)
            assert problems == []
            self.certificates.commit()
        return tuple(problems)

    def context(self) -> SSL.Context:
        return self.certificates.tls_for(PATH).context()

    def where(self, key: str, value: str) -> str:
        return f"[config www/secure] {key} = {value}"


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What the follower logs, as text."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("log_namespace") == "nodebalancer.certificates.follower":
            lines.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def world(tmp_path: Path, issue: Issue, log: list[str]) -> World:
    return World(tmp_path, issue, log)


def test_problems_name_section_key_and_value_and_where_to_find_the_line(world: World) -> None:
    Path(world.key).unlink()
    names = ("a.example", "b.example")
    [problem] = world.reload(world.wanted(ssl_names=names))
    assert problem == Problem(
        world.where("ssl_key", world.key), "there is no such file or directory", ("config www/secure", "ssl_key")
    )
    world.issued.write(world.directory)
    [first, _] = world.reload(world.wanted(ssl_names=names))
    assert str(first) == (
        "[config www/secure] ssl_names = a.example, b.example: "
        "the certificate is not valid for a.example, but for www.example.org"
    )


def test_examining_changes_nothing_and_says_what_there_is(world: World) -> None:
    world.certificates.examine(world.wanted())
    [line] = world.certificates.described(PATH)
    assert line.startswith(f"certificate {world.cert}: valid for www.example.org; expires on 20")
    assert world.certificates.described(("www", "plain")) == ()
    assert list(world.certificates.expiries()) == []
    with pytest.raises(KeyError):
        world.certificates.tls_for(PATH)


@pytest.mark.parametrize("taken", [True, False])
def test_warnings_are_told_by_whoever_takes_them_or_by_the_next_look(world: World, taken: bool) -> None:
    Path(world.key).chmod(0o604)
    for _ in range(2):
        world.reload(world.wanted())
        [warning] = world.certificates.take_warnings() if taken else world.certificates.warnings
        assert warning.spot == ("config www/secure", "ssl_key")
        world.certificates.look()
        assert world.log == ([] if taken else [str(warning)])


def test_what_is_prepared_is_there_for_the_listeners_before_the_commit(world: World) -> None:
    wanted = world.wanted()
    problems: list[Problem] = []
    world.certificates.prepare(wanted, ()).addCallback(problems.extend)
    tls = world.certificates.tls_for(PATH)
    world.certificates.commit()
    assert problems == []
    assert world.certificates.tls_for(PATH) is tls
    assert tls.serving is not None
    assert tls.context() is tls.serving.default.context


def test_an_abandoned_change_leaves_what_serves(world: World, tmp_path: Path) -> None:
    world.reload(world.wanted())
    context = world.context()
    other, key = world.issue("other.example").write(tmp_path, "other")
    world.certificates.prepare(world.wanted(ssl_cert=other, ssl_key=key), ())
    world.certificates.abandon()
    assert world.context() is context


def test_a_reload_keeps_contexts_whose_files_did_not_change(world: World) -> None:
    world.reload(world.wanted())
    tls, context = world.certificates.tls_for(PATH), world.context()
    world.reload(world.wanted(port=8443))
    assert world.certificates.tls_for(PATH) is tls
    assert world.context() is context
    world.issue("www.example.org").write(world.directory)
    world.reload(world.wanted(port=8443))
    assert world.certificates.tls_for(PATH) is tls
    assert world.context() is not context


def test_a_config_that_is_gone_is_forgotten(world: World) -> None:
    world.reload(world.wanted())
    world.reload(settings())
    with pytest.raises(KeyError):
        world.certificates.tls_for(PATH)


def test_renewed_files_are_found_within_a_minute(world: World) -> None:
    world.reload(world.wanted())
    world.certificates.start()
    before = world.context()
    world.clock.advance(LOOK_SECONDS)
    assert world.context() is before
    world.issue("www.example.org", days=100).write(world.directory)
    world.clock.advance(LOOK_SECONDS)
    assert world.context() is not before
    [line] = world.log
    assert line.startswith(f"[config www/secure] new certificate {world.cert}: valid for www.example.org; expires on ")
    world.certificates.stop()
    assert world.clock.getDelayedCalls() == []


def test_nothing_to_look_at_needs_no_thread(world: World) -> None:
    world.held = []
    world.certificates.look()
    assert world.held == []


def test_a_half_renewed_pair_is_told_once_and_served_when_it_is_whole(world: World) -> None:
    world.reload(world.wanted())
    before = world.context()
    renewed = world.issue("www.example.org")
    Path(world.cert).write_bytes(renewed.cert)
    for _ in range(3):
        world.certificates.look()
    assert world.context() is before
    assert world.log == [f"{world.where('ssl_key', world.key)}: does not belong to the certificate; {KEPT}"]
    Path(world.key).write_bytes(renewed.key)
    world.certificates.look()
    assert world.context() is not before
    assert len(world.log) == 2
    Path(world.key).write_bytes(b"")
    world.certificates.look()
    assert len(world.log) == 3


def test_a_renewed_certificate_that_lacks_a_name_is_not_served(world: World) -> None:
    world.reload(world.wanted(ssl_names=("www.example.org",)))
    before = world.context()
    world.issue("other.example").write(world.directory)
    for _ in range(2):
        world.certificates.look()
    assert world.context() is before
    [line] = world.log
    assert line.endswith(f"the certificate is not valid for www.example.org, but for other.example; {KEPT}")


def test_the_coming_end_is_logged_at_30_14_7_and_1_days_and_when_it_has_come(world: World) -> None:
    world.issue("www.example.org", days=40).write(world.directory)
    world.reload(world.wanted())
    end = 40 * DAY + world.clock.seconds()
    for _ in range(42 * 4):
        world.clock.advance(DAY / 4)
        world.certificates.look()
    assert [line.partition("the certificate ")[2].partition(" on ")[0] for line in world.log] == [
        *["expires"] * 4,
        "expired",
    ]
    assert [line.rpartition(", in ")[2] for line in world.log[:4]] == [
        "29 days",
        "13 days",
        "6 days",
        "less than a day",
    ]
    [(path, file, at)] = world.certificates.expiries()
    assert (path, file) == (PATH, world.cert)
    assert at == pytest.approx(end, abs=2)


def test_a_reload_during_a_look_wins(world: World) -> None:
    world.reload(world.wanted())
    world.held = []
    world.certificates.look()
    [(waiting, function)] = world.held
    world.issue("www.example.org").write(world.directory)
    seen = function()
    world.issue("www.example.org").write(world.directory)
    world.reload(world.wanted())
    context = world.context()
    waiting.callback(seen)
    assert world.context() is context


def test_open_connections_keep_their_context(world: World, shake: Shake) -> None:
    world.reload(world.wanted())
    open_one = SSL.Connection(world.context(), None)
    world.issue("www.example.org").write(world.directory)
    world.certificates.look()
    assert open_one.get_context() is not world.context()


def leaf(connection: SSL.Connection) -> Any:
    return connection.get_peer_certificate(as_cryptography=True)


def test_the_certificate_is_chosen_by_name(world: World, shake: Shake) -> None:
    exact, wild = world.issue("exact.example.net"), world.issue("*.example.net", "bücher.example")
    exact.write_one(world.more, "exact.pem")
    wild.write_one(world.more, "wild.pem")
    world.reload(world.wanted(ssl_cert_dir=str(world.more)))
    served = {
        name: leaf(shake(world.context(), name=name))
        for name in (
            "exact.example.net",
            "EXACT.example.NET",
            "x.example.net",
            "xn--bcher-kva.example",
            "unknown.example",
        )
    }
    default = world.issued.pair.leaf
    assert list(served.values()) == [exact.pair.leaf, exact.pair.leaf, wild.pair.leaf, wild.pair.leaf, default]
    assert leaf(shake(world.context())) == default


def test_names_come_and_go_without_a_new_default_context(world: World, shake: Shake) -> None:
    world.reload(world.wanted(ssl_cert_dir=str(world.more)))
    context = world.context()
    assert leaf(shake(context, name="new.example")) == world.issued.pair.leaf
    new = world.issue("new.example")
    path = new.write_one(world.more, "new.pem")
    world.certificates.look()
    assert world.context() is context
    assert leaf(shake(context, name="new.example")) == new.pair.leaf
    Path(path).unlink()
    world.certificates.look()
    assert leaf(shake(context, name="new.example")) == world.issued.pair.leaf


@pytest.mark.parametrize(
    ("version", "options"),
    [(SSL.TLS1_2_VERSION, SSL.OP_NO_TICKET), (SSL.TLS1_2_VERSION, 0), (SSL.TLS1_3_VERSION, 0)],
    ids=["session ids of TLS 1.2", "tickets of TLS 1.2", "tickets of TLS 1.3"],
)
def test_sessions_are_resumed_for_every_name_and_over_reloads(
    world: World, shake: Shake, reused: Callable[[SSL.Connection], bool], version: int, options: int
) -> None:
    world.issue("new.example").write_one(world.more, "new.pem")
    world.reload(world.wanted(ssl_cert_dir=str(world.more)))
    for name in ("new.example", "www.example.org"):
        first = shake(world.context(), name=name, version=version, options=options)
        assert not reused(first)
        world.reload(world.wanted(ssl_cert_dir=str(world.more), timeout_client=61))
        assert reused(shake(world.context(), name=name, resume=first))


async def test_a_look_reads_in_a_thread(reactor: Any, tmp_path: Path, issue: Issue, log: list[str]) -> None:
    world = World(tmp_path, issue, log)
    world.certificates = Certificates(reactor)
    world.reload(world.wanted())
    before = world.context()
    world.issue("www.example.org").write(world.directory)
    await world.certificates.look()
    assert world.context() is not before
