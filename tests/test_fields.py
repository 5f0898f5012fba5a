"""Kinds of values: what an operator may write, and what is said to everything else."""

from __future__ import annotations

import enum
import ipaddress
import string
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.fields import (
    CIDR,
    Address,
    Choice,
    Flag,
    HostPort,
    Integer,
    IPAddress,
    Kind,
    Lines,
    ListOf,
    Maybe,
    Pattern,
    Text,
    key,
    keys_of,
    only,
)


class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


SECONDS = Integer(1, 30, "seconds")
NAMED = HostPort(names=True)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (SECONDS, "1", 1),
        (SECONDS, "30", 30),
        (SECONDS, "007", 7),
        (Integer(-5, 5), "-5", -5),
        (Flag(), "true", True),
        (Flag(), "false", False),
        (Choice(Colour), "green", Colour.GREEN),
        (Text(), "", ""),
        (Text(5), "fünf!", "fünf!"),
        (Pattern("/.*", "a path"), "/x", "/x"),
        (Pattern("/.*", "a path"), "", ""),
        (IPAddress(), "192.0.2.1", "192.0.2.1"),
        (IPAddress(), "2001:DB8:0::1", "2001:db8::1"),
        (IPAddress(), "::ffff:192.0.2.1", "192.0.2.1"),
        (HostPort(), "192.0.2.1:80", Address("192.0.2.1", 80)),
        (HostPort(), "[2001:db8:0::1]:65535", Address("2001:db8::1", 65535)),
        (HostPort(), "[::ffff:192.0.2.1]:80", Address("192.0.2.1", 80)),
        (NAMED, "Origin.internal:80", Address("origin.internal", 80)),
        (NAMED, "_srv.example.:80", Address("_srv.example.", 80)),
        (NAMED, "192.0.2.1:80", Address("192.0.2.1", 80)),
        (CIDR(), "192.0.2.0/24", ipaddress.ip_network("192.0.2.0/24")),
        (CIDR(), "2001:db8::1", ipaddress.ip_network("2001:db8::1/128")),
        (CIDR(), "::ffff:192.0.2.0/120", ipaddress.ip_network("192.0.2.0/24")),
        (CIDR(), "::ffff:1.2.3.4", ipaddress.ip_network("1.2.3.4/32")),
        (CIDR(), "::ffff:0:0/96", ipaddress.ip_network("0.0.0.0/0")),
        (CIDR(), "::/0", ipaddress.ip_network("::/0")),
        (CIDR(), "::fffe:0:0/95", ipaddress.ip_network("::fffe:0:0/95")),
        (ListOf(SECONDS), "", ()),
        (ListOf(SECONDS), "1, 2\n3,\n4", (1, 2, 3, 4)),
        (Lines(), "", ()),
        (Lines(), "\n a  b\tc \n\nd", ("a b c", "d")),
        (Maybe(SECONDS), "", None),
        (Maybe(SECONDS), "3", 3),
    ],
)
def test_values_that_are_taken(kind: Kind[Any], text: str, value: object) -> None:
    assert kind.read(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (Kind(), "x", "expected "),
        (SECONDS, "", "not a whole number; expected a whole number from 1 to 30 seconds"),
        (SECONDS, "1.5", "not a whole number; expected a whole number from 1 to 30 seconds"),
        (SECONDS, "٣", "not a whole number; expected a whole number from 1 to 30 seconds"),
        (SECONDS, "0", "not between 1 and 30 seconds"),
        (SECONDS, "31", "not between 1 and 30 seconds"),
        (SECONDS, "9" * 5000, "not between 1 and 30 seconds"),
        (SECONDS, "-" + "9" * 5000, "not between 1 and 30 seconds"),
        (Integer(1, 9), "10", "not between 1 and 9"),
        (Flag(), "yes", "expected true or false"),
        (Choice(Colour), "blue", "expected one of red, green"),
        (Text(3), "four", "4 characters long; expected at most 3"),
        (Text(), "a\x1bb", "has characters that cannot be printed"),
        (Pattern("/.*", "a path", 9), "x", "expected a path, at most 9 characters"),
        (Pattern("/.*", "a path", 3), "/long", "5 characters long; expected at most 3"),
        (IPAddress(), "10.0.0.300", f"not an IP address; expected {IPAddress.expected}"),
        (IPAddress(), "fe80::1%eth0", f"not an IP address; expected {IPAddress.expected}"),
        (HostPort(), "192.0.2.1", f"expected {HostPort().expected}"),
        (HostPort(), "2001:db8::1:80", f"expected {HostPort().expected}"),
        (HostPort(), "[fe80::1%eth0]:80", f"expected {HostPort().expected}"),
        (HostPort(), "192.0.2.1:0", "port 0 is not between 1 and 65535"),
        (HostPort(), "192.0.2.1:65536", "port 65536 is not between 1 and 65535"),
        (HostPort(), "origin:80", f"'origin' is not an IP address; expected {HostPort().expected}"),
        (HostPort(), "[a:b]:80", f"'a:b' is not an IP address; expected {HostPort().expected}"),
        (NAMED, "10.0.0.300:80", f"'10.0.0.300' is not an IP address; expected {NAMED.expected}"),
        (NAMED, "under way:80", f"'under way' is not an IP address; expected {NAMED.expected}"),
        (CIDR(), "192.0.2.1/24", "an address inside a network; the network is 192.0.2.0/24"),
        (CIDR(), "fe80::%eth0/64", f"not a network; expected {CIDR.expected}"),
        (CIDR(), "192.0.2.0/33", f"not a network; expected {CIDR.expected}"),
        (ListOf(SECONDS), "1, x", "'x': not a whole number; expected a whole number from 1 to 30 seconds"),
        (ListOf(Flag()), "x, true, y", "'x': expected true or false; 'y': expected true or false"),
        (ListOf(SECONDS), "1, 2, 01", "the same value is listed twice"),
        (ListOf(SECONDS, at_least=1), " , ", "expected a list (with commas) of: a whole number from 1 to 30 seconds"),
        (Lines(), "a\n# b", "'# b' looks like a comment; comments stand on lines of their own"),
        (Lines(), "a\x00b", "'a\\x00b' has characters that cannot be printed"),
        (Maybe(SECONDS), "0", "not between 1 and 30 seconds"),
    ],
)
def test_values_that_are_refused(kind: Kind[Any], text: str, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 compared below
        kind.read(text)
    assert str(refused.value) == message


HOSTS = st.ip_addresses().map(str).filter(lambda host: "%" not in host).map(lambda host: IPAddress().read(host))
ADDRESSES = st.builds(Address, HOSTS, st.integers(1, 65535))
ITEMS = st.text(string.ascii_letters + string.digits + " _", min_size=1).map(str.strip).filter(bool)
WRITABLE: list[tuple[Kind[Any], st.SearchStrategy[Any]]] = [
    (Integer(-(10**15), 10**15), st.integers(-(10**15), 10**15)),
    (Flag(), st.booleans()),
    (Choice(Colour), st.sampled_from(Colour)),
    (Text(), st.text().map(str.strip).filter(str.isprintable)),
    (IPAddress(), HOSTS),
    (HostPort(), ADDRESSES),
    (NAMED, st.one_of(ADDRESSES, st.just(Address("origin.internal", 80)))),
    (CIDR(), HOSTS.map(ipaddress.ip_network)),
    (ListOf(Text()), st.lists(ITEMS, unique=True).map(tuple)),
    (Lines(), st.lists(ITEMS.map(lambda text: " ".join(text.split()))).map(tuple)),
    (Maybe(SECONDS), st.one_of(st.none(), st.integers(1, 30))),
]


@pytest.mark.parametrize(("kind", "values"), WRITABLE, ids=lambda item: type(item).__name__)
def test_what_is_written_is_read_again(kind: Kind[Any], values: st.SearchStrategy[Any]) -> None:
    """Whatever a kind can read, it can write so that the same comes back."""

    @settings(max_examples=40, deadline=None)
    @given(values)
    def holds(value: Any) -> None:
        assert kind.read(kind.write(value)) == value

    holds()


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_taken_or_refused_with_a_sentence(text: str) -> None:
    """No value in a file can make anything but a message."""
    for kind, _ in WRITABLE:
        sentence = "taken"
        try:
            kind.read(text)
        except ValueError as e:
            sentence = str(e)
        assert sentence


def test_an_address_is_shown_as_it_is_written_in_the_file() -> None:
    assert str(Address("192.0.2.1", 80)) == "192.0.2.1:80"
    assert str(Address("2001:db8::1", 80)) == "[2001:db8::1]:80"


def test_kinds_with_few_values_know_them_all() -> None:
    assert list(Choice(Colour).values) == [Colour.RED, Colour.GREEN]
    assert list(Flag().values) == [True, False]
    assert list(SECONDS.values) == []


@attrs.frozen
class Thing:
    name: str
    ports: tuple[int, ...] = key(ListOf(Integer(1, 9)), (), "Ports.", available=only((), (1,)), row="R5")
    rules: tuple[str, ...] = key(Lines(), (), "Rules.")
    label: str = key(Text(), "x", "Label.")


def test_a_field_made_by_key_is_a_key_with_all_that_is_known_of_it() -> None:
    keys = keys_of(Thing)
    assert list(keys) == ["ports", "rules", "label"]
    field, ports = keys["ports"]
    assert (field.name, field.default, ports.doc, ports.row) == ("ports", (), "Ports.", "R5")
    assert ports.available
    assert [ports.available(value) for value in ((), (1,), (2,))] == [True, True, False]
    assert keys["label"][1].available is None


def test_only_lists_go_on_in_indented_lines() -> None:
    assert {name: known.continues for name, (_, known) in keys_of(Thing).items()} == {
        "ports": True,
        "rules": True,
        "label": False,
    }


@pytest.mark.parametrize(
    ("host", "is_name"),
    [("192.0.2.1", False), ("2001:db8::1", False), ("origin.internal", True), ("a", True), ("1e5", True)],
)
def test_an_address_knows_whether_its_host_is_a_name(host: str, is_name: bool) -> None:
    assert Address(host, 80).is_name is is_name
