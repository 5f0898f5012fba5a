"""Listening on an address that this machine does not have yet (R33)."""

from __future__ import annotations

from typing import Any

import attrs

from nodebalancer.changes import plan
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Settings
from nodebalancer.proxy.listeners import Listeners
from nodebalancer.testing.builders import config, nodebalancer, settings
from nodebalancer.testing.memory import MemoryEngine, MemoryNetwork

VIRTUAL = "192.0.2.99"


def standby(**fields: Any) -> Settings:
    return settings(nodebalancer("www", config("web", port=80), listen=(VIRTUAL,), **fields))


def reload(listeners: Listeners, current: Settings, wanted: Settings) -> list[str]:
    """The problems of the road that a reload takes."""
    problems: list[str] = []
    listeners.prepare(wanted, plan(current, wanted)).addCallback(lambda found: problems.extend(map(str, found)))
    (listeners.abandon if problems else listeners.commit)()
    return problems


def where(listeners: Listeners) -> list[str]:
    return [str(address) for address, _ in listeners.listening()]


def test_an_address_that_is_not_here_is_an_error_that_says_what_to_do_if_that_is_meant() -> None:
    """A typo in ``listen`` is found at the start and not by the clients."""
    listeners = Listeners(MemoryEngine(MemoryNetwork()))
    [problem] = reload(listeners, NOTHING, standby())
    assert problem == (
        f"[config www/web] port = 80: cannot listen on {VIRTUAL}:80: this machine has no such address; "
        "freebind = true listens there all the same (from listen of [nodebalancer www])"
    )


def test_with_freebind_it_is_listened_on() -> None:
    listeners = Listeners(MemoryEngine(MemoryNetwork()))
    assert reload(listeners, NOTHING, standby(freebind=True)) == []
    assert where(listeners) == [f"{VIRTUAL}:80"]


def test_another_error_has_no_such_hint() -> None:
    network = MemoryNetwork()
    network.node(Address("192.0.2.1", 80))
    wanted = settings(nodebalancer("www", config("web", port=80), listen=("192.0.2.1",)))
    [problem] = reload(Listeners(MemoryEngine(network)), NOTHING, wanted)
    assert "freebind" not in problem


def test_a_listener_that_comes_back_after_a_failed_reload_is_as_free_as_before() -> None:
    """The standby had made way for the wildcard."""
    network = MemoryNetwork()
    listeners = Listeners(MemoryEngine(network))
    before = standby(freebind=True)
    reload(listeners, NOTHING, before)
    network.foreign.add("192.0.2.98")
    www = before.nodebalancers["www"]
    everywhere = Settings({"www": attrs.evolve(www, listen=("0.0.0.0", "::", "192.0.2.98"), freebind=False)})
    assert len(reload(listeners, before, everywhere)) == 1
    assert where(listeners) == [f"{VIRTUAL}:80"]
