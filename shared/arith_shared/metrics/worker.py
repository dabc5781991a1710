"""Facts of one worker: asked of its long-lived parent process, which reads what its pool children have written.

A child is replaced after a number of units, or dies; what it did and what it is doing stands in the ledger, so
counts outlive it and the gauges of its unit go with its lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from prometheus_client import Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import OUTCOMES, Attempt, Unit, Worker
from arith_shared.metrics.attempts import EndedAttempts
from arith_shared.metrics.collector import DatabaseCollector, gauge

#: Seconds: probe blocks take 5 to 30, shards 20 to 120, trainings minutes to a day.
_BUCKETS = (0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)


class WorkerMetrics(DatabaseCollector):
    """What a worker has done and is doing."""

    def __init__(self, database: Database, worker_id: str, stages: Sequence[str]) -> None:
        """Of the worker `worker_id`, which does units of `stages`."""
        self._worker_id = worker_id
        self._ended = EndedAttempts(worker_id)
        #: Tokens already counted, by the owner of an attempt that is not over.
        self._counted: dict[str, int] = {}
        self._attempts = _counter("arith_worker_attempts_total", "Attempts that ended.", "stage", "outcome")
        self._seconds = Histogram(
            "arith_worker_unit_seconds",
            "Seconds from claim to finish of units that were done, not reused.",
            ["stage"],
            registry=None,
            buckets=_BUCKETS,
        )
        self._bytes = _counter("arith_worker_published_bytes_total", "Bytes of artifacts published.", "stage")
        self._tokens = _counter("arith_worker_tokens_total", "Tokens put through an LM.", "stage")
        # What has not happened yet is 0: from an absent series to 1 Prometheus sees no increase.
        for stage, outcome in product(stages, OUTCOMES):
            self._attempts.labels(stage, outcome)
        for metric, stage in product((self._seconds, self._bytes, self._tokens), stages):
            metric.labels(stage)
        super().__init__(database, [self._attempts, self._seconds, self._bytes, self._tokens])

    def look(self, session: Session) -> Sequence[Metric]:
        """The worker at this moment."""
        running = session.execute(
            select(Unit.stage, now() - Attempt.started_at, Attempt.owner, Attempt.tokens, Attempt.gpu_bytes)
            .join(Attempt, Attempt.owner == Unit.owner)
            .where(
                Unit.worker_id == self._worker_id,
                Unit.state == "running",
                Unit.lease_until > now(),
                Attempt.unit_id == Unit.id,
            )
        ).all()
        # In this order: what ends in between is then found running first, and counted to its end after that.
        for stage, _, owner, tokens, _ in running:
            self._tokens.labels(stage).inc(tokens - self._counted.get(owner, 0))
            self._counted[owner] = tokens
        for ended in self._ended.new(session):
            self._attempts.labels(ended.stage, ended.outcome).inc()
            self._bytes.labels(ended.stage).inc(ended.size_bytes)
            self._tokens.labels(ended.stage).inc(ended.tokens - self._counted.pop(ended.owner, 0))
            if ended.outcome == "done":
                self._seconds.labels(ended.stage).observe(ended.seconds)
        return [self._info(session), *_of_units(running)]

    def _info(self, session: Session) -> Metric:
        worker = session.get(Worker, self._worker_id)
        info = GaugeMetricFamily(
            "arith_worker_info",
            "Always 1; the labels say who this is.",
            labels=("worker", "queue", "host", "device", "version"),
        )
        if worker is not None:
            info.add_metric([worker.id, worker.queue, worker.host, worker.device, worker.version], 1.0)
        return info


def _of_units(running: Sequence[Row[*tuple[Any, ...]]]) -> list[Metric]:
    ages: dict[tuple[str, ...], float] = {(stage,): float(age) for stage, age, *_ in running}
    gpu: dict[tuple[str, ...], float] = {
        (stage,): float(used) for stage, _, _, _, used in running if used is not None
    }
    return [
        gauge(
            "arith_worker_unit_age_seconds",
            "Since the claim of the unit in hand; absent if idle.",
            ages,
            "stage",
        ),
        gauge(
            "arith_worker_gpu_memory_bytes",
            "Most GPU memory that the process of the unit in hand has held at once; absent if idle or without GPU.",
            gpu,
            "stage",
        ),
    ]


def _counter(name: str, meaning: str, *labels: str) -> Counter:
    return Counter(name, meaning, labels, registry=None)
