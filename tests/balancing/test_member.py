"""A member is a node and its counters."""

from __future__ import annotations

from nodebalancer.balancing.member import Member
from nodebalancer.fields import Address
from nodebalancer.testing.builders import node


def test_members_of_equal_nodes_are_two() -> None:
    """A node that was removed and added again is counted anew."""
    assert Member(node()) != Member(node())


def test_a_member_names_its_node_where_it_is_printed() -> None:
    member = Member(node("app-1", Address("2001:db8::1", 80)))
    member.open = 2
    assert repr(member) == "<Member app-1 [2001:db8::1]:80 open=2>"
