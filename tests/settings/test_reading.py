"""A file as a whole: what it stands for, and everything that is wrong with it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodebalancer.errors import SettingsError
from nodebalancer.fields import Address
from nodebalancer.model import Node, NodeBalancer, PortConfig, Protocol, Service, Settings
from nodebalancer.settings.reading import load, read

GOOD = """\
# before what it hangs on: the order of sections is free
[nodes www/plain]
app-1 = 192.168.1.10:8080
app-2 = [2001:db8::11]:8080 weight=50 label="the new one"

[defaults]
timeout_connect = 7
timeout_client = 8

[config www/plain]
timeout_client = 9
protocol = http

[config www/raw]
port = 5432
protocol = tcp

[nodebalancer www]
label = 100% shop
listen =
    0.0.0.0
    ::
trusted_proxies = 10.0.0.0/8

[service]
grace_period = 5
"""


def problems(text: str | bytes, file: str = "f") -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load(text, file)
    return [str(problem) for problem in refused.value.problems]


def with_www(text: str) -> str:
    return f"[nodebalancer www]\n{text}"


def test_a_good_file_is_its_settings() -> None:
    plain = PortConfig(
        "plain",
        {
            "app-1": Node("app-1", Address("192.168.1.10", 8080)),
            "app-2": Node("app-2", Address("2001:db8::11", 8080), weight=50, label="the new one"),
        },
        timeout_connect=7,
        timeout_client=9,
    )
    raw = PortConfig("raw", port=5432, protocol=Protocol.TCP, timeout_connect=7, timeout_client=8)
    www = NodeBalancer(
        "www",
        {"plain": plain, "raw": raw},
        label="100% shop",
        trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"),),
    )
    assert load(GOOD, "f") == Settings({"www": www}, service=Service(grace_period=5))


def test_bytes_and_windows_line_ends_make_no_difference() -> None:
    assert load(GOOD.encode(), "f") == load(GOOD.replace("\n", "\r\n"), "f") == load(GOOD, "f")


def test_warnings_and_places_come_along() -> None:
    loaded = read(GOOD, "etc/x.ini")
    assert [str(warning) for warning in loaded.warnings] == [
        (
            "etc/x.ini:14: [config www/raw]: has no nodes, so every connection is closed at once; "
            "add a section [nodes www/raw]"
        )
    ]
    assert loaded.places.where(("config www/raw", "port")) == "etc/x.ini:15: [config www/raw] port = 5432"


@pytest.mark.parametrize("text", ["", "\n# nothing\n", "[service]\ngrace_period = 3\n"])
def test_a_file_without_a_nodebalancer_is_told_so_in_one_sentence(text: str) -> None:
    assert problems(text) == ["f: has no section [nodebalancer NAME], so there is nothing to balance; add one"]


def test_a_slip_in_the_only_header_is_not_told_twice() -> None:
    assert len(problems("[nodebalancr www]\nlabel = x\n[config www/x]\n[nodes www/x]")) == 1
    assert len(problems("[nodebalancer www\nlabel = x\n[config www/x]\n[nodes www/x]")) == 1
    assert len(problems("port = 80")) == 1


def test_a_file_that_is_not_utf8_is_one_problem() -> None:
    assert problems(b"[service]\n# gr\xfc\xdfe\n\xff") == ["f:2: byte 0xfc is not UTF-8; save the file as UTF-8"]


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
[service]
workers = 4
grace_perod = 3
[nodebalancer www]
listen = 0.0.0.0, ::, 10.0.0.300
[config www/plain]
check_timeout = 45
port: 80
[nodes www/plain]
a = 10.0.0.1:80 weight=0
[config www/plain]
[nodes www/none]
[manhole]
listen = 127.0.0.1
"""
    assert problems(text, "etc/nodebalancer.ini") == [
        "etc/nodebalancer.ini:2: [service] workers = 4: not available yet in this version; available: 1",
        "etc/nodebalancer.ini:3: [service] grace_perod = 3: unknown key; the nearest known one is grace_period",
        (
            "etc/nodebalancer.ini:5: [nodebalancer www] listen = 0.0.0.0, ::, 10.0.0.300: '10.0.0.300': not an IP "
            "address; expected an IP address such as 192.0.2.1 or 2001:db8::1"
        ),
        "etc/nodebalancer.ini:7: [config www/plain] check_timeout = 45: not between 1 and 30 seconds",
        (
            "etc/nodebalancer.ini:8: [config www/plain] port: 80: expected key = value, [section], or a comment that "
            "begins with # or ;"
        ),
        "etc/nodebalancer.ini:10: [nodes www/plain] a = 10.0.0.1:80 weight=0: weight=0: not between 1 and 255",
        "etc/nodebalancer.ini:11: [config www/plain]: this section stands in line 6 already",
        (
            "etc/nodebalancer.ini:12: [nodes www/none]: there is no section [config www/none]; add it; the nearest one "
            "there is [config www/plain]"
        ),
        (
            "etc/nodebalancer.ini:13: [manhole] authorized_keys: needs authorized_keys, the file with the public keys that "
            "may log in; without one nobody is let in"
        ),
        (
            "etc/nodebalancer.ini:14: [manhole] listen = 127.0.0.1: expected ADDRESS:PORT such as 192.0.2.1:8080 or "
            "[2001:db8::1]:8080"
        ),
    ]


