"""Changes in words."""

from __future__ import annotations

from nodebalancer.changes import plan
from nodebalancer.control.change_lines import in_lines, in_one_line
from nodebalancer.fields import Address
from nodebalancer.model import NOTHING, Firewall, Metrics, Mode, Protocol, Service, Settings
from nodebalancer.testing.builders import config, node, nodebalancer, settings

BEFORE = settings(
    nodebalancer(
        "www",
        config("web", node("a"), node("b"), port=80),
        config("old", port=81),
        listen=("192.0.2.9",),
    ),
    nodebalancer("gone", config("x", node("n"), port=90), listen=("192.0.2.9",)),
    firewalls=(Firewall("office"), Firewall("lab")),
)
AFTER = settings(
    nodebalancer(
        "www",
        config(
            "web",
            node("a", address=Address("192.0.2.2", 80), mode=Mode.DRAIN),
            node("c", weight=7),
            port=80,
            protocol=Protocol.TCP,
            check_host="a.example",
        ),
        config("new", node("d"), port=82),
        listen=("192.0.2.9",),
    ),
    firewalls=(Firewall("office", inbound=("ACCEPT TCP 80 ::/0",)), Firewall("home")),
    service=Service(grace_period=5),
    metrics=Metrics(),
)


def lines(before: Settings, after: Settings) -> list[str]:
    return list(in_lines(before, after, plan(before, after)))


def test_the_log_gets_one_line_with_counts() -> None:
    assert in_one_line(plan(BEFORE, AFTER)) == (
        "1 firewall changed, [service] changed, [metrics] changed, 1 NodeBalancer removed, 2 configs removed, "
        "2 nodes removed, 1 config changed, 1 node changed, 2 nodes added, 1 config added"
    )
    assert in_one_line(()) == "nothing changed"


def test_a_plan_says_what_changes_and_whom_it_touches() -> None:
    assert lines(BEFORE, AFTER) == [
        "[firewall home] is added",
        "[firewall lab] goes",
        "[firewall office] is changed",
        "[service] is changed",
        "[metrics] is added",
        "[nodebalancer gone] goes, with all below it; open connections go on to their end",
        "[config www/old] goes, with all below it; open connections go on to their end",
        "[config www/web] protocol: http -> tcp",
        "[config www/web] check_host: nothing -> a.example",
        "[nodes www/web] b goes: no new connections, open ones go on to their end",
        "[nodes www/web] a address: 192.0.2.1:8080 -> 192.0.2.2:80; new connections go there, open ones stay where they are",
        "[nodes www/web] a mode: accept -> drain; new connections only of clients that stick to it",
        "[nodes www/web] c is added: 192.0.2.1:8080 weight=7",
        "[config www/new] is added",
        "[nodes www/new] d is added: 192.0.2.1:8080",
        "listens on 192.0.2.9:80 anew, for tcp",
        "listens on 192.0.2.9:82 for [config www/new]",
        "leaves 192.0.2.9:81, where [config www/old] was",
        "leaves 192.0.2.9:90, where [config gone/x] was",
    ]


def test_a_node_that_is_rejected_loses_nobody_who_is_there() -> None:
    before = settings(nodebalancer("www", config("web", node("a"))), metrics=Metrics())
    after = settings(nodebalancer("www", config("web", node("a", mode=Mode.REJECT))))
    assert lines(before, after) == [
        "[metrics] goes",
        "[nodes www/web] a mode: accept -> reject; no new connections, open ones go on to their end",
    ]


def test_a_whole_nodebalancer_is_told_with_all_below_it() -> None:
    after = settings(nodebalancer("www", config("web", node("a"), port=80), listen=("192.0.2.9",)))
    assert lines(NOTHING, after) == [
        "[nodebalancer www] is added",
        "[config www/web] is added",
        "[nodes www/web] a is added: 192.0.2.1:8080",
        "listens on 192.0.2.9:80 for [config www/web]",
    ]
