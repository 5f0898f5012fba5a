"""Changes in words."""

from __future__ import annotations

from nodebalancer.changes import plan
from nodebalancer.control.change_lines import in_lines, in_one_line
from nodebalancer.fields import Address
from nodebalancer.model import (
    NOTHING,
    Firewall,
    LogFormat,
    Manhole,
    Metrics,
    Mode,
    Protocol,
    Redirect,
    Service,
    Settings,
)
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
        "[service] grace_period: 30 -> 5, [metrics] is added, 1 firewall changed, 1 NodeBalancer removed, "
        "2 configs removed, 2 nodes removed, 1 config changed, 1 node changed, 2 nodes added, 1 config added"
    )
    assert in_one_line(()) == "nothing changed"


def test_a_plan_says_what_changes_and_whom_it_touches() -> None:
    assert lines(BEFORE, AFTER) == [
        "[firewall home] is added",
        "[firewall lab] goes",
        "[firewall office] is changed",
        "[service] grace_period: 30 -> 5",
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
        "no node of www/web takes new clients then",
    ]


def test_what_there_is_once_is_told_key_by_key() -> None:
    before = Settings(service=Service(access_log="/a.log"), metrics=Metrics(Address("127.0.0.1", 9100)))
    after = Settings(
        service=Service(access_log_format=LogFormat.JSON),
        metrics=Metrics(Address("127.0.0.1", 9101)),
        manhole=Manhole(),
    )
    told = [
        "[service] access_log: /a.log -> nothing",
        "[service] access_log_format: combined -> json",
        "[manhole] is added",
        "[metrics] listen: 127.0.0.1:9100 -> 127.0.0.1:9101",
    ]
    assert lines(before, after) == told
    assert in_one_line(plan(before, after)) == ", ".join(told)


def test_nobody_is_missed_who_was_not_there_or_is_not_needed() -> None:
    drained = config("web", node("a", mode=Mode.DRAIN), port=80)
    redirecting = config("web", port=80, redirect=Redirect.HTTPS)
    before = settings(nodebalancer("www", drained))
    assert lines(before, before) == []
    after = settings(nodebalancer("www", redirecting))
    assert not [line for line in lines(before, after) if "new clients then" in line]
    assert lines(after, before)[-1] == "no node of www/web takes new clients then"
    backed = settings(nodebalancer("www", config("web", node("a", mode=Mode.BACKUP), port=80)))
    assert not [line for line in lines(before, backed) if "new clients then" in line]


def test_a_whole_nodebalancer_is_told_with_all_below_it() -> None:
    after = settings(nodebalancer("www", config("web", node("a"), port=80), listen=("192.0.2.9",)))
    assert lines(NOTHING, after) == [
        "[nodebalancer www] is added",
        "[config www/web] is added",
        "[nodes www/web] a is added: 192.0.2.1:8080",
        "listens on 192.0.2.9:80 for [config www/web]",
    ]