def test_DEFAULT_is_refused_with_a_hint() -> None:
    assert problems(with_www("[DEFAULT]\nport = 80")) == [
        "f:2: [DEFAULT]: unknown section; what holds for every config stands in [defaults]"
    ]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("[confg www/x]", "unknown section; the nearest known one is [config NODEBALANCER/CONFIG]"),
        ("[Service]", "unknown section; the nearest known one is [service]"),
        ("[service x]", "expected [service]"),
        ("[config www]", "expected [config NODEBALANCER/CONFIG]"),
        (
            "[nodebalancer my shop]",
            (
                "'my shop' cannot be a name; expected [nodebalancer NAME], where a name is 1 to 64 of the characters "
                "A-Z a-z 0-9 _ . -"
            ),
        ),
        (
            "[nodes www/a b]",
            (
                "'a b' cannot be a name; expected [nodes NODEBALANCER/CONFIG], where a name is 1 to 64 of the characters "
                "A-Z a-z 0-9 _ . -"
            ),
        ),
    ],
)
def test_headers_that_are_refused(header: str, message: str) -> None:
    assert problems(with_www(header)) == [f"f:2: {header}: {message}"]


def test_the_keys_below_a_bad_name_are_checked_all_the_same() -> None:
    found = problems(with_www("[config www/a b]\nport = x\n[nodes www/a b]\nn = x"))
    assert [problem.partition(": ")[0] for problem in found] == ["f:2", "f:3", "f:4", "f:5"]


@pytest.mark.parametrize("word", ["api"])
def test_sections_that_are_not_built_yet_are_checked_and_refused(word: str) -> None:
    assert problems(with_www(f"[{word}]\nx = 1"))[0] == (
        f"f:2: [{word}]: not available yet in this version; leave the section out"
    )
    assert "unknown key" in problems(with_www(f"[{word}]\nx = 1"))[1]


def test_a_config_needs_its_nodebalancer_and_nodes_their_config() -> None:
    assert problems("[config a/x]\n[nodes a/y]\nn = 10.0.0.1:80\n[nodebalancer b]") == [
        "f:1: [config a/x]: there is no section [nodebalancer a]; add it; the nearest one there is [nodebalancer b]",
        "f:2: [nodes a/y]: there is no section [config a/y]; add it; the nearest one there is [config a/x]",
    ]
    assert problems("[service]\n[nodes a/y]\n[nodebalancer a]") == [
        "f:2: [nodes a/y]: there is no section [config a/y]; add it"
    ]


def test_what_hangs_below_a_section_that_has_problems_is_not_called_an_orphan() -> None:
    assert problems("[nodebalancer a]\nlisten = x\n[confg a/x]\n[config a/y\n[nodes a/x]\n[nodes a/y]") == [
        (
            "f:2: [nodebalancer a] listen = x: 'x': not an IP address; expected an IP address such as 192.0.2.1 or "
            "2001:db8::1"
        ),
        "f:3: [confg a/x]: unknown section; the nearest known one is [config NODEBALANCER/CONFIG]",
        "f:4: [config a/y: expected [section] alone on its line; comments stand on lines of their own",
    ]


