"""The document, the dashboard and the alerts name the metrics that are exposed, and only those."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector

from arith_shared import stack
from arith_shared.ledger.plan import STAGES
from arith_shared.metrics.ledger import LedgerMetrics
from arith_shared.metrics.worker import WorkerMetrics
from arith_shared.testing import fresh_database

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
#: What Prometheus knows of a target by itself.
OF_PROMETHEUS = {"up"}


@pytest.fixture(scope="module")
def exposed(tmp_path_factory) -> dict[str, str]:
    """Type by name of all that any process exposes."""
    database = fresh_database(f"sqlite:///{tmp_path_factory.mktemp('metrics') / 'arith.db'}")
    found = {}
    for collector in (LedgerMetrics(database), WorkerMetrics(database, "w", STAGES)):
        registry = CollectorRegistry()
        registry.register(collector)
        ProcessCollector(registry=registry)
        for metric in registry.collect():
            found[f"{metric.name}_total" if metric.type == "counter" else metric.name] = metric.type
    database.close()
    return found


def expressions() -> Iterator[str]:
    dashboard = json.loads((MONITORING / "grafana/dashboards/arithctl.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def series(exposed: dict[str, str]) -> set[str]:
    """Names that a query may use: a histogram is asked by its parts."""
    names = set(OF_PROMETHEUS)
    for name, kind in exposed.items():
        parts = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        names |= {name + part for part in parts}
    return names


def test_the_document_lists_every_metric_with_its_type_and_no_other(exposed):
    text = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+), [^|]+ \|", text, re.MULTILINE)
    assert len(rows) == len(dict(rows))
    assert dict(rows) == exposed


def test_dashboard_and_alerts_ask_for_nothing_that_is_not_exposed(exposed):
    asked = {name for text in expressions() for name in re.findall(r"\b(?:arith|process)_\w+|\bup\b", text)}
    assert asked <= series(exposed)
    assert len(asked) > 10


def test_every_metric_of_our_own_is_on_the_dashboard_or_in_an_alert(exposed):
    text = " ".join(expressions())
    ours = {name for name in exposed if name.startswith("arith_")} - {"arith_worker_info"}
    assert {name for name in ours if name not in text} == set()


def test_prometheus_asks_every_service_of_the_stack_that_serves_metrics():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    serving = {
        name: service.get("environment", {}).get("ARITH_METRICS_PORT") for name, service in services.items()
    }
    scrape = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    asked = {
        name: str(source["port"])
        for job in scrape
        for source in job["dns_sd_configs"]
        for name in source["names"]
    }
    one_shot = {"migrate", "cli"}
    assert asked == {name: port for name, port in serving.items() if port and name not in one_shot}


def test_a_default_password_is_the_one_that_is_warned_about():
    text = (MONITORING / "flower/celery_app.py").read_text(encoding="utf-8")
    assert "the default password opens" in text
    assert stack.DEFAULT_PASSWORD not in text
