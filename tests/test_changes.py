"""A plan says exactly what changes: no more, so that nothing else is touched, and no less."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from nodebalancer.changes import Added, Changed, Removed, apply_all, plan
from nodebalancer.fields import Address
from nodebalancer.model import (
    NOTHING,
    Algorithm,
    Firewall,
    Manhole,
    Metrics,
    Mode,
    NodeBalancer,
    PortConfig,
    Protocol,
    Service,
    Settings,
)
from nodebalancer.testing.builders import config, node, nodebalancer, settings

T = TypeVar("T")


def by_name(make: Callable[[str], st.SearchStrategy[T]]) -> st.SearchStrategy[tuple[T, ...]]:
    """Some things, each of another name out of few, so that two settings have many in common."""
    some = st.fixed_dictionaries({}, optional={name: make(name) for name in "ab"})
    return some.map(lambda things: tuple(things.values()))


def nodes(name: str) -> st.SearchStrategy[object]:
    addresses = st.builds(Address, st.sampled_from(("192.0.2.1", "2001:db8::1")), st.integers(1, 2))
    return st.builds(
        node,
        st.just(name),
        addresses,
        weight=st.integers(1, 3),
        mode=st.sampled_from((Mode.ACCEPT, Mode.DRAIN)),
        label=st.sampled_from(("", "x")),
    )


def configs(name: str) -> st.SearchStrategy[PortConfig]:
    return st.builds(
        lambda below, **fields: config(name, *below, **fields),
        by_name(nodes),
        port=st.sampled_from((80, 443)),
        protocol=st.sampled_from((Protocol.TCP, Protocol.HTTP)),
        algorithm=st.sampled_from(Algorithm),
        outgoing_address=st.sampled_from(((), ("192.0.2.9",))),
        id=st.none() | st.integers(1, 3),
    )


def nodebalancers(name: str) -> st.SearchStrategy[NodeBalancer]:
    return st.builds(
        lambda below, **fields: nodebalancer(name, *below, **fields),
        by_name(configs),
        listen=st.sampled_from((("0.0.0.0",), ("0.0.0.0", "::"))),
        max_connections=st.integers(1, 3),
    )


ANY_SETTINGS: st.SearchStrategy[Settings] = st.builds(
    lambda below, **fields: settings(*below, **fields),
    by_name(nodebalancers),
    firewalls=by_name(lambda name: st.builds(Firewall, st.just(name), inbound=st.sampled_from(((), ("ACCEPT …",))))),
    service=st.builds(Service, workers=st.integers(1, 3)),
    manhole=st.none() | st.just(Manhole()),
    metrics=st.none() | st.builds(Metrics, listen=st.sampled_from((Address("::1", 9100), Address("::1", 9101)))),
)


@given(ANY_SETTINGS, ANY_SETTINGS)
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_plan_leads_from_any_settings_to_any_others(current: Settings, wanted: Settings) -> None:
    """Whatever ran before, after a reload exactly what the file says runs."""
    assert apply_all(current, plan(current, wanted)) == wanted


@given(ANY_SETTINGS)
@hypothesis_settings(max_examples=30, deadline=None)
def test_nothing_changes_when_nothing_is_changed(same: Settings) -> None:
    assert plan(same, attrs.evolve(same)) == ()


@given(ANY_SETTINGS, ANY_SETTINGS)
@hypothesis_settings(max_examples=40, deadline=None)
def test_no_change_is_told_twice(current: Settings, wanted: Settings) -> None:
    """A thing is added, removed or changed, and what is below something added or removed is not told again."""
    changes = plan(current, wanted)
    paths = [change.path for change in changes]
    assert len(set(paths)) == len(paths)
    for whole in (change.path for change in changes if not isinstance(change, Changed)):
        assert [path for path in paths if path[: len(whole)] == whole] == [whole]


WEB = config("web", node("a", weight=1), node("b"), port=80)
BEFORE = settings(nodebalancer("www", WEB))


def test_start_up_adds_whole_nodebalancers() -> None:
    assert plan(NOTHING, BEFORE) == (Added(("www",), BEFORE.nodebalancers["www"]),)


def test_a_changed_weight_is_one_change_of_one_node() -> None:
    """Nothing but the node hears of its weight."""
    wanted = settings(nodebalancer("www", config("web", node("a", weight=5), node("b"), port=80)))
    assert plan(BEFORE, wanted) == (Changed(("www", "web", "a"), {"weight": (1, 5)}),)


def test_changes_of_a_thing_come_before_those_below_it_and_removals_before_additions() -> None:
    wanted = settings(nodebalancer("www", config("web", node("b"), node("c"), port=81), label="Shop"))
    web = ("www", "web")
    assert plan(BEFORE, wanted) == (
        Changed(("www",), {"label": ("", "Shop")}),
        Changed(web, {"port": (80, 81)}),
        Removed((*web, "a"), node("a", weight=1)),
        Added((*web, "c"), node("c")),
    )


def test_the_order_of_sections_in_the_file_means_nothing() -> None:
    wanted = settings(nodebalancer("www", config("web", node("b"), node("a", weight=1), port=80)))
    assert plan(BEFORE, wanted) == ()


def test_a_firewall_is_a_field_of_the_settings() -> None:
    firewalls = (Firewall("office"),)
    assert plan(NOTHING, settings(firewalls=firewalls)) == (
        Changed((), {"firewalls": ({}, {"office": Firewall("office")})}),
    )


@pytest.mark.parametrize(
    "change", [Changed(("www", "web", "z"), {}), Removed(("www", "z"), WEB), Added(("z", "web"), WEB)]
)
def test_a_plan_for_other_settings_fails(change: Changed | Removed | Added) -> None:
    """A change of what is not there is a fault, not a silent nothing."""
    with pytest.raises(KeyError):
        apply_all(BEFORE, (change,))
