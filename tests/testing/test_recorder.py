from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from nodebalancer.errors import DialError
from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorder, Recorders

LOST = Failure(ConnectionDone())


def test_it_writes_down_what_it_hears() -> None:
    recorder = Recorder()
    recorder.makeConnection("a transport")
    recorder.connectionMade()
    recorder.dataReceived(b"one")
    recorder.dataReceived(b"two")
    recorder.readConnectionLost()
    recorder.writeConnectionLost()
    assert not recorder.ended
    recorder.connectionLost(LOST)
    assert recorder.ended
    assert recorder.events == ["made", "data", "eof", "lost"]
    assert (recorder.transport, bytes(recorder.received), recorder.reason) == ("a transport", b"onetwo", LOST)


def test_a_failed_dial_is_an_end_too() -> None:
    recorder, error = Recorder(), DialError("connection refused")
    recorder.connection_failed(error)
    assert recorder.ended
    assert recorder.error is error


def test_it_can_do_something_about_it() -> None:
    heard: list[bytes] = []
    Recorder(data=lambda _, data: heard.append(data)).dataReceived(b"one")
    assert heard == [b"one"]


def test_it_notices_an_event_inside_of_another() -> None:
    recorder = Recorder(data=lambda r, _: r.readConnectionLost())
    recorder.dataReceived(b"one")
    assert recorder.nested


def test_it_can_insist_on_silence() -> None:
    recorder = Recorder()
    with recorder.hears_nothing():
        pass
    with pytest.raises(AssertionError), recorder.hears_nothing():
        recorder.dataReceived(b"one")


def test_a_factory_keeps_what_it_built() -> None:
    client = Address("198.51.100.1", 40000)
    factory, refusing = Recorders(), Recorders(lambda: None)
    assert factory.buildProtocol(client) is factory.built[0]
    assert refusing.buildProtocol(client) is None
    assert refusing.built == []
    assert refusing.clients == [client]
