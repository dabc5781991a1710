"""Units that are done again: after a failure, a cancellation, or the loss of the files that they had made.

A unit that goes back to `ready` begins a new attempt, so whoever still works on the old one is fenced off.
What was done stays done as long as its content key stays: a shard that is made again under the same key does
not touch the scores that were fitted on it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import RESULT_TABLES, Artifact, Stage, Unit


def queue_again(unit: Unit) -> None:
    """Make a unit ready for a new attempt, with its count of failures at zero."""
    unit.state, unit.attempt, unit.failures = "ready", unit.attempt + 1, 0
    unit.not_before, unit.resend_at, unit.sends, unit.ended_at = 0.0, None, 0, None
    unit.owner = unit.lease_until = None


def undo(session: Session, stage: Stage, unit: Unit) -> None:
    """Take back what a done unit recorded; it is `cancelled` until its stage opens again."""
    for table in RESULT_TABLES.values():
        session.execute(delete(table).where(table.unit_id == unit.id))
    stage.done -= 1
    stage.reused -= int(unit.reused)
    unit.state, unit.artifact_key, unit.reused = "cancelled", None, False


def requeue(session: Session, stage: Stage, content_keys: Mapping[str, str]) -> None:
    """Queue again every unit of the stage but those that are done, or in work, under the content key by unit key."""
    mine = (Unit.run_id == stage.run_id, Unit.stage == stage.name)
    for unit in session.scalars(select(Unit).where(*mine).order_by(Unit.id)):
        same = content_keys[unit.key] == unit.content_key
        if same and unit.state not in ("failed", "cancelled"):
            continue
        if unit.state == "done":
            undo(session, stage, unit)
        stage.failed -= int(unit.state == "failed")
        unit.content_key = content_keys[unit.key]
        queue_again(unit)
    session.flush()


def lost(
    session: Session, run_id: str, damaged: Collection[str], *, deleted: bool, used_up: Collection[str]
) -> list[Unit]:
    """Done units whose artifact is among `damaged` (content keys) or, with `deleted`, was deleted for space.

    What the stages `used_up` made was deleted because nothing is left to do with it, and is not missed.

    Marks all artifacts of the run as used now: a deletion that is under way sees it and lets them be.
    """
    done = (Unit.run_id == run_id, Unit.state == "done")
    used = select(Unit.artifact_key).where(*done)
    session.execute(
        update(Artifact).where(Artifact.key.in_(used)).values(used_at=now()),
        execution_options={"synchronize_session": False},
    )
    query = (
        select(Unit, Artifact.deleted_at)
        .join(Artifact, Artifact.key == Unit.artifact_key)
        .where(*done)
        .order_by(Unit.id)
    )
    return [
        unit
        for unit, deleted_at in session.execute(query)
        if unit.artifact_key in damaged or (deleted and deleted_at is not None and unit.stage not in used_up)
    ]
