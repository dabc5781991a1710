"""Every invariant can be broken, and then it says so, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.orm import Session

from arith_shared.ledger import invariants, reconcile, runs, units
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Run, Stage, Unit
from arith_shared.testing import RecordingSender, small_spec

#: (words of the promise that is broken, the statement that breaks it) in a ledger with a done run, a run whose
#: first unit is running, and a run whose first unit is queued.
BREAKAGES = (
    ("open attempt of its owner", "UPDATE attempts SET owner = 'other' WHERE ended_at IS NULL"),
    ("is the current one of a running unit", "UPDATE attempts SET ended_at = NULL, outcome = NULL"),
    ("only a running unit has a lease", "UPDATE units SET lease_until = 1 WHERE state = 'queued'"),
    ("that of its content key", "UPDATE units SET content_key = 'other' WHERE stage = 'train'"),
    ("that of its content key", "UPDATE units SET state = 'failed' WHERE stage = 'train'"),
    ("recorded as done, or as reused", "UPDATE attempts SET outcome = 'failed' WHERE outcome = 'done'"),
    ("recorded as done, or as reused", "UPDATE units SET reused = TRUE WHERE state = 'done'"),
    ("a result row is of a done unit", "UPDATE scores SET attempt = 7"),
    ("a result row is of a done unit", "UPDATE summary SET attempt = 7"),
    ("a result row is of a done unit", "UPDATE scores SET unit_id = (SELECT MAX(id) FROM units)"),
    ("a done block of probes has scores", "DELETE FROM scores"),
    ("a done summary has figures", "DELETE FROM summary"),
    ("a stage has begun only if", "UPDATE stages SET state = 'failed' WHERE name = 'summarize'"),
    ("a done stage has units", "UPDATE units SET state = 'failed' WHERE stage = 'extract'"),
    ("a done stage has units", "UPDATE stages SET state = 'done' WHERE name = 'probe'"),
    ("a run is done if and only if", "UPDATE runs SET state = 'done'"),
    ("a run is done if and only if", "UPDATE runs SET state = 'failed'"),
    ("the counters of a stage", "UPDATE stages SET total = total + 1"),
    ("the counters of a stage", "UPDATE stages SET done = 0"),
    ("the counters of a stage", "UPDATE stages SET reused = 1"),
    ("the counters of a stage", "UPDATE stages SET failed = 1"),
    ("attempts are numbered", "UPDATE attempts SET number = 9"),
    ("an attempt that nobody has used", "UPDATE units SET state = 'ready' WHERE state = 'running'"),
    ("has an outcome once it has ended", "UPDATE attempts SET outcome = NULL"),
    (
        "after the one before it has ended",
        "INSERT INTO attempts (unit_id, number, owner, worker_id, host, started_at, ended_at, outcome)"
        " SELECT unit_id, 2, owner, worker_id, host, started_at - 1, ended_at, outcome FROM attempts",
    ),
    ("have an end if and only if", "UPDATE runs SET ended_at = 1"),
    ("have an end if and only if", "UPDATE units SET ended_at = NULL"),
    ("waits for a worker only in the open stage", "UPDATE runs SET state = 'cancelling'"),
    ("waits for a worker only in the open stage", "UPDATE stages SET state = 'waiting'"),
    ("a unit runs only in a stage", "UPDATE stages SET state = 'waiting'"),
    ("a queued unit will be sent again", "UPDATE units SET resend_at = NULL"),
    ("an active run has one open stage", "UPDATE stages SET state = 'waiting'"),
    ("an active run has one open stage", "UPDATE stages SET state = 'open'"),
    ("has a unit to wait for", "UPDATE units SET state = 'failed' WHERE state = 'queued'"),
    ("has no cancelled unit", "UPDATE units SET state = 'cancelled' WHERE state = 'queued'"),
    ("no two artifacts have the same path", "UPDATE artifacts SET path = 'same'"),
    ("its kind, its key, and a token", "UPDATE artifacts SET path = kind || '/' || key"),
)


@pytest.fixture
def ledger(database: Database) -> Database:
    """A ledger with a done run, a run whose first unit is running, and a run whose first unit is queued."""
    submit(database)
    while held := claim_next(database):
        finish(database, held)
    submit(database)
    claim_next(database)
    submit(database)
    reconcile.tick(database, RecordingSender(), resend_s=30.0, retry_s=0.0)
    return database


def submit(database: Database) -> None:
    with database.transaction() as session:
        runs.submit(session, small_spec(probe={"block_positions": 20}), recipe="tiny")


def claim_next(database: Database) -> units.Claim | None:
    with database.transaction() as session:
        session.execute(update(Unit).where(Unit.state == "queued").values(resend_at=0.0))
    sender = RecordingSender()
    reconcile.tick(database, sender, resend_s=30.0, retry_s=0.0)
    for message in sender.take():
        with database.transaction() as session:
            return units.claim(
                session, message.unit_id, message.attempt, owner="me", worker_id="w", host="h", lease_s=3600.0
            )
    return None


def finish(database: Database, held: units.Claim) -> None:
    key, meta = held.content_key, {**held.payload, "tried": 10, "solved": 10, "kept": 10}
    artifact = units.NewArtifact(key, held.stage, f"{held.stage}/{key}/token", key, 1, meta)
    score = {
        "layer": held.payload.get("layer"), "position": 0, "token": "A", "variable": "A", "family": "ridge",
        "metric": "pearson", "value": 0.5, "n_train": 20, "n_eval": 10, "given": False, "status": "ok",
    }  # fmt: skip
    figure = {"name": "accuracy", "value": 1.0, "n": 10}
    rows = {"probe": {"scores": [score]}, "summarize": {"summary": [figure]}}.get(held.stage, {})
    with database.transaction() as session:
        assert units.finish(session, held, artifact, rows)


def broken_by(session: Session, statement: str) -> list[str]:
    """What is said after the statement, which is then taken back."""
    with session.begin_nested() as savepoint:
        session.execute(text(statement))
        said = invariants.violations(session)
        savepoint.rollback()
    return said


def test_a_ledger_in_order_breaks_no_invariant(ledger: Database) -> None:
    with ledger.reading() as session:
        assert sorted(session.scalars(text("SELECT state FROM runs"))) == ["active", "active", "done"]
        assert invariants.violations(session) == []


def test_whatever_is_broken_is_named(ledger: Database) -> None:
    with ledger.transaction() as session:
        unseen = [
            (promise, statement)
            for promise, statement in BREAKAGES
            if not any(promise in sentence for sentence in broken_by(session, statement))
        ]
        assert unseen == []
        assert invariants.violations(session) == []


def test_a_broken_invariant_names_the_unit(ledger: Database) -> None:
    with ledger.transaction() as session:
        (sentence,) = broken_by(session, "UPDATE units SET resend_at = NULL WHERE state = 'queued'")
        run_id = session.scalar(text("SELECT run_id FROM units WHERE state = 'queued'"))
    assert sentence == f"I6: a queued unit will be sent again; not so: {run_id} train/model"


def test_every_invariant_is_broken_by_some_breakage() -> None:
    unbroken = [
        invariant.promise
        for invariant in invariants.INVARIANTS
        if not any(promise in invariant.promise for promise, _ in BREAKAGES)
    ]
    assert unbroken == []


def test_an_end_that_is_taken_back_is_named(ledger: Database) -> None:
    with ledger.transaction() as session:
        before = invariants.ends(session)
        session.execute(update(Unit).where(Unit.stage == "summarize").values(state="ready"))
        session.execute(
            update(Stage).where(Stage.name == "train", Stage.state == "done").values(state="failed")
        )
        session.execute(update(Run).where(Run.state == "done").values(state="failed"))
        (run_id,) = session.scalars(text("SELECT run_id FROM units WHERE stage = 'summarize'"))
        assert sorted(invariants.undone(before, invariants.ends(session))) == [
            f"I5: what is over stays over; not so: stage train of {run_id} was done, is failed",
            f"I5: what is over stays over; not so: the run of {run_id} was done, is failed",
            f"I5: what is over stays over; not so: unit summarize/summary of {run_id} was done in attempt 1, is None",
        ]


def test_an_end_may_be_taken_back_by_resuming_and_by_deleting(ledger: Database) -> None:
    with ledger.transaction() as session:
        (unit,) = session.execute(
            text("SELECT run_id, content_key FROM units WHERE stage = 'summarize'")
        ).all()
        before = invariants.ends(session)
        assert runs.resume(session, unit.run_id, [unit.content_key]) == 1
        assert invariants.undone(before, invariants.ends(session)) == []
        session.execute(delete(Run))
        assert invariants.undone(before, invariants.ends(session)) == []
