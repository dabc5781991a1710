"""Facts of the whole deployment: to be exposed once, by the scheduler or by any process that has the database."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from itertools import product
from typing import get_args

from prometheus_client import Counter, Metric
from sqlalchemy import ColumnElement, and_, case, func, select
from sqlalchemy.orm import Session

from arith_shared.ledger import workers
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.plan import QUEUES
from arith_shared.ledger.tables import Artifact, Attempt, Run, RunState, Stage, Unit, UnitState
from arith_shared.metrics.attempts import EndedAttempts
from arith_shared.metrics.collector import DatabaseCollector, gauge

_WORKER_STATES = ("idle", "busy", "stopping")


class LedgerMetrics(DatabaseCollector):
    """Runs, units, workers, artifacts and lost leases."""

    def __init__(self, database: Database) -> None:
        """Lease losses are counted from the first look on."""
        self._ended = EndedAttempts()
        self._lost = Counter(
            "arith_lease_losses_total",
            "Attempts whose worker stopped reporting, since this process started.",
            ["queue"],
            registry=None,
        )
        for queue in QUEUES:
            self._lost.labels(queue)
        super().__init__(database, [self._lost])

    def look(self, session: Session) -> Sequence[Metric]:
        """The ledger at this moment."""
        for ended in self._ended.new(session):
            if ended.outcome == "lost":
                self._lost.labels(ended.queue).inc()
        return [
            gauge("arith_runs", "Runs by state.", _runs(session), "state"),
            gauge("arith_units", "Units of all runs by queue and state.", _units(session), "queue", "state"),
            gauge(
                "arith_oldest_waiting_unit_age_seconds",
                "Seconds for which the oldest ready or queued unit could have been worked on; 0 if none waits.",
                _waiting_s(session),
                "queue",
            ),
            gauge("arith_workers", "Live workers by queue and state.", _workers(session), "queue", "state"),
            gauge("arith_artifact_bytes", "Bytes of all artifacts that have files.", _bytes(session), "kind"),
        ]  # fmt: skip


def _runs(session: Session) -> dict[tuple[str, ...], float]:
    counts: dict[tuple[str, ...], float] = {(state,): 0.0 for state in get_args(RunState)}
    rows = session.execute(select(Run.state, func.count()).group_by(Run.state))
    return counts | {(state,): float(count) for state, count in rows}


def _units(session: Session) -> dict[tuple[str, ...], float]:
    # Every combination is always there: an alert on a series that is absent would never fire.
    counts: dict[tuple[str, ...], float] = dict.fromkeys(product(QUEUES, get_args(UnitState)), 0.0)
    rows = session.execute(select(Unit.queue, Unit.state, func.count()).group_by(Unit.queue, Unit.state))
    return counts | {(queue, state): float(count) for queue, state, count in rows}


def _waiting_s(session: Session) -> dict[tuple[str, ...], float]:
    """A unit waits since its stage opened, its last attempt ended or its delay was over, whatever came last."""
    since = _later(_later(Stage.opened_at, Unit.not_before), func.coalesce(Attempt.ended_at, 0.0))
    last = and_(Attempt.unit_id == Unit.id, Attempt.number == Unit.attempt - 1)
    rows = session.execute(
        select(Unit.queue, now() - func.min(since))
        .join(Run, Run.id == Unit.run_id)
        .join(Stage, and_(Stage.run_id == Unit.run_id, Stage.name == Unit.stage))
        .outerjoin(Attempt, last)
        .where(Run.state == "active", Unit.state.in_(("ready", "queued")), Unit.not_before <= now())
        .group_by(Unit.queue)
    )
    ages: dict[tuple[str, ...], float] = {(queue,): 0.0 for queue in QUEUES}
    return ages | {(queue,): float(age) for queue, age in rows}


def _later(one: ColumnElement[float] | object, other: ColumnElement[float] | object) -> ColumnElement[float]:
    """The greater of two; PostgreSQL and SQLite have no common function for it."""
    return case((one > other, one), else_=other)  # type: ignore[operator]


def _workers(session: Session) -> dict[tuple[str, ...], float]:
    counts: dict[tuple[str, ...], float] = dict.fromkeys(product(QUEUES, _WORKER_STATES), 0.0)
    found = Tally(
        (worker.queue, "stopping" if worker.draining else "busy" if unit else "idle")
        for worker, unit, _ in workers.alive(session)
    )
    return counts | {key: float(count) for key, count in found.items()}


def _bytes(session: Session) -> dict[tuple[str, ...], float]:
    query = select(Artifact.kind, func.sum(Artifact.size_bytes)).where(Artifact.deleted_at.is_(None))
    return {(kind,): float(size) for kind, size in session.execute(query.group_by(Artifact.kind))}
