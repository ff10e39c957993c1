"""The dashboard and the alerts name metrics that exist, in queries that Prometheus understands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from .conftest import TEMPLATE, run
from .promises import generated  # noqa: F401 - renders the package `promised`

DEPLOY = TEMPLATE / "{{cookiecutter.project_slug}}" / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]


def metrics() -> dict[str, set[str]]:
    """The metrics of the app: the names of their samples by the name of the metric."""
    from promised.metrics import Metrics

    samples = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
    return {
        family.name: {family.name + ending for ending in samples[family.type]}
        for family in Metrics().registry.collect()
    }


def named(queries: list[str]) -> set[str]:
    return set(re.findall(r"\bapp_\w+", " ".join(queries)))


@pytest.mark.parametrize("queries", [QUERIES, [rule["expr"] for rule in RULES]])
def test_only_metrics_that_exist_are_asked_for(queries: list[str]) -> None:
    assert named(queries) <= set.union(*metrics().values())


def test_the_dashboard_shows_every_metric() -> None:
    shown = named(QUERIES)
    assert [name for name, samples in metrics().items() if not samples & shown] == []


def test_every_label_that_is_asked_for_is_one_of_the_metrics() -> None:
    from promised.metrics import Metrics

    counted = Metrics()
    known = {
        label for metric in vars(counted).values() for label in getattr(metric, "_labelnames", ())
    }
    asked = set(re.findall(r"(\w+)=~?\"", " ".join(QUERIES))) - {"job"}
    asked |= {
        label.strip()
        for labels in re.findall(r"by \(([^)]*)\)", " ".join(QUERIES))
        for label in labels.split(",")
    } - {"le"}
    assert asked <= known


def test_prometheus_understands_the_alerts_and_the_queries(tmp_path: Path) -> None:
    rules = [
        {"record": f"query_{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(QUERIES)
    ]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool = "promtool"
    for path in (file, DEPLOY / "alerts.yaml"):
        done = run(promtool, "check", "rules", path, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (
        f"{len(QUERIES)} rules found" in run(promtool, "check", "rules", file, cwd=tmp_path).stdout
    )


def test_the_dashboard_is_one_that_grafana_reads_whole() -> None:
    """What Grafana's own models do not know would be missing after the round trip."""
    plugins.register_default_plugins()
    assert missing(DASHBOARD, round_trip(DASHBOARD)) == []
    broken = json.loads(json.dumps(DASHBOARD))
    broken["panels"][0]["gridPosition"] = {}
    assert missing(broken, round_trip(broken)) == ["panels[0].gridPosition"]


def round_trip(dashboard: Any) -> Any:
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def missing(given: Any, read: Any, where: str = "") -> list[str]:
    if isinstance(given, dict):
        return [
            path
            for name, value in given.items()
            for path in (
                missing(value, read[name], f"{where}.{name}".lstrip("."))
                if name in read
                else [f"{where}.{name}".lstrip(".")]
            )
        ]
    if isinstance(given, list) and len(given) == len(read):
        return [
            path
            for number, (one, other) in enumerate(zip(given, read, strict=True))
            for path in missing(one, other, f"{where}[{number}]")
        ]
    return [] if given == read else [where]


def test_no_two_panels_lie_on_each_other() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert all(x < 24 for x, _ in cells)


def test_every_alert_says_what_it_means_and_how_bad_it_is() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert rule["annotations"]["summary"]
