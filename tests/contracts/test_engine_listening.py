"""Accepting clients, over every engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.logger import LogEvent

from nodebalancer.errors import ListenError
from nodebalancer.fields import Address
from nodebalancer.testing.recorder import Recorder, Recorders
from nodebalancer.testing.secure_peers import Authority
from nodebalancer.testing.worlds import MemoryWorld, RealWorld, World

LoggedErrors = Callable[[], list[LogEvent]]


def fault(*_: object) -> Any:
    raise ValueError("a fault of ours")


async def test_port_0_becomes_the_port_that_was_given(world: World) -> None:
    served = world.serve()
    assert served.address.port > 0
    client = world.client(served.address)
    await world.until(lambda: served.built)
    assert served.clients == [client.address]
    assert served.built[0].transport.getHost() == served.address


async def test_many_clients_are_all_served(world: World) -> None:
    served = world.serve()
    clients = [world.client(served.address) for _ in range(100)]
    for client in clients:
        client.send(b"hello")
    await world.until(lambda: sum(recorder.received == b"hello" for recorder in served.built) == 100)


async def test_a_client_that_speaks_first_is_served(world: World) -> None:
    served = world.serve(client_first=True)
    client = world.client(served.address)
    client.send(b"hello")
    await world.until(lambda: served.built and served.built[0].received == b"hello")
    served.built[0].transport.write(b"answer")
    await world.until(lambda: client.received == b"answer")


async def test_a_client_that_should_speak_first_and_does_not_is_served_all_the_same(world: World) -> None:
    """Late, perhaps; who is to wait for how long is decided above."""
    served = world.serve(client_first=True)
    silent = world.client(served.address)
    await world.until(lambda: served.built)
    assert served.clients == [silent.address]


async def test_who_is_not_admitted_is_reset_before_a_protocol_is_built(world: World) -> None:
    asked: list[Address] = []

    def admit(peer: Address) -> bool:
        asked.append(peer)
        return len(asked) > 1

    served = world.serve(admit=admit)
    refused = world.client(served.address)
    await world.until(lambda: refused.was_reset)
    assert served.clients == []
    welcome = world.client(served.address)
    await world.until(lambda: served.built)
    assert asked == [refused.address, welcome.address]


async def test_a_client_without_a_protocol_is_reset(world: World) -> None:
    served = world.serve(lambda: None)
    client = world.client(served.address)
    await world.until(lambda: client.was_reset)
    assert served.clients == [client.address]


async def test_a_fault_in_admitting_costs_that_client_only(world: World, logged_errors: LoggedErrors) -> None:
    admits: Iterator[Callable[[Address], bool]] = iter([fault, lambda _: True])
    served = world.serve(admit=lambda peer: next(admits)(peer))
    unlucky, lucky = world.client(served.address), world.client(served.address)
    await world.until(lambda: unlucky.was_reset and served.built)
    assert served.clients == [lucky.address]
    assert len(logged_errors()) == 1


async def test_a_fault_in_building_costs_that_client_only(world: World, logged_errors: LoggedErrors) -> None:
    builds: Iterator[Callable[[], Recorder]] = iter([fault, Recorder])
    served = world.serve(lambda: next(builds)())
    unlucky, lucky = world.client(served.address), world.client(served.address)
    await world.until(lambda: unlucky.was_reset and served.built)
    lucky.send(b"hello")
    await world.until(lambda: served.built[0].received == b"hello")
    assert len(logged_errors()) == 1


async def test_clients_of_a_paused_listener_wait(world: World) -> None:
    served = world.serve()
    served.listener.pause()
    client = world.client(served.address)
    client.send(b"hello")
    await world.settle()
    assert served.clients == []
    served.listener.resume()
    assert served.clients == []
    await world.until(lambda: served.built and served.built[0].received == b"hello")


async def test_a_listener_may_be_paused_by_whom_it_serves(world: World) -> None:
    """At the connection cap no further client is accepted, not even one that waits already."""
    served = world.serve(lambda: Recorder(made=lambda _: served.listener.pause()))
    clients = [world.client(served.address) for _ in range(3)]
    await world.until(lambda: served.built)
    await world.settle()
    assert served.clients == [clients[0].address]
    served.listener.resume()
    await world.until(lambda: len(served.built) == 2)


async def test_pausing_and_resuming_twice_is_harmless(world: World) -> None:
    served = world.serve()
    served.listener.pause()
    served.listener.pause()
    served.listener.resume()
    served.listener.resume()
    world.client(served.address)
    await world.until(lambda: served.built)


async def test_closing_serves_whom_the_kernel_had_accepted(world: World) -> None:
    """A reload loses nobody."""
    served = world.serve()
    client = world.client(served.address)
    client.send(b"hello")
    served.listener.close()
    served.listener.close()
    assert served.clients == []
    await world.until(lambda: served.built and served.built[0].received == b"hello")
    served.built[0].transport.write(b"answer")
    await world.until(lambda: client.received == b"answer")


async def test_closing_a_paused_listener_serves_whom_the_kernel_had_accepted(world: World) -> None:
    served = world.serve()
    served.listener.pause()
    world.client(served.address)
    await world.settle()
    served.listener.close()
    await world.until(lambda: served.built)


async def test_a_closed_listener_is_gone_and_its_connections_stay(world: World) -> None:
    served = world.serve()
    client = world.client(served.address)
    await world.until(lambda: served.built)
    served.listener.close()
    await world.settle()
    with pytest.raises(ConnectionRefusedError):
        world.client(served.address)
    client.send(b"hello")
    await world.until(lambda: served.built[0].received == b"hello")


async def test_a_closed_listener_stays_closed(world: World) -> None:
    served = world.serve()
    served.listener.close()
    served.listener.pause()
    served.listener.resume()
    await world.settle()
    with pytest.raises(ConnectionRefusedError):
        world.client(served.address)


async def test_an_address_is_free_as_soon_as_its_listener_is_closed(world: World) -> None:
    """A wildcard and a specific address change places within one turn."""
    served = world.serve()
    world.client(served.address)
    await world.until(lambda: served.built)
    served.listener.close()
    again = world.engine.listen(served.address, Recorders())
    again.close()


async def test_a_taken_address_is_an_error(world: World) -> None:
    served = world.serve()
    with pytest.raises(ListenError) as caught:
        world.engine.listen(served.address, Recorders())
    assert caught.value.reason.startswith("already in use by ")
    assert not caught.value.unsupported


async def test_a_wildcard_and_a_specific_address_listen_side_by_side_when_they_are_told_to(world: World) -> None:
    """So that a reload that exchanges them closes nothing before it is certain."""
    everywhere, here = Recorders(), Recorders()
    wild = world.engine.listen(world.free_address()._replace(host="0.0.0.0"), everywhere)
    address = Address("127.0.0.1", wild.address.port)
    with pytest.raises(ListenError):
        world.engine.listen(address, here)
    specific = world.engine.listen(address, here, beside=[wild])
    for second in (address, Address("127.0.0.2", address.port), wild.address):
        with pytest.raises(ListenError):
            world.engine.listen(second, here)
    world.client(address)
    await world.until(lambda: here.built)
    specific.close()
    world.client(address)
    await world.until(lambda: everywhere.built)
    wild.close()
    for recorder in (*here.built, *everywhere.built):
        recorder.transport.abortConnection()


async def test_other_clients_may_be_expected_from_now_on(world: World, authority: Authority) -> None:
    """https becomes tcp, with the socket that is open."""
    served = world.serve(tls=authority.server())
    before = world.client(served.address)
    await world.until(lambda: served.built or isinstance(world, RealWorld))
    served.listener.expect(tls=None, client_first=False)
    await world.settle()
    after = world.client(served.address)
    after.send(b"hello")
    await world.until(lambda: served.built and served.built[-1].received == b"hello")
    assert served.clients[-1] == after.address
    before.reset()


async def test_retiring_a_listener_serves_clients_that_have_connected_and_not_spoken(world: World) -> None:
    """Where it defers, the kernel would reset them when the socket is closed."""
    served = world.serve(client_first=True)
    clients = [world.client(served.address) for _ in range(40)]
    await world.settle()
    world.engine.retire([served.listener])
    await world.settle()
    for client in clients[1:]:
        client.send(b"hello")
    await world.until(lambda: sum(recorder.received == b"hello" for recorder in served.built) == 39)
    await world.until(lambda: len(served.built) == 40)
    await world.until(lambda: not served.listener.unserved)
    with pytest.raises(ConnectionRefusedError):
        world.client(served.address)


async def test_retiring_a_listener_takes_no_time_when_nobody_is_on_the_way(world: World) -> None:
    one, other = world.serve(client_first=True), world.serve()
    world.engine.retire([one.listener, other.listener])
    for served in (one, other):
        with pytest.raises(ConnectionRefusedError):
            world.client(served.address)
    world.engine.retire([one.listener])


async def test_an_address_that_is_not_ours_is_an_error(world: World) -> None:
    with pytest.raises(ListenError) as caught:
        world.engine.listen(Address(world.foreign(), 0), Recorders())
    assert caught.value.reason == "this machine has no such address"
    assert caught.value.absent


@pytest.mark.parametrize("host", ["192.0.2.99", "2001:db8::99"])
async def test_a_standby_listens_on_an_address_that_it_does_not_have_yet(world: World, host: str) -> None:
    """R33; others still get the error, so the socket's own option it is and no setting of this machine."""
    if isinstance(world, MemoryWorld):
        world.network.foreign.add(host)
    listener = world.engine.listen(Address(host, 0), Recorders(), freebind=True)
    assert listener.address == Address(host, listener.address.port)
    assert listener.address.port > 0
    with pytest.raises(ListenError) as caught:
        world.engine.listen(Address(host, 0), Recorders())
    assert caught.value.absent
    listener.close()


