"""A node's line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import SettingsError
from nodebalancer.fields import Address
from nodebalancer.model import Mode, Node
from nodebalancer.settings.document import tokenize
from nodebalancer.settings.node_lines import ADDRESS, FORM, read_node, read_nodes, rewritten, write_node
from nodebalancer.settings.places import Report, places_of

WHERE = Address("192.0.2.1", 80)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("192.0.2.1:80", Node("a", WHERE)),
        ("[2001:db8::1]:80", Node("a", Address("2001:db8::1", 80))),
        ("192.0.2.1:80 weight=1", Node("a", WHERE, weight=1)),
        *((f"192.0.2.1:80 mode={mode.value}", Node("a", WHERE, mode=mode)) for mode in Mode),
        ("Origin.internal:80", Node("a", Address("origin.internal", 80))),
        ("192.0.2.1:80\t mode=accept   weight=255", Node("a", WHERE, weight=255)),
        ("192.0.2.1:80 label=web", Node("a", WHERE, label="web")),
        ('192.0.2.1:80 label="a = b" weight="7"', Node("a", WHERE, weight=7, label="a = b")),
        (r'192.0.2.1:80 label="say \"hi\" \\ # ; x"', Node("a", WHERE, label=r'say "hi" \ # ; x')),
        (r"192.0.2.1:80 label=C:\x", Node("a", WHERE, label=r"C:\x")),
        ("192.0.2.1:80 label=", Node("a", WHERE)),
        ('192.0.2.1:80 label="  "', Node("a", WHERE)),
    ],
)
def test_nodes_that_are_read(text: str, node: Node) -> None:
    told: list[str] = []
    assert (read_node("a", text, told.append), told) == (node, [])


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("", [f"expected {ADDRESS.expected}"]),
        ("192.0.2.1", [f"expected {ADDRESS.expected}"]),
        ("192.0.2.1:0", ["port 0 is not between 1 and 65535"]),
        ("10.0.0.300:80", [f"'10.0.0.300' is not an IP address; expected {ADDRESS.expected}"]),
        ("origin..internal:80", [f"'origin..internal' is not an IP address; expected {ADDRESS.expected}"]),
        ("-origin:80", [f"'-origin' is not an IP address; expected {ADDRESS.expected}"]),
        ("origin.internal", [f"expected {ADDRESS.expected}"]),
        ("192.0.2.1:80 weight=0", ["weight=0: not between 1 and 255"]),
        ("192.0.2.1:80 mode=dran", ["mode=dran: expected one of accept, reject, drain, backup"]),
        ("192.0.2.1:80 wieght=5", ["unknown option wieght; the nearest known one is weight"]),
        ("192.0.2.1:80 weight=5 weight=5", ["weight is given twice"]),
        ("192.0.2.1:80 weight = 5", [f"cannot read 'weight = 5'; expected {FORM}"]),
        ('192.0.2.1:80 label="a', [f"cannot read 'label=\"a'; expected {FORM}"]),
        (r'192.0.2.1:80 label="a\n"', [rf"""cannot read 'label="a\\n"'; expected {FORM}"""]),
        ('192.0.2.1:80 label="a"b', [f"cannot read 'label=\"a\"b'; expected {FORM}"]),
        (
            "x weight=0 wight=1 5",
            [
                f"expected {ADDRESS.expected}",
                "weight=0: not between 1 and 255",
                "unknown option wight; the nearest known one is weight",
                f"cannot read '5'; expected {FORM}",
            ],
        ),
    ],
)
def test_nodes_that_are_refused_with_all_that_is_wrong(text: str, messages: list[str]) -> None:
    told: list[str] = []
    assert read_node("a", text, told.append) is None
    assert told == messages


def test_the_form_names_every_option() -> None:
    assert FORM == "ADDRESS:PORT [weight=…] [mode=…] [label=…]"


@settings(max_examples=150, deadline=None)
@given(
    st.builds(
        Node,
        st.just("a"),
        st.builds(Address, st.sampled_from(["192.0.2.1", "2001:db8::1", "a.example"]), st.integers(1, 65535)),
        st.integers(1, 255),
        st.sampled_from(Mode),
        st.text(max_size=64).map(str.strip).filter(str.isprintable) | st.text('"\\ =#', max_size=9).map(str.strip),
    )
)
def test_a_node_that_is_written_is_read_again(node: Node) -> None:
    told: list[str] = []
    assert (read_node("a", write_node(node), told.append), told) == (node, [])


def test_options_at_their_defaults_are_not_written() -> None:
    assert write_node(Node("a", WHERE)) == "192.0.2.1:80"
    assert write_node(Node("a", WHERE, 5, Mode.DRAIN, "b c")) == '192.0.2.1:80 weight=5 mode=drain label="b c"'


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.text(' =":.1[]weight\\', max_size=40).map("192.0.2.1:80 ".__add__))
def test_any_text_is_a_node_or_is_told(text: str) -> None:
    told: list[str] = []
    node = read_node("a", text, told.append)
    assert (node is None) is bool(told)


def test_the_nodes_of_a_section_are_read_and_the_bad_ones_told() -> None:
    text = "[nodes a/b]\nx = 192.0.2.1:80\n  weight=5\nx = 192.0.2.2:80\ny z = 192.0.2.3:80\nw = no\n"
    document = tokenize(text)
    report = Report(places_of("f", document))
    nodes = read_nodes(document.sections[0], report)
    assert nodes["x"] == Node("x", WHERE)
    with pytest.raises(SettingsError) as refused:
        report.close()
    assert [problem.where for problem in refused.value.problems] == [
        "f:3: [nodes a/b] weight=5",
        "f:5: [nodes a/b] y z = 192.0.2.3:80",
        "f:6: [nodes a/b] w = no",
    ]
    assert refused.value.problems[1].message.startswith("'y z' cannot be the name of a node; a name is 1 to 64")


def test_a_line_is_rewritten_word_by_word() -> None:
    text = 'a.example:80   label="two  words"\tweight=7'
    assert rewritten(text, {}) == text
    assert rewritten(text, {"weight": 8}) == text.replace("7", "8")
    assert rewritten(text, {"weight": 100, "mode": Mode.DRAIN}) == 'a.example:80   label="two  words" mode=drain'
    assert rewritten(text, {"address": Address("2001:db8::1", 81)}) == text.replace("a.example:80", "[2001:db8::1]:81")
    assert rewritten(text, {"label": ""}) == "a.example:80\tweight=7"
