"""Figures of counters that were filled by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nodebalancer.balancing.outcome import Outcome
from nodebalancer.balancing.pool import Status
from nodebalancer.control.last_good import LastGood
from nodebalancer.control.manhole.views import look_at
from nodebalancer.control.metrics import names
from nodebalancer.control.metrics.collector import Figures
from nodebalancer.control.metrics.process_figures import ProcessFigures
from nodebalancer.control.plane import ControlPlane
from nodebalancer.control.reload import Reloader
from nodebalancer.control.settings_file import SettingsFile
from nodebalancer.model import Mode, Protocol

MAIN = {"config": "main", "nodebalancer": "www"}
N1 = {"config": "main", "node": "n1", "nodebalancer": "www"}


ENDED = "nodebalancer_config_connections_ended_total"


def series(name: str, labels: dict[str, str] | None = None, **more: str) -> str:
    """The key of a series, whatever the order of its labels."""
    return f"{name}{dict(sorted({**(labels or {}), **more}.items())) or ''}"


def of_family(read: dict[str, float], name: str) -> dict[str, float]:
    return {key: value for key, value in read.items() if key.startswith((f"{name}{{", f"{name}_")) or key == name}


def test_the_counters_of_a_config(figured: Any) -> None:
    counters = figured.lb.live.counters
    counters.open, counters.total = 3, 10
    counters.bytes_in, counters.bytes_out = 400, 5000
    counters.outcomes[Outcome.SERVED], counters.outcomes[Outcome.CLIENT_LEFT] = 6, 1
    counters.responses[0], counters.responses[2], counters.responses[5] = 1, 5, 2
    counters.refused_by_rule['a rule "with" \\ marks'] = 4
    for seconds in (0.0001, 0.003, 0.003, 500.0):
        counters.lasted.note(seconds)
    read = figured.read()
    assert read[series("nodebalancer_config_connections_open", MAIN)] == 3
    assert read[series("nodebalancer_config_connections_total", MAIN)] == 10
    assert read[series("nodebalancer_config_received_bytes_total", MAIN)] == 400
    assert read[series("nodebalancer_config_sent_bytes_total", MAIN)] == 5000
    ended = of_family(read, "nodebalancer_config_connections_ended_total")
    assert len(ended) == len(Outcome)
    assert ended[series("nodebalancer_config_connections_ended_total", MAIN, outcome="served")] == 6
    assert ended[series("nodebalancer_config_connections_ended_total", MAIN, outcome="client_left")] == 1
    responses = of_family(read, "nodebalancer_config_responses_total")
    assert list(responses.values()) == [0, 5, 0, 0, 2]
    assert responses[series("nodebalancer_config_responses_total", MAIN, **{"class": "5xx"})] == 2
    refused = of_family(read, "nodebalancer_config_refused_messages_total")
    assert refused == {series("nodebalancer_config_refused_messages_total", MAIN, rule='a rule "with" \\ marks'): 4}
    duration = "nodebalancer_config_connection_duration_seconds"
    assert read[series(f"{duration}_bucket", MAIN, le="0.0005")] == 1
    assert read[series(f"{duration}_bucket", MAIN, le="0.002")] == 1
    assert read[series(f"{duration}_bucket", MAIN, le="0.004")] == 3
    assert read[series(f"{duration}_bucket", MAIN, le="131.072")] == 3
    assert read[series(f"{duration}_bucket", MAIN, le="+Inf")] == read[series(f"{duration}_count", MAIN)] == 4
    assert read[series(f"{duration}_sum", MAIN)] == pytest.approx(500.0061)


def test_the_counters_of_a_node(figured: Any) -> None:
    member = figured.lb.live.pool.members["n1"]
    member.open, member.picks, member.bytes_in, member.bytes_out, member.flaps = 2, 9, 70, 800, 3
    member.outcomes[Outcome.CONNECT_FAILED] = 5
    member.responses[3] = 4
    member.connecting.note(0.01)
    member.answering.note(2.5)
    read = figured.read()
    assert read[series("nodebalancer_node_connections_open", N1)] == 2
    assert read[series("nodebalancer_node_picks_total", N1)] == 9
    assert read[series("nodebalancer_node_received_bytes_total", N1)] == 70
    assert read[series("nodebalancer_node_sent_bytes_total", N1)] == 800
    assert read[series("nodebalancer_node_status_changes_total", N1)] == 3
    assert read[series("nodebalancer_node_picks_ended_total", N1, outcome="connect_failed")] == 5
    assert read[series("nodebalancer_node_responses_total", N1, **{"class": "3xx"})] == 4
    assert read[series("nodebalancer_node_connect_duration_seconds_bucket", N1, le="0.008")] == 0
    assert read[series("nodebalancer_node_connect_duration_seconds_bucket", N1, le="0.016")] == 1
    assert read[series("nodebalancer_node_response_duration_seconds_sum", N1)] == 2.5
    assert read[series("nodebalancer_node_picks_total", {**N1, "node": "n2"})] == 0


@pytest.mark.parametrize(
    ("status", "mode", "up", "shown"),
    [
        (Status.UNKNOWN, Mode.ACCEPT, 0, "Unknown"),
        (Status.UP, Mode.DRAIN, 1, "UP"),
        (Status.DOWN, Mode.BACKUP, 0, "DOWN"),
        (Status.UP, Mode.REJECT, 0, "DOWN"),
    ],
)
def test_status_and_mode_of_a_node_are_what_is_shown_elsewhere(
    figured: Any, status: Status, mode: Mode, up: int, shown: str
) -> None:
    pool = figured.lb.live.pool
    pool.set_status(pool.members["n1"], status, "so it is", 1234.5)
    figured.lb.change_nodes(n1={"mode": mode, "weight": 50})
    pool.members["n1"].status = status  # a node that is accepted anew begins anew
    read = figured.read()
    assert read[series("nodebalancer_node_up", N1)] == up
    statuses = {each: read[series("nodebalancer_node_status", N1, status=each)] for each in names.STATUSES}
    assert statuses == {each: float(each == shown) for each in ("UP", "DOWN", "Unknown")}
    modes = {each: read[series("nodebalancer_node_mode", N1, mode=each)] for each in names.MODES}
    assert modes == {each: float(each == mode.value) for each in ("accept", "reject", "drain", "backup")}
    assert read[series("nodebalancer_node_weight", N1)] == 50
    assert read[series("nodebalancer_node_status_change_timestamp_seconds", N1)] == pool.members["n1"].since


def test_the_counters_of_a_nodebalancer(figured: Any) -> None:
    gate = figured.lb.live.gate
    gate.open, gate.limit, gate.firewalled, gate.pushed_out, gate.times_full = 1, 2, 3, 4, 5
    gate.throttle.refused, gate.counts.refused = 6, 7
    read = figured.read()
    at = {"nodebalancer": "www"}
    told = [
        read[series(f"nodebalancer_{name}", at)]
        for name in ("connections_open", "connections_limit", "firewalled_total", "pushed_out_total")
    ]
    assert told == [1, 2, 3, 4]
    told = [
        read[series(f"nodebalancer_{name}", at)]
        for name in ("accepting_pauses_total", "throttled_total", "crowded_total")
    ]
    assert told == [5, 6, 7]


def test_what_concerns_the_process(figured: Any) -> None:
    figured.sources.events.count = 11
    figured.lag.start()
    figured.clock.advance(0.25)
    read = figured.read()
    assert read[series("nodebalancer_status_changes_total")] == 11
    assert read[series("nodebalancer_access_log_lost_lines_total")] == 7
    assert read[series("nodebalancer_event_loop_lag_seconds_count")] == 1
    [build] = of_family(read, "nodebalancer_build_info")
    assert "'engine': 'memory'" in build
    expiry = "nodebalancer_certificate_expiry_timestamp_seconds"
    assert of_family(read, expiry) == {
        series(expiry, {"config": "secure", "file": "www.pem", "nodebalancer": "www"}): 1.8e9
    }
    assert read["process_resident_memory_bytes"] > 1e6
    assert read["process_open_fds"] >= 3
    assert [key for key in read if key.startswith("python_gc_collections_total")] != []
    assert not of_family(read, "nodebalancer_settings_last_reload_successful")


def reloader(directory: Path) -> Reloader:
    """One that has had good days and a bad one, and whose file has gone."""
    reloader = Reloader(SettingsFile(str(directory / "gone.ini")), ControlPlane(()), LastGood())
    reloader.succeeded, reloader.succeeded_at = False, 1.7e9
    reloader.count.update({True: 2, False: 1})
    return reloader


def test_reloads(figured: Any, tmp_path: Path) -> None:
    figured.sources.reloader = reloader(tmp_path)
    read = figured.read()
    assert read["nodebalancer_settings_last_reload_successful"] == 0
    assert read["nodebalancer_settings_last_reload_success_timestamp_seconds"] == 1.7e9
    assert read[series("nodebalancer_settings_reloads_total", result="success")] == 2
    assert read[series("nodebalancer_settings_reloads_total", result="failure")] == 1
    assert read["nodebalancer_settings_file_differs"] == 1


def test_every_metric_in_the_list_is_told_and_no_other_of_ours(figured: Any, tmp_path: Path) -> None:
    figured.sources.reloader = reloader(tmp_path)
    figured.lb.live.counters.refused_by_rule["some"] = 1
    listed = {family.name for families in names.FAMILIES.values() for family in families}
    told = {
        metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
        for metric in figured.figures.collect()
    }
    assert {name for name in told if not name.startswith("python_")} == listed
    defined = {value.name for value in vars(names).values() if isinstance(value, names.Family)}
    assert defined == listed


def test_a_tcp_config_has_no_figures_of_http(figured_with: Any) -> None:
    told = {metric.name for metric in figured_with(Protocol.TCP, 1).figures.collect()}
    http = {family.name for families in names.FAMILIES.values() for family in families if family.http}
    assert len(http) == 4
    assert {name for name in http if name.removesuffix("_total") in told} == set()


def test_counters_stay_over_reloads_and_nodes_that_have_gone_are_told_no_more(figured: Any) -> None:
    figured.lb.live.pool.members["n1"].picks = 5
    figured.lb.live.counters.total = 5
    figured.lb.change(nodes={"n1": figured.lb.live.wanted.nodes["n1"]})
    read = figured.read()
    assert read[series("nodebalancer_node_picks_total", N1)] == 5
    assert read[series("nodebalancer_config_connections_total", MAIN)] == 5
    assert series("nodebalancer_node_picks_total", {**N1, "node": "n2"}) not in read


def test_a_reload_between_two_pieces_brings_no_series_twice_and_none_without_its_siblings(figured: Any) -> None:
    pieces = figured.figures.pieces(1)
    told = [next(pieces) for _ in range(4)]
    figured.lb.change(nodes={"n1": figured.lb.live.wanted.nodes["n1"]})
    told += list(pieces)
    keys = [(sample.name, *sorted(sample.labels.items())) for piece in told if piece for sample in piece.samples]
    assert len(keys) == len(set(keys))
    assert len([key for key in keys if key[0] == "nodebalancer_node_up"]) == 2


def test_pieces_are_small_and_those_of_one_metric_stand_together(figured_with: Any) -> None:
    """By counting, so that a busy machine is no fault."""
    figured = figured_with(Protocol.HTTP, 4)
    pieces = [piece for piece in figured.figures.pieces(10) if piece is not None]
    assert max(len(piece.samples) for piece in pieces) <= 10 + 22
    order = [piece.name for piece in pieces]
    assert [name for number, name in enumerate(order) if name in order[:number] and order[number - 1] != name] == []
    whole = {metric.name: metric.samples for metric in figured.figures.collect()}
    together: dict[str, list[Any]] = {}
    for piece in pieces:
        together.setdefault(piece.name, []).extend(piece.samples)
    names_only = {name: [(s.name, s.labels) for s in samples] for name, samples in together.items()}
    assert names_only == {name: [(s.name, s.labels) for s in samples] for name, samples in whole.items()}


def test_there_is_time_for_a_break_while_descriptors_are_counted(figured: Any, tmp_path: Path) -> None:
    (tmp_path / "fd").mkdir()
    for number in range(450):
        (tmp_path / "fd" / str(number)).touch()

    class Old(ProcessFigures):
        def told_descriptors(self) -> int:
            return 0

    figures = Figures(figured.sources, figured.lag, Old(tmp_path))
    pieces = list(figures.pieces(100))
    assert pieces.count(None) == 2
    [counted] = [piece for piece in pieces if piece is not None and piece.name == "process_open_fds"]
    assert [sample.value for sample in counted.samples] == [450]
    told = {piece.name for piece in pieces if piece is not None}
    assert "process_resident_memory_bytes" not in told


def test_the_shell_and_metrics_agree(figured: Any) -> None:
    lb = figured.lb
    for _ in range(3):
        lb.client(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    for node in (lb.node(1), lb.node(2)):
        node.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    lb.client(b"no request\r\n\r\n").close()
    lb.pump()
    read = figured.read()
    [config] = look_at(lb.listeners)
    assert config.total == read[series("nodebalancer_config_connections_total", MAIN)] == 4
    assert config.open == read[series("nodebalancer_config_connections_open", MAIN)] == 1
    assert config.bytes_out == read[series("nodebalancer_config_sent_bytes_total", MAIN)] > 0
    ended = of_family(read, "nodebalancer_config_connections_ended_total")
    assert config.unserved == sum(ended.values()) - ended[series(ENDED, MAIN, outcome="served")] == 1
    for node in config.nodes:
        at = {**MAIN, "node": node.path.rpartition("/")[2]}
        assert node.total == read[series("nodebalancer_node_picks_total", at)] > 0
        assert node.open == read[series("nodebalancer_node_connections_open", at)]
        assert node.flaps == read[series("nodebalancer_node_status_changes_total", at)]
        assert read[series("nodebalancer_node_status", at, status=node.status.value)] == 1
