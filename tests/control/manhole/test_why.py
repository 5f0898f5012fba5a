"""Why a client is served as it is."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from nodebalancer.balancing.member import Status
from nodebalancer.balancing.outcome import Outcome
from nodebalancer.control.manhole.why import UNSERVED_MAX, client_of, prospect
from nodebalancer.model import Mode, Redirect

CLIENT = "198.51.100.1"

INI = """\
[nodebalancer www]
listen = 203.0.113.1
{owner}
[config www/main]
port = 80
protocol = {protocol}
check = none
{config}
[nodes www/main]
n1 = 10.0.0.1:8080
n2 = 10.0.0.2:8080
[firewall office]
inbound_policy = DROP
inbound =
    ACCEPT TCP 80 198.51.100.0/24
"""


def load(lb: Any, owner: str = "", config: str = "", protocol: str = "tcp") -> Any:
    lb.load(INI.format(owner=owner, config=config, protocol=protocol))
    return lb.listeners.configs["www", "main"]


def test_a_connection_that_was_not_served_is_remembered_with_the_nodes_of_that_moment(lb: Any) -> None:
    live = load(lb)
    for member in live.pool.members.values():
        lb.network.kill(member.node.address)
    lb.client()
    for member in live.pool.members.values():
        lb.network.heal(member.node.address)
    lb.network.advance(5)
    lb.listeners.due(lb.network.now, 0)
    [one] = lb.unserved.of(CLIENT)
    assert (one.at, one.config, one.client, one.outcome) == (1.7e9, "www/main", CLIENT, Outcome.CONNECT_FAILED)
    assert (one.node, one.tried) == ("", ("n1", "n2"))
    assert one.nodes == (("n1", Mode.ACCEPT, Status.DOWN), ("n2", Mode.ACCEPT, Status.DOWN))
    assert lb.unserved.of("198.51.100.2") == ()


def test_the_node_it_had_at_its_end_is_remembered(lb: Any) -> None:
    load(lb)
    client = lb.client()
    client.send(b"x")
    lb.network.pump()
    lb.nodes[0][0].reset()
    lb.network.pump()
    [one] = lb.unserved.of(CLIENT)
    assert (one.outcome, one.node, one.tried) == (Outcome.CUT_SHORT, "n1", ())


def test_whoever_is_served_leaves_no_trace(lb: Any) -> None:
    load(lb)
    client = lb.client()
    lb.nodes[0][0].close()
    client.close()
    lb.network.pump()
    assert lb.listeners.configs["www", "main"].counters.outcomes[Outcome.SERVED] == 1
    assert lb.unserved.of(CLIENT) == ()


def test_the_memory_is_bounded_and_shares_what_does_not_change(lb: Any) -> None:
    live = load(lb)
    connection: Any = type("Connection", (), {"peer": CLIENT, "member": None, "tried": ()})()
    for _ in range(UNSERVED_MAX + 5):
        lb.unserved.note("www/main", live.pool, connection, Outcome.CLIENT_ERROR)
    kept = lb.unserved.of(CLIENT)
    assert len(kept) == UNSERVED_MAX
    assert {id(one.nodes) for one in kept} == {id(kept[0].nodes)}
    live.pool.set_status(live.pool.members["n1"], Status.UP, "", 0)
    lb.unserved.note("www/main", live.pool, connection, Outcome.CLIENT_ERROR)
    assert lb.unserved.of(CLIENT)[-1].nodes[0] == ("n1", Mode.ACCEPT, Status.UP)


def test_what_was_with_a_config_that_is_gone_is_forgotten(lb: Any) -> None:
    live = load(lb)
    connection: Any = type("Connection", (), {"peer": CLIENT, "member": None, "tried": ()})()
    lb.unserved.note("www/main", live.pool, connection, Outcome.NO_NODE)
    lb.unserved.keep(["www/main"])
    assert len(lb.unserved.of(CLIENT)) == 1
    lb.unserved.keep(["www/other"])
    assert lb.unserved.of(CLIENT) == ()


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_a_client_has_one_spelling(text: str, client: str) -> None:
    assert client_of(text) == client


def test_what_is_no_address_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="'www' is no IP address such as"):
        client_of("www")


def test_the_prospect_is_what_happens_then(lb: Any) -> None:
    live = load(lb)
    told = prospect(live, CLIENT, b"")
    assert (told.config, told.fate) == ("www/main", "gets n1")
    assert (told.firewall, told.throttle, told.cap, told.stickiness) == ("", "", "0 of 10000", "")
    assert prospect(live, CLIENT, b"") == told
    lb.client()
    assert (len(lb.nodes[0]), len(lb.nodes[1])) == (1, 0)
    assert prospect(live, CLIENT, b"").fate == "gets n2"


def test_the_firewall_is_asked(lb: Any) -> None:
    live = load(lb, "firewall = office")
    assert prospect(live, CLIENT, b"").firewall == "lets in"
    refused = prospect(live, "192.0.2.1", b"")
    assert (refused.firewall, refused.fate) == ("refuses", "refused by the firewall")


def test_the_throttle_is_asked_and_no_token_is_taken(lb: Any) -> None:
    live = load(lb, "client_conn_throttle = 2")
    assert [prospect(live, CLIENT, b"").throttle for _ in range(5)] == ["2 of 2"] * 5
    lb.client()
    lb.client()
    told = prospect(live, CLIENT, b"")
    assert (told.throttle, told.fate) == ("0 of 2", "refused by the throttle")


def test_the_limits_are_asked(lb: Any) -> None:
    live = load(lb, "client_max_connections = 1\nmax_connections = 2")
    lb.client()
    told = prospect(live, CLIENT, b"")
    assert (told.cap, told.fate) == ("1 of 2, 1 of 1 its own", "refused: too many connections of this client")
    lb.client("198.51.100.2")
    assert prospect(live, "198.51.100.3", b"").fate == "waits until another connection ends"


def test_stickiness_names_its_node(lb: Any) -> None:
    live = load(lb, config="stickiness = table")
    assert prospect(live, CLIENT, b"").stickiness == "table: no node yet"
    lb.client()
    told = prospect(live, CLIENT, b"")
    assert (told.stickiness, told.fate) == ("table: n1", "gets n1")


def test_a_cookie_names_its_node(lb: Any) -> None:
    live = load(lb, config="stickiness = http_cookie", protocol="http")
    told = prospect(live, CLIENT, live.pool.members["n2"].cookie)
    assert (told.stickiness, told.fate) == ("http_cookie: n2", "gets n2")


def test_when_no_node_is_left_it_says_so(lb: Any) -> None:
    live = load(lb)
    for member in live.pool.members.values():
        live.pool.set_status(member, Status.DOWN, "", 0)
    assert prospect(live, CLIENT, b"").fate == "no node can take it"


def test_whoever_is_sent_elsewhere_needs_no_node(lb: Any) -> None:
    live = load(lb, protocol="http")
    live.wanted = attrs.evolve(live.wanted, redirect=Redirect.HTTPS)
    assert prospect(live, CLIENT, b"").fate == "is sent to https"
