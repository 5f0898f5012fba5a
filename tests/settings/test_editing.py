"""Changes as edits of the file."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.changes import Changed, plan
from nodebalancer.fields import Address
from nodebalancer.model import Firewall, Mode, Node, NodeBalancer, Policy, PortConfig, Service, Settings, Upgrade
from nodebalancer.settings.editing import edited
from nodebalancer.settings.reading import load
from nodebalancer.settings.writing import render

ROOT = Path(__file__).parents[2]

NODES = st.dictionaries(
    st.sampled_from("mno"),
    st.builds(
        Node,
        st.just(""),
        st.sampled_from([Address("192.0.2.1", 0), Address("2001:db8::1", 0), Address("origin.example", 0)]),
        weight=st.sampled_from([1, 100]),
        mode=st.sampled_from(Mode),
        label=st.sampled_from(["", "plain", 'a "b" \\c']),
    ),
)
CONFIGS = st.dictionaries(
    st.sampled_from("xy"),
    st.builds(
        PortConfig,
        st.just(""),
        NODES,
        check_interval=st.sampled_from([10, 31]),
        timeout_connect=st.sampled_from([3, 7]),
        upgrades=st.sampled_from([(), (Upgrade.WEBSOCKET,)]),
    ),
)
NODEBALANCERS = st.dictionaries(
    st.sampled_from("ab"),
    st.builds(
        NodeBalancer,
        st.just(""),
        CONFIGS,
        label=st.sampled_from(["", "The = shop"]),
        listen=st.sampled_from([("192.0.2.1",), ("192.0.2.1", "2001:db8::1")]),
        max_connections=st.sampled_from([1, 10_000]),
    ),
    min_size=1,
)
RULE = "ACCEPT TCP 80 192.0.2.0/24"
FIREWALLS = st.dictionaries(
    st.sampled_from("fg"),
    st.builds(
        Firewall, st.just(""), st.sampled_from(Policy), st.sampled_from([(), (RULE,), (RULE, "DROP TCP 1-65535 ::/0")])
    ),
)


@st.composite
def whole(draw: st.DrawFn) -> Settings:
    """Settings that load: everything has its name, and each config a port of its own."""
    nodebalancers = {}
    port = 1
    for name, nodebalancer in draw(NODEBALANCERS).items():
        configs = {}
        for each, config in nodebalancer.configs.items():
            port += 1
            nodes = {
                key: attrs.evolve(node, name=key, address=Address(node.address.host, ord(key)))
                for key, node in config.nodes.items()
            }
            configs[each] = attrs.evolve(config, name=each, port=port, nodes=nodes)
        nodebalancers[name] = attrs.evolve(nodebalancer, name=name, configs=configs)
    firewalls = {name: attrs.evolve(firewall, name=name) for name, firewall in draw(FIREWALLS).items()}
    return Settings(nodebalancers, firewalls, Service(grace_period=draw(st.sampled_from([30, 5]))))


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file that loads, with comments in all places, perhaps defaults, and either kind of line ends."""
    lines = [f"# {number}\n{line}" for number, line in enumerate(render(draw(whole())).splitlines())]
    if draw(st.booleans()):
        lines = ["[defaults]", "timeout_connect = 7", "check_interval = 20", *lines]
    text = "\n".join(lines) + draw(st.sampled_from(["", "\n", "\n; the end\n\n"]))
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@settings(max_examples=200)
@given(files(), whole())
def test_what_is_edited_says_what_was_wanted_and_keeps_its_comments(text: str, wanted: Settings) -> None:
    changes = plan(load(text, "f"), wanted)
    new = edited(text, changes)
    assert load(new, "f") == wanted
    if not changes:
        assert new == text
    assert new.count("\r") in (0, new.count("\n"))
    for line in new.splitlines():
        assert not line.startswith("#") or line in text


EXAMPLE = """\
# what people see
[nodebalancer www]
label   =   The web shop
listen =
    192.0.2.1,
    # the new one
    192.0.2.2

; the web
[config www/web]
port = 80

[nodes www/web]
app-1\t= 192.0.2.10:80  weight=100   label="the \\"old\\" one"
# the spare
app-2 = 192.0.2.11:80 mode=backup

[nodebalancer db]
"""


