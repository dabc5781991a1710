"""A worker that is told to end, wherever it is at that moment."""

from __future__ import annotations

import time
from pathlib import Path

from sqlalchemy import select

from arith_shared.job import Worker
from arith_shared.ledger import plan, workers
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Worker as WorkerRow
from arith_shared.settings import Settings


def test_a_signal_in_the_middle_of_a_transaction_does_not_wait_for_it(
    database: Database, tmp_path: Path, monkeypatch
):
    """Signal handlers run in the thread that they interrupt: what it holds, nobody can give back before they end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    worker = Worker(Settings(home=tmp_path), "train", dict.fromkeys(plan.STAGES, "nobody:nothing"), "w")
    worker.__dict__["database"] = database
    with database.transaction() as session:
        workers.report(session, "w", host="h", pid=1, queue="train", version="0")
    with database.transaction() as session:
        workers.set_device(session, "w", "cpu")
        worker.drain()
        worker.drain()
        assert worker.drain_flag.exists()
    give_up = time.monotonic() + 60
    while not draining(database):
        assert time.monotonic() < give_up, "the worker never retired"
        time.sleep(0.05)
    worker.gone()
    assert draining(database) is None
    assert not worker.drain_flag.exists()


def draining(database: Database) -> bool | None:
    with database.reading() as session:
        return session.scalar(select(WorkerRow.draining).where(WorkerRow.id == "w"))
