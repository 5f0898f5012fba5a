"""What is shipped for Prometheus and Grafana names metrics that there are, in queries that can be read."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodebalancer.control.metrics.names import FAMILIES, Family
from nodebalancer.testing.nodes import HANG_SECONDS

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "etc/grafana-dashboard.json").read_text())
ALERTS = ROOT / "etc/prometheus-alerts.yml"
LISTED: dict[str, Family] = {family.name: family for families in FAMILIES.values() for family in families}

NOT_SHOWN = {"process_virtual_memory_bytes": "says nothing on a system of 64 bits"}
"""Metrics that no panel shows, and why."""


def queries() -> Iterator[str]:
    """Every query of the dashboard."""
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"].removeprefix("label_values(").rpartition(",")[0]


def metrics_in(text: str) -> set[str]:
    """The metrics that a query reads, as they are listed."""
    found = re.findall(r"\b(?:nodebalancer|process)_[a-z_]+\b", text)
    return {name if name in LISTED else re.sub("_(bucket|sum|count)$", "", name) for name in found}


def without_variables(query: str) -> str:
    """A query as Grafana would send it."""
    return re.sub(r"\$[a-z]+", ".*", query.replace("$__rate_interval", "5m"))


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_shows_metrics_that_there_are_and_all_of_them() -> None:
    shown = set().union(*map(metrics_in, queries()))
    assert shown - LISTED.keys() == set()
    assert LISTED.keys() - shown == NOT_SHOWN.keys()


def test_alerts_are_about_metrics_that_there_are() -> None:
    named = metrics_in(ALERTS.read_text())
    assert len(named) > 10
    assert named - LISTED.keys() == set()


def test_labels_in_queries_and_legends_are_those_of_the_metrics() -> None:
    theirs = {label for family in LISTED.values() for label in family.labels} | {"le", "instance"}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            told = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            by = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            assert told | by <= theirs
            if by:
                assert told <= by, target


def test_panels_do_not_overlap_and_each_says_what_it_shows() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["title"]
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_the_dashboard_is_for_any_data_source_balancer_and_config() -> None:
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource", "instance", "nodebalancer", "config"}
    sources = {json.dumps(panel["datasource"]) for panel in DASHBOARD["panels"] if panel["type"] != "row"}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}


@pytest.mark.integration
def test_alerts_can_be_loaded() -> None:
    promtool("check", "rules", str(ALERTS))


@pytest.mark.integration
def test_every_query_of_the_dashboard_can_be_read(tmp_path: Path) -> None:
    rules = [{"record": f"query:{n}", "expr": without_variables(query)} for n, query in enumerate(queries())]
    file = tmp_path / "queries.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", str(file))


def reference() -> Any:
    spec = importlib.util.spec_from_file_location("metrics_reference", ROOT / "docs/_ext/metrics_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_metric_is_in_the_docs() -> None:
    text = reference().metrics_text()
    assert [name for name in LISTED if f"   * - ``{name}``\n" not in text] == []
    assert ".. metrics::\n" in (ROOT / "docs/metrics.rst").read_text()


def test_the_alerts_that_the_docs_tell_of_are_those_that_are_shipped() -> None:
    shipped = re.findall(r"- alert: (\w+)", ALERTS.read_text())
    _, _, rest = (ROOT / "docs/metrics.rst").read_text().partition("``etc/prometheus-alerts.yml``")
    told = re.findall(r"^``(\w+)`` ", rest.partition("\nGrafana\n")[0], re.MULTILINE)
    assert sorted(told) == sorted(shipped)
