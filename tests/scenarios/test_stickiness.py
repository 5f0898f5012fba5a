"""Clients come back to their nodes: by cookie over http and https (R16), and by address (R15)."""

from __future__ import annotations

import errno
import re
from typing import Any

import attrs
import pytest

from nodebalancer.fields import Address
from nodebalancer.model import Mode, Protocol, Settings, Stickiness
from nodebalancer.testing.balancers import NODES, MemoryBalancer
from nodebalancer.testing.builders import config, node, nodebalancer, settings
from nodebalancer.testing.exchanges import GET, OK, SWITCHING, UPGRADE, http
from nodebalancer.testing.houses import House
from nodebalancer.testing.memory import MemoryNetwork

PLAIN, SECURE = Address("127.0.0.1", 80), Address("127.0.0.1", 443)
SET = re.compile(rb"\r\nSet-Cookie: NB_SRVID=([0-9a-f]{16}); Path=/; HttpOnly(; Secure; SameSite=Lax)?\r\n")
COOKIE = Stickiness.HTTP_COOKIE


def shop(**fields: Any) -> Settings:
    """One NodeBalancer with four nodes, over http and https."""
    nodes = [node(f"n{number}", address) for number, address in enumerate(NODES, 1)]
    configs = [
        config("plain", *nodes, port=80, stickiness=COOKIE, **fields),
        config("secure", *nodes, port=443, protocol=Protocol.HTTPS, stickiness=COOKIE, **fields),
    ]
    return settings(nodebalancer("www", *configs, listen=("127.0.0.1",)))


class Browser:
    """A client with one cookie jar, and a balancer whose nodes answer everything."""

    def __init__(self, house: House, answer: bytes = OK) -> None:
        self.house = house
        self.accepted = {f"n{number}": house.network.node(address) for number, address in enumerate(NODES, 1)}
        self.answer = answer
        self.cookie = b""
        self.is_secure = False
        self.response = b""
        self.request = b""

    def get(self, address: Address = PLAIN, others: bytes = b"") -> str:
        """Ask; the name of the node that has answered."""
        before = {name: len(accepted) for name, accepted in self.accepted.items()}
        sends = self.cookie and not (self.is_secure and address is PLAIN)
        pairs = [b"NB_SRVID=" + self.cookie] if sends else []
        field = b"; ".join([*pairs, *([others] if others else [])])
        sent = GET.replace(b"\r\n\r\n", b"\r\nCookie: " + field + b"\r\n\r\n") if field else GET
        client = self.house.client(address, sent)
        [name] = [name for name, accepted in self.accepted.items() if len(accepted) > before[name]]
        peer = self.accepted[name][-1]
        self.request = bytes(peer.received)
        peer.send(self.answer)
        self.house.network.pump()
        self.response = bytes(client.received)
        found = SET.search(self.response)
        if found:
            self.cookie = found[1]
            self.is_secure = found[2] is not None
        return name

    @property
    def was_set(self) -> bool:
        return SET.search(self.response) is not None


def test_one_jar_over_http_and_https_keeps_one_node() -> None:
    browser = Browser(House(shop()))
    first = browser.get()
    assert browser.was_set
    assert [browser.get(address) for address in (SECURE, PLAIN, SECURE, SECURE, PLAIN)] == [first] * 5
    assert not browser.was_set
    assert b"Cache-Control" not in browser.response


def test_after_a_restart_with_the_same_key_too_and_with_another_one_not() -> None:
    network = MemoryNetwork()
    house = House(shop(), network)
    browser = Browser(house)
    browser.get()
    first = browser.get()
    house.stop()
    for key, held in ((b"key", True), (b"another key", False)):
        browser.house = House(shop(), network, cookie_key=key)
        assert browser.get() == (first if held else "n1")
        assert browser.was_set is not held
        browser.house.stop()


def test_it_is_for_https_only_where_plain_clients_have_no_use_for_it() -> None:
    wanted = shop()
    www = wanted.nodebalancers["www"]
    alone = attrs.evolve(www, configs={"secure": www.configs["secure"]})
    for settled, flags in ((wanted, b"; HttpOnly\r\n"), (settings(alone), b"; HttpOnly; Secure; SameSite=Lax\r\n")):
        browser = Browser(House(settled))
        browser.get(SECURE)
        assert b"; Path=/" + flags in browser.response


@pytest.mark.parametrize("first", [PLAIN, SECURE])
def test_a_jar_that_was_at_either_port_first_keeps_its_node(first: Address) -> None:
    browser = Browser(House(shop()))
    name = browser.get(first)
    assert {browser.get(address) for address in (PLAIN, SECURE, PLAIN, SECURE)} == {name}


@pytest.mark.parametrize("address", [PLAIN, SECURE])
def test_the_response_that_sets_it_is_private(address: Address) -> None:
    browser = Browser(House(shop()))
    browser.get(address)
    assert b"\r\nCache-Control: private\r\n" in browser.response
    assert browser.response.endswith(b"\r\n\r\nhello")


def test_what_the_node_says_of_caches_stays() -> None:
    answer = OK.replace(b"\r\nContent", b"\r\ncache-control: no-store\r\nContent")
    browser = Browser(House(shop()), answer)
    browser.get()
    assert browser.was_set
    assert b"private" not in browser.response


def test_nodes_never_see_it() -> None:
    browser = Browser(House(shop()))
    browser.get()
    browser.get(others=b"theme=dark")
    assert b"NB_SRVID" not in browser.request
    assert b"\r\nCookie: theme=dark\r\n" in browser.request
    browser.get()
    assert b"ookie" not in browser.request