async def test_ipv6_clients_are_served_by_ipv6_listeners_only(world: World) -> None:
    """``listen = 0.0.0.0, ::`` works on one port."""
    factory = Recorders()
    ipv4 = world.engine.listen(Address("0.0.0.0", 0), Recorders(fault))
    ipv6 = world.engine.listen(Address("::", ipv4.address.port), factory)
    world.client(Address("::1", ipv6.address.port))
    await world.until(lambda: factory.built)
    assert factory.clients[0].host == "::1"
    factory.built[0].transport.abortConnection()
    ipv6.close()
    with pytest.raises(ConnectionRefusedError):
        world.client(Address("::1", ipv6.address.port))
    ipv4.close()


async def test_an_inherited_socket_is_adopted(world: World) -> None:
    fd, address = world.inherited()
    factory = Recorders()
    listener = world.engine.adopt(fd, factory)
    assert listener.address == address
    world.client(address)
    await world.until(lambda: factory.built)
    factory.built[0].transport.abortConnection()
    listener.close()


async def test_the_owner_of_an_adopted_socket_keeps_its_own(world: World) -> None:
    fd, _ = world.inherited()
    world.engine.adopt(fd, Recorders()).close()
    world.engine.adopt(fd, Recorders()).close()


async def test_what_does_not_listen_is_not_adopted(world: World) -> None:
    ours, theirs = os.pipe()
    for fd in (ours, 1_000_000):
        with pytest.raises(ListenError):
            world.engine.adopt(fd, Recorders())
    os.close(ours)
    os.close(theirs)


async def test_who_waits_at_an_adopted_socket_is_left_to_its_owner(world: World) -> None:
    """A restart: the next process serves them."""
    if not isinstance(world, RealWorld):
        pytest.skip("in memory nobody shares a socket")
    fd, address = world.inherited()
    factory = Recorders()
    first = world.engine.adopt(fd, factory)
    first.pause()
    client = world.client(address)
    first.close()
    assert (first.unserved, factory.built) == (0, [])
    second = world.engine.adopt(fd, factory)
    client.send(b"a")
    await world.until(lambda: factory.built and factory.built[0].received == b"a")
    factory.built[0].transport.abortConnection()
    second.close()