def test_a_bad_default_is_told_once_at_its_own_line() -> None:
    text = with_www("[defaults]\ncheck_timeout = 45\n[config www/a]\n[config www/b]\nport = 81\ncheck_interval = 4")
    assert problems(text) == ["f:3: [defaults] check_timeout = 45: not between 1 and 30 seconds"]


def test_a_config_that_says_it_itself_does_not_suffer_from_a_bad_default() -> None:
    text = with_www("[defaults]\ncheck_timeout = 45\n[config www/a]\ncheck_timeout = 5\ncheck_interval = 4")
    assert problems(text) == [
        "f:3: [defaults] check_timeout = 45: not between 1 and 30 seconds",
        "f:5: [config www/a] check_timeout = 5: check_timeout (5) must be less than check_interval (4)",
    ]


def test_what_a_default_does_to_a_config_is_told_at_the_config() -> None:
    text = with_www("[defaults]\nport = 81\n[config www/a]\n[config www/b]")
    assert problems(text) == [
        "f:5: [config www/b] port: [config www/b] cannot listen on what [config www/a] has already: 0.0.0.0:81, [::]:81"
    ]


@pytest.mark.parametrize(
    "slip",
    ["port = 8O", "prt = 81", "port 81", "port = 81\0", "label\n  port = 81", "algorithm = roundrobin\n  port = 81"],
)
def test_what_only_follows_from_a_slip_is_not_told(slip: str) -> None:
    """The second config stands on port 80 only because its port could not be read."""
    found = problems(with_www(f"[config www/a]\n[config www/b]\n{slip}"))
    assert not [problem for problem in found if "taken" in problem]


def test_a_slip_in_the_defaults_makes_the_configs_doubtful() -> None:
    assert len(problems(with_www("[defaults]\ncheck_intervall = 9\n[config www/a]\ncheck_timeout = 12"))) == 1


def test_settings_that_do_not_go_together_are_told_beside_values_that_are_wrong() -> None:
    text = with_www("[config www/a]\nalgorithm = x\n[nodes www/a]\na = 127.0.0.1:80\nb = 0.0.0.0:1")
    assert [problem.partition(": ")[0] for problem in problems(text)] == ["f:3", "f:5", "f:6"]


def test_of_a_section_that_stands_twice_both_are_checked() -> None:
    found = problems(
        with_www("[config www/a]\nport = x\n[config www/a]\nport = y\n[nodes www/a]\n[nodes www/a]\nn = x")
    )
    assert [problem.partition(": ")[0] for problem in found] == ["f:3", "f:4", "f:5", "f:7", "f:8"]


WORDS = [
    "service",
    "manhole",
    "metrics",
    "api",
    "defaults",
    "nodebalancer",
    "config",
    "nodes",
    "firewall",
    "DEFAULT",
    "x",
]
HEADERS = st.builds("[{} {}]".format, st.sampled_from(WORDS), st.sampled_from(["", "a", "a/b", "a/b/c", "ü", "a b"]))
KEYS = st.sampled_from(
    ["workers", "listen", "port", "protocol", "check_timeout", "label", "inbound", "authorized_keys", "n-1", "zzz"]
)
VALUES = st.sampled_from(
    ["1", "80", "tcp", "http", "https", "::,0.0.0.0", "127.0.0.1:80", "[::]:1", "-1", "%(x)s"]
) | st.text(max_size=12)
SETTINGS_LINES = st.one_of(HEADERS, st.builds("{} = {}".format, KEYS, VALUES), st.text(max_size=12), st.just("  more"))


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), st.binary(), st.lists(SETTINGS_LINES, max_size=25).map("\n".join)))
def test_any_file_loads_or_is_told_what_is_wrong_with_it(text: str | bytes) -> None:
    try:
        told = list(map(str, read(text, "f").warnings))
    except SettingsError as e:
        told = list(map(str, e.problems)) or ["\0"]
    assert all(map(str.isprintable, told))


def test_a_thousand_nodes_are_all_there() -> None:
    lines = (f"n{i} = 10.0.{i // 250}.{i % 250}:80 weight={i % 255 + 1}\n" for i in range(1000))
    loaded = load(with_www("[config www/a]\n[nodes www/a]\n") + "".join(lines), "f")
    assert len(loaded.nodebalancers["www"].configs["a"].nodes) == 1000
