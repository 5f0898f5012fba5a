"""A member is a node and its counters."""

from __future__ import annotations

import pytest

from nodebalancer.balancing.member import Member, Status
from nodebalancer.fields import Address
from nodebalancer.model import Mode
from nodebalancer.testing.builders import node


def test_members_of_equal_nodes_are_two() -> None:
    """A node that was removed and added again is counted anew."""
    assert Member(node()) != Member(node())


def test_a_member_names_its_node_where_it_is_printed() -> None:
    member = Member(node("app-1", Address("2001:db8::1", 80)))
    member.open = 2
    assert repr(member) == "<Member app-1 [2001:db8::1]:80 Unknown open=2>"


def test_of_a_new_member_nothing_is_known() -> None:
    """R24: Unknown since it came, for no reason yet, and nothing has changed."""
    member = Member(node(), 1700000000.5)
    assert (member.status, member.since, member.reason, member.flaps) == (Status.UNKNOWN, 1700000000.5, "", 0)


def test_a_status_is_spelt_as_the_api_spells_it() -> None:
    assert [status.value for status in Status] == ["UP", "DOWN", "Unknown"]


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("mode", Mode)
def test_a_rejected_node_is_shown_as_down(mode: Mode, status: Status) -> None:
    """R26; all others as what they are."""
    member = Member(node(mode=mode))
    member.status = status
    assert member.shown is (Status.DOWN if mode is Mode.REJECT else status)
