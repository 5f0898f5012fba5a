from __future__ import annotations

from typing import Any

from nodebalancer.transport.resolving import addresses_of, resolve


def test_a_numeric_address_is_its_own_answer() -> None:
    assert addresses_of("192.0.2.1") == ["192.0.2.1"]
    assert addresses_of("2001:db8::1") == ["2001:db8::1"]


def test_each_address_is_told_once_and_in_its_one_spelling() -> None:
    assert addresses_of("::ffff:192.0.2.1") == ["192.0.2.1"]
    assert len(set(addresses_of("localhost"))) == len(addresses_of("localhost"))


def test_what_no_name_server_could_be_asked_has_no_address() -> None:
    assert addresses_of("x" * 64 + ".invalid") == []
    assert addresses_of("no blanks") == []


async def test_it_does_not_block(reactor: Any) -> None:
    answer = resolve(reactor, "localhost")
    assert not answer.called
    assert set(await answer) & {"127.0.0.1", "::1"}
