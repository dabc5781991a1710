"""What the metrics say is what the ledger holds, on SQLite and on PostgreSQL alike, and a counter never falls."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from sqlalchemy import func, select, update

from arith_shared.ledger import reconcile, runs, units, workers
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Artifact, Unit
from arith_shared.metrics.ledger import LedgerMetrics
from arith_shared.metrics.worker import WorkerMetrics
from arith_shared.testing import RecordingSender, small_spec

STAGES = ["train", "extract"]
Value = Callable[..., float | None]


def registered(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=True)
    registry.register(collector)
    return registry


@pytest.fixture
def ledger(database: Database) -> Value:
    """Values of the ledger's metrics by name and labels; every call is a scrape."""
    registry = registered(LedgerMetrics(database))
    return lambda name, **labels: registry.get_sample_value(name, labels)


@pytest.fixture
def worker(database: Database) -> Value:
    """The same of the worker `w`."""
    registry = registered(WorkerMetrics(database, "w", STAGES))
    return lambda name, **labels: registry.get_sample_value(name, labels)


@pytest.fixture
def claim(database: Database) -> Callable[..., units.Claim]:
    """Claim what a tick sends, or the first unit of a new run."""

    def take(worker_id: str = "w") -> units.Claim:
        sender = RecordingSender()
        reconcile.tick(database, sender, resend_s=60.0, retry_s=0.0)
        message = sender.take()[0]
        with database.transaction() as session:
            held = units.claim(
                session, message.unit_id, message.attempt, owner=f"{worker_id}-{message.attempt}",
                worker_id=worker_id, host="h", lease_s=60.0,
            )  # fmt: skip
        assert held is not None
        return held

    return take


@pytest.fixture
def run_id(database: Database) -> str:
    with database.transaction() as session:
        return runs.submit(session, small_spec(), recipe="tiny").id


def beat(database: Database, held: units.Claim, **facts: int) -> None:
    with database.transaction() as session:
        assert units.heartbeat(session, held, units.Report(1, 2, "steps", **facts), 60.0) == "alive"


def finish(database: Database, held: units.Claim, size: int, **facts: int) -> None:
    artifact = units.NewArtifact(held.content_key, "models", "models/k/o", "digest", size, {})
    with database.transaction() as session:
        assert units.finish(session, held, artifact, {}, report=units.Report(**facts))


def lose_lease(database: Database) -> None:
    with database.transaction() as session:
        session.execute(update(Unit).where(Unit.state == "running").values(lease_until=now() - 1.0))


def delete(database: Database, run_id: str) -> None:
    with database.transaction() as session:
        runs.cancel(session, run_id)
    with database.transaction() as session:
        runs.delete(session, run_id)


def test_units_runs_and_workers_are_those_of_the_tables(database, ledger, claim, run_id):
    with database.transaction() as session:
        workers.report(session, "w", host="h", pid=1, queue="train", version="1")
        workers.report(session, "v", host="h", pid=2, queue="probe", version="1")
    assert ledger("arith_units", queue="train", state="ready") == 1
    finish(database, claim(), 7)
    with database.reading() as session:
        extract = session.scalar(select(func.count()).where(Unit.stage == "extract"))
    waiting = [ledger("arith_units", queue="extract", state=state) for state in ("ready", "queued")]
    assert sum(waiting) == extract
    assert ledger("arith_units", queue="train", state="done") == 1
    assert ledger("arith_units", queue="probe", state="failed") == 0
    assert (ledger("arith_runs", state="active"), ledger("arith_runs", state="done")) == (1, 0)
    assert ledger("arith_artifact_bytes", kind="models") == 7
    assert ledger("arith_workers", queue="train", state="idle") == 1
    claim()
    assert ledger("arith_workers", queue="train", state="busy") == 1
    assert ledger("arith_database_up") == 1


def test_a_waiting_unit_ages_from_when_it_could_first_have_been_worked_on(database, ledger, claim, run_id):
    assert ledger("arith_oldest_waiting_unit_age_seconds", queue="train") < 30
    with database.transaction() as session:
        session.execute(update(Unit).values(not_before=now() - 500.0))
        stage = session.get_one(runs.Stage, (run_id, "train"))
        stage.opened_at = now() - 900.0
    assert 500 <= ledger("arith_oldest_waiting_unit_age_seconds", queue="train") < 530
    held = claim()
    assert ledger("arith_oldest_waiting_unit_age_seconds", queue="train") == 0
    with database.transaction() as session:
        units.release(session, held, "released")
    assert ledger("arith_oldest_waiting_unit_age_seconds", queue="train") < 30


