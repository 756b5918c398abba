"""Alerts, dashboard and runbook are consistent, and use metrics that a real server exports."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import httpx
import promql_parser
import psycopg
import pytest
import sqlalchemy as sa
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bookstore.database.url import conninfo

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "deploy/prometheus"
GRAFANA: Final = ROOT / "deploy/grafana"
RUNBOOK: Final = (ROOT / "docs/runbook.md").read_text()
DASHBOARD: Final = json.loads((GRAFANA / "dashboards/bookstore.json").read_text())
JOB: Final = "bookstore"

PROMETHEUS_OWN: Final = {"up": {"job", "instance"}}
TARGET: Final = {"job", "instance"}
"""The labels that Prometheus adds to every series."""


def alerts() -> list[Any]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[Any]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each PromQL query."""
    for alert in alerts():
        yield alert["alert"], alert["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if match := re.fullmatch(r"label_values\((.*), (\w+)\)", variable.get("definition", "")):
            yield f"${variable['name']}", f"count by ({match[2]}) ({match[1]})"
    for place, block in enumerate(re.findall(r"```promql\n(.*?)```", RUNBOOK, re.DOTALL)):
        yield f"runbook {place}", block


def fill_in(query: str) -> str:
    """Replace Grafana's variables in a query."""
    for name in ("__rate_interval", "__range", "__interval"):
        query = query.replace(f"${name}", "5m")
    return re.sub(r"\$\{?[a-z]\w*\}?", "1", query)


QUERIES: Final = {where: fill_in(query) for where, query in queries()}


@pytest.fixture(scope="module")
def exported(
    own_database: Callable[..., AbstractContextManager[sa.URL]], deployed: Callable[..., AbstractContextManager[str]]
) -> dict[str, set[str]]:
    """The labels of each metric that a real server exports, with Prometheus' own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with own_database() as url, deployed(url, BOOKSTORE_METRICS_PORT=str(port)):
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text  # the probes of `deployed` are its requests
    labels_by_name: dict[str, set[str]] = {name: set(labels) for name, labels in PROMETHEUS_OWN.items()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels_by_name.setdefault(sample.name, set(TARGET)).update(sample.labels)
    return labels_by_name


def nodes(query: str) -> list[Any]:
    visited: list[Any] = []
    promql_parser.walk(promql_parser.parse(query), visited.append)
    return visited


@pytest.mark.parametrize("where", QUERIES)
def test_queries_use_exported_metrics(where: str, exported: dict[str, set[str]]) -> None:
    """Every query of alerts, dashboard and runbook parses, and its metrics and labels are exported."""
    query_nodes = nodes(QUERIES[where])
    selectors = [node for node in query_nodes if isinstance(node, promql_parser.VectorSelector)]
    assert selectors
    known: set[str] = set()
    for selector in selectors:
        assert selector.name in exported, selector
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= exported[selector.name], selector
        known |= exported[selector.name]
    for node in query_nodes:
        if isinstance(node, promql_parser.AggregateExpr):
            assert set(node.modifier.labels if node.modifier else []) <= known, where
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            assert set(node.modifier.matching.labels) <= known, where


def test_unknown_metrics_are_detected(exported: dict[str, set[str]]) -> None:
    """An unknown metric or label is not among the exported ones."""
    assert "bookstore_requests_total" in exported
    assert "bookstore_made_up_total" not in exported
    assert "route" not in exported["bookstore_requests_in_flight"]
    with pytest.raises(ValueError, match="parenthesis"):
        nodes("sum(up")


def test_alerts_and_runbook() -> None:
    """Each alert links to its section of the runbook, each section has an alert, and each alert has a severity, a
    summary and a description."""
    chapter = RUNBOOK.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    sections = re.findall(r"^### (\w+)$", chapter, re.MULTILINE)
    assert [alert["alert"] for alert in alerts()] == sections
    for alert in alerts():
        assert alert["labels"]["severity"] in {"critical", "warning"}
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page).read_text() == RUNBOOK
        assert anchor == alert["alert"].lower()
    for section in chapter.split("\n### ")[1:]:
        for part in ("**Users", "**Look**", "**Do**", "**No trouble**"):
            assert section.count(part) == 1 or "**Look** and **do**" in section, section.splitlines()[0]


def test_links_in_the_runbook() -> None:
    """Every link within the runbook has a heading."""
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-")
        for line in re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", RUNBOOK)
    assert links
    assert set(links) <= headings


def test_sql_in_the_runbook(url: sa.URL) -> None:
    """Every SQL statement of the runbook runs, with 0 for PID."""
    blocks = re.findall(r"```sql\n(.*?)```", RUNBOOK, re.DOTALL)
    assert len(blocks) > 5
    with psycopg.connect(conninfo(url), autocommit=True) as connection:
        for block in blocks:
            assert connection.execute(block.replace("PID", "0").encode()).description


def test_dashboard() -> None:
    """Panels have unique IDs, do not overlap, and have queries and a description. All queries filter by the dashboard's
    variables: profile, server and worker."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        taken = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        cells |= taken
    for panel in panels():
        assert panel["targets"], panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        for target in panel["targets"]:
            selectors = target["expr"].count("bookstore_")
            assert target["expr"].count('instance=~"$instance"') == selectors, panel["title"]
            infos = len(re.findall(r"bookstore_(?:build|profile|schema)_info", target["expr"]))
            assert target["expr"].count('worker=~"$worker"') == selectors - infos, panel["title"]
    names = [variable["name"] for variable in DASHBOARD["templating"]["list"]]
    assert names == ["datasource", "profile", "instance", "worker"]


def test_dashboard_is_complete(exported: dict[str, set[str]]) -> None:
    """The dashboard shows every metric that a server exports."""
    queried = {
        node.name
        for query in QUERIES.values()
        for node in nodes(query)
        if isinstance(node, promql_parser.VectorSelector) and node.name
    }
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in queried}
    # These two are the sums of the histograms of wait and hold times, which are shown.
    assert families - shown == {"bookstore_pool_requests_wait_ms_total", "bookstore_pool_usage_ms_total"}


def test_provisioning() -> None:
    """Grafana's provisioning has the address of Prometheus in compose and the folder of the dashboard, and Prometheus
    scrapes the job that the alerts refer to."""
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/bookstore.yaml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    (job,) = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())["scrape_configs"]
    assert job["job_name"] == JOB
    assert f'job="{JOB}"' in QUERIES["ServiceDown"]


def test_every_alert_has_a_test() -> None:
    """alerts_test.yaml has, for each alert, a server that makes it fire and one that does not."""
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yaml").read_text())["tests"]
    assert [test["name"] for test in tests] == [alert["alert"] for alert in alerts()]
    for test in tests:
        (rule,) = test["alert_rule_test"]
        assert rule["alertname"] == test["name"]
        fired = {alert["exp_labels"]["instance"] for alert in rule["exp_alerts"]}
        instances = {
            match for series in test["input_series"] for match in re.findall(r'instance="([^"]+)"', series["series"])
        }
        assert fired == {"bad:9400"}
        assert instances == {"bad:9400", "good:9400"}


@pytest.mark.parametrize(
    "arguments", [("check", "config", "prometheus.yaml"), ("check", "rules", "alerts.yaml"),
                  ("test", "rules", "alerts_test.yaml")], ids=" ".join
)  # fmt: skip
def test_promtool(arguments: tuple[str, ...]) -> None:
    """promtool accepts the configuration and the rules, and each alert fires only when it should."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (part of Prometheus) is not on the PATH")
    done = subprocess.run([promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
