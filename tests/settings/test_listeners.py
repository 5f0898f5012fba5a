"""Who listens where."""

from __future__ import annotations

import pytest

from nodebalancer.fields import Address
from nodebalancer.model import Api, Manhole, Metrics, Node, NodeBalancer, PortConfig, Protocol, Settings
from nodebalancer.settings.listeners import OwnListeners, listener_findings


def found(*nodebalancers: NodeBalancer, **others: Manhole | Metrics | Api) -> list[tuple[str, str, str]]:
    settings = Settings({nb.name: nb for nb in nodebalancers}, **others)  # type: ignore[arg-type]
    return [(*finding.spots[0], finding.message) for finding in listener_findings(settings)]


def balancer(
    name: str, listen: str, *ports: int, protocol: Protocol = Protocol.HTTP, node: Address | None = None
) -> NodeBalancer:
    """A NodeBalancer with a config ``c0``, ``c1`` … for each port, each with the node ``n`` if one is given."""
    nodes = {"n": Node("n", node)} if node else {}
    configs = {f"c{i}": PortConfig(f"c{i}", nodes, port=port, protocol=protocol) for i, port in enumerate(ports)}
    return NodeBalancer(name, configs, listen=tuple(listen.split()))


def test_two_configs_of_one_nodebalancer_cannot_have_one_port() -> None:
    """Told once, with all the addresses they share."""
    assert found(balancer("a", "0.0.0.0 ::", 80, 81, 80)) == [
        ("config a/c2", "port", "[config a/c2] cannot listen on what [config a/c0] has already: 0.0.0.0:80, [::]:80")
    ]


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1:80"),
        ("192.0.2.9 192.0.2.1", "192.0.2.1", "192.0.2.1:80"),
        ("0.0.0.0", "192.0.2.1", "192.0.2.1:80 (it listens on 0.0.0.0:80)"),
        ("192.0.2.1", "0.0.0.0", "0.0.0.0:80 (it listens on 192.0.2.1:80)"),
        ("::", "2001:db8::1", "[2001:db8::1]:80 (it listens on [::]:80)"),
        ("2001:db8::1", "::", "[::]:80 (it listens on [2001:db8::1]:80)"),
    ],
)
def test_listeners_that_overlap(first: str, second: str, taken: str) -> None:
    """A wildcard overlaps with every address of its family."""
    assert found(balancer("a", first, 80), balancer("b", second, 80)) == [
        ("config b/c0", "port", f"[config b/c0] cannot listen on what [config a/c0] has already: {taken}")
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [("0.0.0.0", "::"), ("::", "0.0.0.0"), ("192.0.2.1", "192.0.2.2"), ("0.0.0.0", "2001:db8::1"), ("192.0.2.1", "::")],
)
def test_listeners_that_do_not_overlap(first: str, second: str) -> None:
    assert found(balancer("a", first, 80), balancer("b", second, 80)) == []
    assert found(balancer("a", first, 80), balancer("b", first, 81)) == []


def test_tcp_and_udp_may_have_one_port() -> None:
    assert found(balancer("a", "::", 53, protocol=Protocol.TCP), balancer("b", "::", 53, protocol=Protocol.UDP)) == []


def test_three_configs_on_one_port_are_two_problems() -> None:
    assert [spot for spot, _, _ in found(balancer("a", "::", 80, 80, 80))] == ["config a/c1", "config a/c2"]


def test_an_address_beside_its_wildcard_is_told_at_the_list_and_not_at_each_config() -> None:
    assert found(balancer("a", "192.0.2.1 0.0.0.0 ::", 80, 81)) == [
        ("nodebalancer a", "listen", "0.0.0.0 stands for all addresses of its family, 192.0.2.1 among them; drop one")
    ]


def test_the_shell_metrics_and_the_api_listen_too() -> None:
    assert found(
        balancer("a", "0.0.0.0", 9100),
        manhole=Manhole(Address("127.0.0.1", 7)),
        metrics=Metrics(Address("127.0.0.1", 9100)),
        api=Api(Address("127.0.0.1", 7)),
    ) == [
        ("api", "listen", "[api] cannot listen on what [manhole] has already: 127.0.0.1:7"),
        (
            "config a/c0",
            "port",
            "[config a/c0] cannot listen on what [metrics] has already: 0.0.0.0:9100 (it listens on 127.0.0.1:9100)",
        ),
    ]


@pytest.mark.parametrize(
    ("listen", "node"),
    [
        ("0.0.0.0", Address("127.0.0.1", 80)),
        ("127.0.0.1", Address("127.0.0.1", 80)),
        ("192.0.2.1", Address("192.0.2.1", 80)),
        ("::", Address("::1", 80)),
        ("0.0.0.0", Address("127.9.9.9", 80)),
    ],
)
def test_a_node_that_is_our_own_listener_is_refused(listen: str, node: Address) -> None:
    assert found(balancer("a", listen, 80, node=node)) == [
        ("nodes a/c0", "n", f"{node} is our own listener, [config a/c0]; connections would go in circles")
    ]


def test_a_node_may_be_the_listener_of_another_nodebalancer_of_ours_no_more_than_of_its_own() -> None:
    """An address that one NodeBalancer listens on is this machine's, so another one's wildcard has it too."""
    findings = found(balancer("a", "0.0.0.0", 80), balancer("b", "192.0.2.1", 81, node=Address("192.0.2.1", 80)))
    assert [finding[:2] for finding in findings] == [("nodes b/c0", "n")]


@pytest.mark.parametrize(
    ("listen", "node"),
    [
        ("0.0.0.0", Address("192.0.2.7", 80)),
        ("0.0.0.0", Address("127.0.0.1", 81)),
        ("127.0.0.1", Address("127.0.0.2", 80)),
        ("0.0.0.0", Address("::1", 80)),
        ("0.0.0.0", Address("0.0.0.0", 80)),
    ],
)
def test_nodes_that_are_somebody_else(listen: str, node: Address) -> None:
    """As far as it can be seen without asking the machine; a wildcard as a node is another check's."""
    assert found(balancer("a", listen, 80, node=node)) == []


def test_udp_nodes_are_not_tcp_listeners() -> None:
    assert (
        found(
            balancer("a", "127.0.0.1", 80),
            balancer("b", "127.0.0.1", 81, protocol=Protocol.UDP, node=Address("127.0.0.1", 80)),
        )
        == []
    )


@pytest.mark.parametrize(
    ("address", "section"),
    [
        (Address("127.0.0.1", 80), "config a/c0"),
        (Address("192.0.2.7", 80), "config a/c0"),
        (Address("192.0.2.7", 81), None),
        (Address("192.0.2.8", 80), None),
        (Address("0.0.0.0", 80), None),
        (Address("::1", 80), None),
    ],
    ids=str,
)
def test_an_address_found_out_later_may_be_a_listener_of_ours(address: Address, section: str | None) -> None:
    """A wildcard listens on what is this machine's, which is for the caller to know."""
    a = balancer("a", "0.0.0.0", 80)
    claim = OwnListeners(Settings({"a": a})).at("tcp", address, lambda host: host == "192.0.2.7")
    assert (claim.section if claim else None) == section


def test_an_address_that_is_listened_on_by_itself_is_ours() -> None:
    claim = OwnListeners(Settings({"a": balancer("a", "192.0.2.7", 80)})).at("tcp", Address("192.0.2.7", 80))
    assert claim is not None


def test_a_name_is_nobody_before_it_is_resolved() -> None:
    assert found(balancer("a", "0.0.0.0", 80, node=Address("localhost", 80))) == []
