"""A real worker, scraped over HTTP while its children die: what it says is what the database holds.

Its logs are one JSON object per line, and neither they nor the metrics give the broker's password away.
"""

from __future__ import annotations

import json
import signal
import socket
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from arith_shared.ledger.plan import STAGES
from arith_shared.ledger.tables import OUTCOMES, Artifact, Attempt, Unit
from harness.broker import Broker
from harness.deployment import Deployment
from harness.proxy import Proxy

PASSWORD = "hunter2-of-the-broker"
#: Unit keys and what happens to the first attempt at each.
FAULTS = {
    "model": {"kill": True},
    "trained/probe/00000": {"raise": "boom\nin two lines"},
    "trained/layer-01/position-010": {"kill": True},
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def scrape(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert PASSWORD not in text
    families = text_string_to_metric_families(text)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@dataclass
class Watched:
    """A deployment after a run in which children died, and what was scraped when it was over."""

    deployment: Deployment
    run_id: str
    worker: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    ledger: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    log: str

    def rows(self) -> list[Any]:
        """Outcome, stage and published bytes of every attempt."""
        with self.deployment.reading() as session:
            query = (
                select(Attempt.outcome, Unit.stage, Artifact.size_bytes)
                .join(Unit, Unit.id == Attempt.unit_id)
                .outerjoin(Artifact, Artifact.key == Unit.artifact_key)
            )
            return list(session.execute(query))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.splitlines()]


@pytest.fixture(scope="module")
def watched(tmp_path_factory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("metrics")
    broker = Broker(folder / "broker")
    with Proxy(broker.socket) as proxy:
        broker.client.config_set("requirepass", PASSWORD)
        deployment = Deployment(folder / "home", f"redis://:{PASSWORD}@127.0.0.1:{proxy.port}/0")
        deployment.break_units(FAULTS)
        ports = free_port(), free_port()
        exporter = deployment.exporter(ports[1])
        deployment.until(lambda: exporter.says("/metrics"))
        worker = deployment.worker(LOG_FORMAT="json", METRICS_PORT=str(ports[0]))
        deployment.scheduler()
        run_id = deployment.submit()
        assert deployment.over(run_id).state == "done"
        of_worker, of_ledger = map(scrape, ports)
        # Without its password the broker refuses the worker, which says so.
        broker.kill()
        broker.start()
        deployment.until(lambda: worker.says("AUTH") or worker.says("Cannot connect"))
        broker.client.config_set("requirepass", PASSWORD)
        worker.stop(signal.SIGTERM)
        yield Watched(deployment, run_id, of_worker, of_ledger, worker.log.read_text(encoding="utf-8"))
        deployment.close()
    broker.kill()


def test_attempts_are_counted_as_the_database_has_them_though_children_died(watched):
    expected = Counter((stage, outcome) for outcome, stage, _ in watched.rows())
    assert (expected["train", "lost"], expected["probe", "lost"], expected["extract", "failed"]) == (1, 1, 1)
    assert {
        (stage, outcome): watched.worker[
            "arith_worker_attempts_total", (("outcome", outcome), ("stage", stage))
        ]
        for stage in STAGES
        for outcome in OUTCOMES
    } == {(stage, outcome): expected[stage, outcome] for stage in STAGES for outcome in OUTCOMES}


def test_published_bytes_and_done_units_are_those_of_the_database(watched):
    for stage in STAGES:
        sizes = [size for outcome, of, size in watched.rows() if of == stage and outcome == "done"]
        key = (("stage", stage),)
        assert watched.worker["arith_worker_published_bytes_total", key] == sum(sizes)
        assert watched.worker["arith_worker_unit_seconds_count", key] == len(sizes)


def test_the_exporter_of_the_ledger_counts_lost_leases_and_units(watched):
    lost = [watched.ledger["arith_lease_losses_total", (("queue", queue),)] for queue in ("train", "probe")]
    assert lost == [1, 1]
    with watched.deployment.reading() as session:
        done = Counter(session.scalars(select(Unit.queue).where(Unit.state == "done")))
    for queue in ("train", "extract", "probe"):
        assert watched.ledger["arith_units", (("queue", queue), ("state", "done"))] == done[queue]
    assert watched.ledger["arith_runs", (("state", "done"),)] == 1


def test_every_line_of_a_worker_and_its_children_is_one_json_object(watched):
    lines = watched.lines()
    assert {"at", "level", "logger", "message"} <= set.intersection(*map(set, lines))
    loggers = {line["logger"] for line in lines}
    # Celery's own, the pool's about its dead children, ours.
    assert {"celery.apps.worker", "multiprocessing", "arith_shared.job"} <= loggers


def test_lines_about_a_unit_name_it_and_its_run_and_an_error_is_one_line(watched):
    ours = [line for line in watched.lines() if line["logger"] == "arith_shared.job" and "unit" in line]
    assert {line["run"] for line in ours} == {watched.run_id}
    (failed,) = [line for line in ours if line["message"] == "failed"]
    assert failed["unit"] == "extract/trained/probe/00000#1"
    assert failed["exception"].endswith("RuntimeError: boom\nin two lines")
    done = [line["unit"] for line in ours if line["message"] == "done"]
    assert len(done) == len(set(done)) == sum(outcome == "done" for outcome, _, _ in watched.rows())


def test_the_brokers_password_is_in_no_log(watched):
    assert any("redis://:***@" in line["message"] for line in watched.lines())
    for service in watched.deployment.services.values():
        assert not service.says(PASSWORD)
