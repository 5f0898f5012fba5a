"""The memory network's own knobs; that its engine is one is held by the contract tests."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from nodebalancer.errors import ListenError
from nodebalancer.fields import Address
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork
from nodebalancer.testing.recorder import Recorder, Recorders

WWW, NODE = Address("203.0.113.1", 80), Address("10.0.0.1", 80)


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


def dial(network: MemoryNetwork, timeout: float = 5) -> Recorder:
    recorder = Recorder()
    MemoryEngine(network).connect(NODE, recorder, timeout=timeout)
    return recorder


@settings(max_examples=30, deadline=None)
@given(
    st.binary(max_size=50), st.none() | st.integers(1, 9) | st.lists(st.integers(1, 9), min_size=1), st.integers(1, 9)
)
def test_data_comes_whole_however_it_is_cut(data: bytes, pieces: int | Sequence[int] | None, room: int) -> None:
    network = MemoryNetwork(pieces=pieces, pipe_bytes=room)
    factory = Recorders()
    MemoryEngine(network).listen(WWW, factory)
    client = network.client(WWW)
    client.send(data)
    client.half_close()
    network.pump()
    (recorder,) = factory.built
    assert recorder.received == data
    assert recorder.events[-1] == "eof"


def test_data_is_cut_where_a_test_wants_it() -> None:
    network = MemoryNetwork(pieces=(1, 3))
    pieces: list[bytes] = []
    MemoryEngine(network).listen(WWW, Recorders(lambda: Recorder(data=lambda _, data: pieces.append(data))))
    network.client(WWW).send(b"12345678")
    network.pump()
    assert pieces == [b"1", b"234", b"5", b"678"]


def test_several_engines_share_a_network(network: MemoryNetwork) -> None:
    factory = Recorders()
    MemoryEngine(network).listen(NODE, factory)
    recorder = Recorder()
    MemoryEngine(network, host="10.0.0.254").connect(NODE, recorder, timeout=1)
    network.pump()
    recorder.transport.write(b"hello")
    network.pump()
    assert factory.built[0].received == b"hello"
    assert factory.clients[0].host == "10.0.0.254"


def test_clients_come_from_where_a_test_wants_them(network: MemoryNetwork) -> None:
    factory = Recorders()
    MemoryEngine(network).listen(Address("0.0.0.0", 80), factory)
    network.client(WWW, "198.51.100.7")
    network.pump()
    assert factory.clients[0].host == "198.51.100.7"
    with pytest.raises(ConnectionRefusedError):
        network.client(Address("2001:db8::1", 80))


def test_a_node_has_its_connections_in_a_list(network: MemoryNetwork) -> None:
    peers = network.node(NODE)
    first, second = dial(network), dial(network)
    network.pump()
    peers[1].send(b"hello")
    network.pump()
    assert (bytes(first.received), bytes(second.received)) == (b"", b"hello")


def test_a_killed_node_resets_and_refuses_and_can_come_back(network: MemoryNetwork) -> None:
    network.node(NODE)
    before = dial(network)
    network.pump()
    network.kill(NODE)
    refused = dial(network)
    network.pump()
    network.node(NODE)
    after = dial(network)
    network.pump()
    assert before.events == ["made", "lost"]
    assert refused.events == ["failed"]
    assert after.events == ["made"]


def test_a_slow_node_connects_later(network: MemoryNetwork) -> None:
    network.node(NODE)
    network.slow(NODE, 2)
    recorder = dial(network)
    network.advance(1.9)
    assert recorder.events == []
    network.advance(0.1)
    assert recorder.events == ["made"]


@pytest.mark.parametrize("seconds", [5, None])
def test_too_slow_is_silent(network: MemoryNetwork, seconds: float | None) -> None:
    network.node(NODE)
    if seconds is None:
        network.blackhole(NODE)
    else:
        network.slow(NODE, seconds)
    recorder = dial(network, timeout=5)
    network.advance(4.9)
    assert recorder.events == []
    network.advance(0.1)
    assert recorder.error is not None
    assert recorder.error.timed_out


@pytest.mark.parametrize(("number", "ours"), [(errno.ECONNREFUSED, False), (errno.EMFILE, True)])
def test_dials_fail_as_a_test_wants_until_they_are_healed(network: MemoryNetwork, number: int, ours: bool) -> None:
    network.node(NODE)
    network.fail(NODE, number)
    recorder = dial(network)
    network.pump()
    assert recorder.error is not None
    assert recorder.error.ours == ours
    network.heal(NODE)
    healed = dial(network)
    network.pump()
    assert healed.events == ["made"]


def test_a_wildcard_and_a_specific_address_are_two(network: MemoryNetwork) -> None:
    engine, wildcard, specific = MemoryEngine(network), Recorders(), Recorders()
    everywhere = engine.listen(Address("0.0.0.0", 80), wildcard)
    engine.listen(WWW, specific, beside=[everywhere])
    network.client(WWW)
    network.client(Address("203.0.113.2", 80))
    network.pump()
    assert (len(wildcard.built), len(specific.built)) == (1, 1)


def test_a_free_port_is_given(network: MemoryNetwork) -> None:
    engine = MemoryEngine(network)
    addresses = {engine.listen(Address("127.0.0.1", 0), Recorders()).address for _ in range(3)}
    assert len(addresses) == 3


def test_an_inherited_socket_may_have_any_free_port(network: MemoryNetwork) -> None:
    listener = MemoryEngine(network).adopt(network.inherit(Address("127.0.0.1", 0)), Recorders())
    assert listener.address.port
    with pytest.raises(ListenError):
        MemoryEngine(network).adopt(7, Recorders())


def test_names_are_what_a_test_says(network: MemoryNetwork) -> None:
    network.names["origin.internal"] = ["10.0.0.1"]
    engine = MemoryEngine(network)
    assert engine.resolve("origin.internal").result == ["10.0.0.1"]
    assert engine.resolve("2001:db8::1").result == ["2001:db8::1"]
    assert engine.resolve("elsewhere").result == []


def test_everything_happens_at_its_own_time(network: MemoryNetwork) -> None:
    times: list[float] = []
    for seconds in (0.1, 0.7, 2.5):
        network.clock.callLater(seconds, lambda: times.append(network.now))
    network.advance(2)
    assert times == pytest.approx([0.1, 0.7])
    assert network.now == pytest.approx(2)


class AnyTLS:
    """The memory engine asks it nothing."""

    def context(self) -> SSL.Context:
        raise AssertionError


def test_a_handshake_is_heard_before_data(network: MemoryNetwork) -> None:
    recorder = Recorder()
    MemoryEngine(network).listen(WWW, Recorders(lambda: recorder), tls=AnyTLS())
    network.client(WWW).send(b"hello")
    network.pump()
    assert recorder.events == ["made", "shaken", "data"]


def test_who_closes_at_once_hears_of_no_handshake(network: MemoryNetwork) -> None:
    recorder = Recorder(made=lambda r: r.transport.loseConnection())
    MemoryEngine(network).listen(WWW, Recorders(lambda: recorder), tls=AnyTLS())
    network.client(WWW)
    network.pump()
    assert recorder.events == ["made", "lost"]