def change(text: str, **nodes: Node | None) -> str:
    """The example with other nodes."""
    before = load(text, "f")
    www = before.nodebalancers["www"]
    web = www.configs["web"]
    wanted = {name: node for name, node in {**web.nodes, **nodes}.items() if node}
    www = attrs.evolve(www, configs={"web": attrs.evolve(web, nodes=wanted)})
    return edited(text, plan(before, attrs.evolve(before, nodebalancers={**before.nodebalancers, "www": www})))


def old() -> Node:
    return load(EXAMPLE, "f").nodebalancers["www"].configs["web"].nodes["app-1"]


def test_of_a_nodes_line_only_the_word_changes_that_has_to() -> None:
    drained = change(EXAMPLE, **{"app-1": attrs.evolve(old(), mode=Mode.DRAIN)})
    line = 'app-1\t= 192.0.2.10:80  weight=100   label="the \\"old\\" one"'
    assert drained == EXAMPLE.replace(line, f"{line} mode=drain")
    assert change(drained, **{"app-1": old()}) == EXAMPLE
    lighter = change(EXAMPLE, **{"app-1": attrs.evolve(old(), weight=5)})
    assert lighter == EXAMPLE.replace("weight=100", "weight=5")


def test_a_node_that_comes_is_the_last_and_one_that_goes_leaves_its_comment() -> None:
    more = change(EXAMPLE, new=Node("new", Address("192.0.2.12", 80)))
    assert more == EXAMPLE.replace("mode=backup\n", "mode=backup\nnew = 192.0.2.12:80\n")
    assert change(EXAMPLE, **{"app-2": None}) == EXAMPLE.replace("app-2 = 192.0.2.11:80 mode=backup\n", "")


def test_a_value_changes_where_it_stands_and_a_list_keeps_its_comments() -> None:
    before = load(EXAMPLE, "f")
    www = attrs.evolve(before.nodebalancers["www"], label="Shop", listen=("192.0.2.3",), max_connections=7)
    new = edited(EXAMPLE, plan(before, attrs.evolve(before, nodebalancers={**before.nodebalancers, "www": www})))
    expected = EXAMPLE.replace("The web shop", "Shop").replace("listen =\n    192.0.2.1,\n", "listen = 192.0.2.3\n")
    assert new == expected.replace("    192.0.2.2\n", "max_connections = 7\n")


def test_a_change_of_what_is_not_there_is_refused() -> None:
    fields = {"weight": (100, 1)}
    for path in (("www", "web", "app-3"), ("www", "gone", "app-1")):
        with pytest.raises(KeyError):
            edited(EXAMPLE, [Changed(path, fields)])
    with pytest.raises(KeyError):
        edited(
            EXAMPLE,
            plan(Settings({"x": NodeBalancer("x")}), Settings({"x": NodeBalancer("x", {"y": PortConfig("y")})})),
        )


def test_a_control_character_in_a_value_is_seen_when_it_is_read_again() -> None:
    """Nothing is escaped in a file, so whoever edits reads again what came of it."""
    new = change(EXAMPLE, **{"app-1": attrs.evolve(old(), label="a\nb = 192.0.2.66:80")})
    with pytest.raises(Exception, match="cannot read"):
        load(new, "f")


def test_the_shipped_example_keeps_every_line_but_the_one() -> None:
    text = (ROOT / "etc/nodebalancer.ini").read_text()
    before = load(text, "f")
    new = edited(text, plan(before, attrs.evolve(before, service=attrs.evolve(before.service, grace_period=31))))
    assert new == text.replace("grace_period = 30", "grace_period = 31")


def test_what_goes_takes_its_lines_and_one_blank_line_along() -> None:
    before = load(EXAMPLE, "f")
    www = attrs.evolve(before.nodebalancers["www"], configs={})
    new = edited(EXAMPLE, plan(before, attrs.evolve(before, nodebalancers={**before.nodebalancers, "www": www})))
    assert new == EXAMPLE[: EXAMPLE.index("[config")] + "[nodebalancer db]\n"
    alone = edited(EXAMPLE, plan(before, attrs.evolve(before, nodebalancers={"db": before.nodebalancers["db"]})))
    assert alone == "# what people see\n    # the new one\n; the web\n[nodebalancer db]\n".replace(
        "    # the new one\n", ""
    )
