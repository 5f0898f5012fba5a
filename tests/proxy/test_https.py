"""An HTTPS exchange in the memory network, where handshakes take as long and end as a test says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.certificates.follower import Certificates
from nodebalancer.certificates.selfsigned import self_signed
from nodebalancer.changes import plan
from nodebalancer.model import NOTHING, Node, PortConfig, Protocol, Settings, Stickiness
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.testing.balancers import NODES, WWW, MemoryBalancer
from nodebalancer.testing.builders import nodebalancer, settings
from nodebalancer.testing.exchanges import GET, OK, status_of
from nodebalancer.testing.logs import logged
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork


def https(nodes: int = 1, **fields: Any) -> MemoryBalancer:
    return MemoryBalancer(Protocol.HTTPS, nodes, **fields)


def outcomes(lb: MemoryBalancer) -> dict[Outcome, int]:
    """Those that there were, and how often."""
    return {outcome: count for outcome in Outcome if (count := lb.live.counters.outcomes[outcome])}


def test_nodes_are_told_that_it_was_https() -> None:
    lb = https()
    client = lb.client(GET)
    assert b"\r\nX-Forwarded-Proto: https\r\n" in lb.node().received
    lb.node().send(OK)
    lb.pump()
    assert status_of(client.received) == 200
    assert outcomes(lb) == {Outcome.SERVED: 1}


def test_the_cookie_is_for_https_only() -> None:
    lb = https(stickiness=Stickiness.HTTP_COOKIE)
    client = lb.client(GET)
    lb.node().send(OK)
    lb.pump()
    assert b"; HttpOnly; Secure; SameSite=Lax\r\n" in client.received


def test_a_failed_handshake_is_one_outcome_and_no_verdict_on_a_node() -> None:
    lb = https()
    lb.network.handshake_error = "no shared cipher"
    with logged("[config www/main]") as lines:
        client = lb.client()
    assert client.was_reset
    assert outcomes(lb) == {Outcome.HANDSHAKE_FAILED: 1}
    assert (lb.live.counters.open, lb.live.counters.total, lb.listeners.open_connections) == (0, 1, 0)
    assert lb.accepted == [[]]
    assert lb.told == []
    assert [member.reason for member in lb.live.pool.members.values()] == [""]
    [line] = lines
    assert line.startswith("[config www/main] a TLS handshake with 198.51.100.1 failed: no shared cipher; ")


def test_handshakes_that_fail_are_told_once_in_ten_seconds() -> None:
    lb = https()
    lb.network.handshake_error = "not TLS"
    with logged("[config www/main]") as lines:
        for _ in range(5):
            lb.client()
        assert len(lines) == 1
        lb.network.advance(11)
        lb.client()
        assert len(lines) == 2
    assert outcomes(lb) == {Outcome.HANDSHAKE_FAILED: 6}


def test_the_time_for_the_head_begins_after_the_handshake() -> None:
    """The handshake has a deadline of its own, which the engine keeps."""
    lb = https(timeout_request=10)
    lb.network.handshake_seconds = 9
    client = lb.client()
    lb.network.advance(9)
    client.send(GET[:10])
    lb.network.advance(9)
    assert client.received == b""
    lb.network.advance(3)
    assert status_of(client.received) == 408
    assert outcomes(lb) == {Outcome.CLIENT_TIMED_OUT: 1}


def test_a_slow_handshake_does_not_run_into_a_short_time_for_the_head() -> None:
    lb = https(timeout_request=1)
    lb.network.handshake_seconds = 9
    client = lb.client()
    lb.network.advance(9)
    client.send(GET)
    lb.pump()
    lb.node().send(OK)
    lb.pump()
    assert status_of(client.received) == 200


def test_a_client_in_its_handshake_makes_way_for_another() -> None:
    lb = https(nodebalancer={"max_connections": 1})
    lb.network.handshake_seconds = 9
    first = lb.client()
    lb.network.handshake_seconds = 0
    second = lb.client(GET)
    assert first.was_reset
    lb.node().send(OK)
    lb.pump()
    assert status_of(second.received) == 200
    assert outcomes(lb) == {Outcome.REFUSED: 1, Outcome.SERVED: 1}


@pytest.mark.parametrize(
    ("before", "after", "proto"), [(Protocol.HTTP, Protocol.HTTPS, b"https"), (Protocol.HTTPS, Protocol.HTTP, b"http")]
)
def test_a_reload_goes_over_between_http_and_https(before: Protocol, after: Protocol, proto: bytes) -> None:
    lb = MemoryBalancer(before)
    open_before = lb.client(GET)
    lb.change(protocol=after)
    client = lb.client(GET)
    assert b"\r\nX-Forwarded-Proto: %b\r\n" % proto in lb.node().received
    for node in lb.accepted[0]:
        node.send(OK)
    lb.pump()
    assert [status_of(one.received) for one in (open_before, client)] == [200, 200]
    # Only a listener of https shakes hands.
    lb.network.handshake_error = "no shared cipher"
    assert lb.client().was_reset == (after is Protocol.HTTPS)


class Secured:
    """Certificates and listeners as the process has them: a reload passes through both."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "www.pem"
        self.file.touch(0o600)
        self.file.write_bytes(self_signed())
        network = MemoryNetwork()
        self.certificates = Certificates(network.clock)
        self.listeners = Listeners(MemoryEngine(network), tls_for=self.certificates.tls_for)
        self.current = NOTHING

    def wanted(self, **fields: Any) -> Settings:
        file = str(self.file)
        fields = {"protocol": Protocol.HTTPS, "ssl_cert": file, "ssl_key": file, **fields}
        fields = {"nodes": {"n": Node("n", NODES[0])}, **fields}
        config = PortConfig("main", port=WWW.port, **fields)
        return settings(nodebalancer("www", config, listen=(WWW.host,)))

    def reload(self, wanted: Settings) -> None:
        for follower in (self.certificates, self.listeners):
            assert follower.prepare(wanted, plan(self.current, wanted)).result == ()
        for follower in (self.certificates, self.listeners):
            follower.commit()
        self.current = wanted

    def context(self) -> Any:
        """What the next client's handshake is done with."""
        [door] = self.listeners._doors.values()
        return door.factory.context()


def test_contexts_survive_a_reload_that_leaves_their_files_alone(tmp_path: Path) -> None:
    """In them are the sessions and ticket keys of all clients."""
    www = Secured(tmp_path)
    www.reload(www.wanted())
    before = www.context()
    www.reload(www.wanted(timeout_request=3, nodes={}))
    assert www.context() is before
    www.file.write_bytes(self_signed())
    www.reload(www.wanted())
    assert www.context() is not before


def test_a_config_that_was_renamed_serves_with_what_it_has_now(tmp_path: Path) -> None:
    """The door stays; what it asks for a context is another one's."""
    www = Secured(tmp_path)
    www.reload(www.wanted())
    [door] = www.listeners._doors.values()
    main = www.current.nodebalancers["www"].configs["main"]
    www.reload(settings(nodebalancer("www", attrs.evolve(main, name="other"), listen=(WWW.host,))))
    assert list(www.listeners._doors.values()) == [door]
    assert www.context() is www.certificates.tls_for(("www", "other")).context()