@pytest.mark.parametrize("cookie", [b"0123456789abcdef", b"x", b"%00", b'"quoted"', b"n1", b"0" * 4000])
def test_a_foreign_or_tampered_one_is_balanced_anew(cookie: bytes) -> None:
    browser = Browser(House(shop()))
    browser.cookie = cookie
    assert [browser.get() for _ in range(1)] == ["n1"]
    assert browser.was_set
    assert browser.get() == "n1"


def test_cookies_of_one_nodebalancer_mean_nothing_to_another() -> None:
    """Though their nodes have the same names."""
    one = shop().nodebalancers["www"]
    other = attrs.evolve(one, name="other", listen=("127.0.0.2",))
    browser = Browser(House(settings(one, other)))
    browser.get()
    assert browser.get(Address("127.0.0.2", 80)) == "n1"
    assert browser.was_set


def test_it_is_rewritten_when_its_node_cannot_serve() -> None:
    browser = Browser(House(shop()))
    first = browser.get()
    browser.house.network.fail(NODES[0], errno.ECONNREFUSED)
    second = browser.get()
    assert (first, second != first, browser.was_set) == ("n1", True, True)
    browser.house.network.heal(NODES[0])
    assert browser.get() == second


def test_a_node_that_drains_keeps_its_own_and_gets_nobody_else() -> None:
    house = House(shop())
    browser = Browser(house)
    assert browser.get() == "n1"
    wanted = shop().nodebalancers["www"]
    drained = {
        name: attrs.evolve(one, nodes={**one.nodes, "n1": attrs.evolve(one.nodes["n1"], mode=Mode.DRAIN)})
        for name, one in wanted.configs.items()
    }
    house.want(settings(attrs.evolve(wanted, configs=drained)))
    assert browser.get() == "n1"
    cookie, browser.cookie = browser.cookie, b""
    for _ in range(8):
        assert browser.get() != "n1"
        browser.cookie = b""
    browser.cookie = cookie
    assert browser.get() == "n1"


def test_without_cookies_the_field_is_the_nodes_own_business() -> None:
    lb = http()
    lb.client(GET.replace(b"\r\n\r\n", b"\r\nCookie: NB_SRVID=theirs\r\n\r\n"))
    assert b"Cookie: NB_SRVID=theirs" in lb.node().received
    lb.node().send(OK)
    lb.pump()


def test_a_reload_that_switches_cookies_on_is_for_the_next_response() -> None:
    """A client whose request came before gets one all the same: its node is the right one from now on."""
    lb = http(2)
    client = lb.client(GET)
    lb.change(stickiness=COOKIE)
    lb.node().send(OK)
    lb.pump()
    assert SET.search(bytes(client.received))


# By address


def ends(lb: MemoryBalancer, source: str) -> int:
    """The number of the node that the client gets; its connection is over then."""
    before = [len(accepted) for accepted in lb.accepted]
    client = lb.client(b"x", source)
    client.reset()
    lb.pump()
    [number] = [i for i, accepted in enumerate(lb.accepted, 1) if len(accepted) > before[i - 1]]
    return number


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.HTTP])
def test_a_client_comes_back_to_its_node_by_its_address(protocol: Protocol) -> None:
    lb = MemoryBalancer(protocol, 4, stickiness=Stickiness.TABLE)
    sends = GET if protocol is Protocol.HTTP else b"x"
    for _ in range(3):
        for number in range(1, 5):
            lb.client(sends, f"198.51.100.{number}").reset()
            lb.pump()
    hosts = [[bytes(peer.received) for peer in accepted] for accepted in lb.accepted]
    assert [len(one) for one in hosts] == [3] * 4
    if protocol is Protocol.HTTP:
        assert [len({re.search(rb"X-Forwarded-For: (\S+)", data)[1] for data in one}) for one in hosts] == [1] * 4  # type: ignore[index]


def test_the_table_survives_reloads_and_its_time_begins_again_with_each_connection() -> None:
    lb = MemoryBalancer(Protocol.TCP, 3, stickiness=Stickiness.TABLE, stickiness_ttl=100)
    first = ends(lb, "198.51.100.1")
    for source in ("198.51.100.2", "198.51.100.3"):
        ends(lb, source)
    lb.change_nodes(n1={"label": "another"})
    for _ in range(3):
        lb.advance(90)
        assert ends(lb, "198.51.100.1") == first
    lb.advance(101)
    assert (first, ends(lb, "198.51.100.9"), ends(lb, "198.51.100.1")) == (1, 1, 2)


def test_its_entries_go_when_the_node_goes_down_or_is_rejected() -> None:
    lb = MemoryBalancer(Protocol.TCP, 2, stickiness=Stickiness.TABLE)
    assert ends(lb, "198.51.100.1") == 1
    lb.change_nodes(n1={"mode": Mode.REJECT})
    assert ends(lb, "198.51.100.1") == 2
    lb.change_nodes()
    assert ends(lb, "198.51.100.1") == 2


def test_a_client_of_ipv6_is_its_subnet() -> None:
    lb = MemoryBalancer(Protocol.TCP, 4, stickiness=Stickiness.TABLE)
    assert len({ends(lb, f"2001:db8::{number}") for number in range(1, 6)}) == 1
    assert len({ends(lb, f"2001:db8:{number}::1") for number in range(1, 5)}) > 1


def test_a_tunnel_sets_it_too() -> None:
    browser = Browser(House(shop()), SWITCHING)
    client = browser.house.client(PLAIN, UPGRADE)
    next(peers[-1] for peers in browser.accepted.values() if peers).send(SWITCHING)
    browser.house.network.pump()
    assert b"\r\nSet-Cookie: NB_SRVID=" in client.received
    assert client.received.endswith(b"\r\n\r\n")