def test_lost_leases_are_counted_from_the_start_of_the_counting_process(database, claim, run_id):
    def lose() -> None:
        claim()
        lose_lease(database)
        reconcile.tick(database, RecordingSender(), resend_s=60.0, retry_s=0.0)
        with database.transaction() as session:
            session.execute(update(Unit).values(state="ready"))

    lose()
    registry = registered(LedgerMetrics(database))
    lose()
    for _ in range(2):
        assert registry.get_sample_value("arith_lease_losses_total", {"queue": "train"}) == 1
    delete(database, run_id)
    assert registry.get_sample_value("arith_lease_losses_total", {"queue": "train"}) == 1


def test_a_worker_counts_its_own_attempts_once_and_keeps_counting_when_runs_are_deleted(
    database, worker, claim, run_id
):
    first = claim()
    with database.transaction() as session:
        units.fail(session, first, "boom", "trace", permanent=False, retry_s=0.0)
    finish(database, claim(), 1000)
    with database.transaction() as session:
        size = session.scalar(select(func.sum(Artifact.size_bytes)))
    for _ in range(2):
        assert worker("arith_worker_attempts_total", stage="train", outcome="failed") == 1
        assert worker("arith_worker_attempts_total", stage="train", outcome="done") == 1
        assert worker("arith_worker_unit_seconds_count", stage="train") == 1
        assert worker("arith_worker_published_bytes_total", stage="train") == size == 1000
    assert worker("arith_worker_attempts_total", stage="extract", outcome="lost") == 0
    delete(database, run_id)
    assert worker("arith_worker_attempts_total", stage="train", outcome="done") == 1
    with database.transaction() as session:  # SQLite gives the same ids again
        runs.submit(session, small_spec(), recipe="tiny")
    with database.transaction() as session:
        units.fail(session, claim_again(database), "boom", "trace", permanent=False, retry_s=0.0)
    assert worker("arith_worker_attempts_total", stage="train", outcome="failed") == 2


def claim_again(database: Database) -> units.Claim:
    sender = RecordingSender()
    reconcile.tick(database, sender, resend_s=60.0, retry_s=0.0)
    (message,) = sender.take()
    with database.transaction() as session:
        held = units.claim(
            session, message.unit_id, message.attempt, owner="new", worker_id="w", host="h", lease_s=60.0
        )
    assert held is not None
    return held


def test_attempts_of_other_workers_are_not_a_workers_own(database, worker, claim, run_id):
    finish(database, claim("other"), 1, tokens=5)
    assert worker("arith_worker_attempts_total", stage="train", outcome="done") == 0
    assert worker("arith_worker_tokens_total", stage="train") == 0


def test_tokens_grow_with_heartbeats_and_the_finish_adds_the_rest(database, worker, claim, run_id):
    held = claim()
    assert worker("arith_worker_tokens_total", stage="train") == 0
    beat(database, held, tokens=100)
    assert worker("arith_worker_tokens_total", stage="train") == 100
    beat(database, held, tokens=250)
    for _ in range(2):
        assert worker("arith_worker_tokens_total", stage="train") == 250
    finish(database, held, 1, tokens=300)
    for _ in range(2):
        assert worker("arith_worker_tokens_total", stage="train") == 300


def test_tokens_of_a_second_attempt_come_on_top_of_the_first(database, worker, claim, run_id):
    held = claim()
    beat(database, held, tokens=100)
    assert worker("arith_worker_tokens_total", stage="train") == 100
    with database.transaction() as session:
        units.release(session, held, "released")
    finish(database, claim(), 1, tokens=40)
    assert worker("arith_worker_tokens_total", stage="train") == 140


def test_gauges_of_a_unit_are_there_while_its_lease_is(database, worker, claim, run_id):
    assert worker("arith_worker_unit_age_seconds", stage="train") is None
    held = claim()
    assert worker("arith_worker_unit_age_seconds", stage="train") >= 0
    assert worker("arith_worker_gpu_memory_bytes", stage="train") is None
    beat(database, held, gpu_bytes=5_000_000_000)
    assert worker("arith_worker_gpu_memory_bytes", stage="train") == 5_000_000_000
    lose_lease(database)
    assert worker("arith_worker_unit_age_seconds", stage="train") is None
    assert worker("arith_worker_gpu_memory_bytes", stage="train") is None


def test_without_a_database_counters_keep_their_value_and_gauges_are_absent(
    database, worker, claim, run_id, monkeypatch
):
    finish(database, claim(), 1)
    assert worker("arith_worker_attempts_total", stage="train", outcome="done") == 1
    away = Database("sqlite:////proc/nosuch.db")
    with monkeypatch.context() as patch:
        patch.setattr(database, "engine", away.engine)
        assert worker("arith_database_up") == 0
        assert worker("arith_worker_attempts_total", stage="train", outcome="done") == 1
    assert worker("arith_database_up") == 1
