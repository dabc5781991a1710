"""The arrows of a unit: `ready -> queued -> running -> done | failed | cancelled`.

Every arrow is one guarded UPDATE. No row changed means that somebody else was faster or that the unit moved
on: the caller returns quietly. Only the holder of `(attempt, owner)` can extend, finish or give back a unit,
so a worker that was thought dead can come back and change nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, CursorResult, exists, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from arith_shared.ledger import plan
from arith_shared.ledger.clock import now
from arith_shared.ledger.events import record
from arith_shared.ledger.tables import RESULT_TABLES, Artifact, Attempt, Run, Stage, Unit
from arith_shared.specs import Spec

#: Counted attempts (failures and lost leases) before a unit is given up: a poisonous one must stop.
MAX_FAILURES = 3
#: Seconds; no retry waits longer.
MAX_DELAY_S = 600.0

Pulse = Literal["alive", "cancelled", "lost"]


@dataclass(frozen=True, slots=True)
class Claim:
    """A unit that this worker owns for as long as it keeps its lease."""

    unit_id: int
    attempt: int
    owner: str
    run_id: str
    stage: str
    key: str
    payload: Mapping[str, Any]
    content_key: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """Progress as carried by a heartbeat."""

    done: float = 0.0
    total: float = 0.0
    unit: str = ""
    note: str = ""
    #: Progress per second over the last minute.
    rate: float = 0.0
    #: Tokens that this attempt has put through an LM.
    tokens: int = 0
    #: The largest GPU memory in bytes that its process has held at once.
    gpu_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """What a worker has just published."""

    key: str
    kind: str
    path: str
    digest: str
    size_bytes: int
    meta: Mapping[str, Any]


def changed(session: Session, statement: Any) -> bool:
    """Execute an UPDATE or INSERT and tell whether it touched exactly one row."""
    result = session.execute(statement, execution_options={"synchronize_session": False})
    return isinstance(result, CursorResult) and result.rowcount == 1


def claim(
    session: Session, unit_id: int, attempt: int, *, owner: str, worker_id: str, host: str, lease_s: float
) -> Claim | None:
    """Take a queued unit; None if the message is stale, the run is over, or another worker was faster."""
    taken = changed(
        session,
        update(Unit)
        .where(Unit.id == unit_id, Unit.attempt == attempt, Unit.state == "queued", _run_is_active())
        .values(
            state="running",
            owner=owner,
            worker_id=worker_id,
            lease_until=now() + lease_s,
            started_at=now(),
            progress_done=0.0,
            progress_rate=0.0,
        ),
    )
    if not taken:
        return None
    session.execute(
        insert(Attempt).values(
            unit_id=unit_id, number=attempt, owner=owner, worker_id=worker_id, host=host, started_at=now()
        )
    )
    unit, run = session.execute(
        select(Unit, Run).join(Run, Run.id == Unit.run_id).where(Unit.id == unit_id)
    ).one()
    return Claim(
        unit_id, attempt, owner, run.id, unit.stage, unit.key, unit.payload, unit.content_key, run.spec
    )


def heartbeat(session: Session, held: Claim, report: Report, lease_s: float) -> Pulse:
    """Extend the lease and carry progress; tells when the run was cancelled or the unit was lost."""
    alive = changed(
        session,
        _held(held, _run_is_active()).values(
            lease_until=now() + lease_s,
            progress_done=report.done,
            progress_total=report.total,
            progress_rate=report.rate,
            progress_unit=report.unit,
            progress_note=report.note,
        ),
    )
    if alive:
        _note_facts(session, held, report)
        return "alive"
    still_ours = session.scalar(select(Unit.id).where(*_is_held(held)))
    return "cancelled" if still_ours is not None else "lost"


def finish(
    session: Session,
    held: Claim,
    artifact: NewArtifact,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    reused: bool = False,
    report: Report | None = None,
) -> bool:
    """Record the artifact and its rows, mark the unit done and move the run on, all or nothing.

    False means that the unit is no longer ours, or that the artifact to be reused is gone: nothing was
    changed, and files published just now are garbage. Who asks again because an answer was lost hears True.
    """
    # Two finishers of a stage's last two units must count one after the other, or neither closes it.
    stage = _lock_stage(session, held)
    unit = session.scalar(select(Unit).where(*_is_held(held), _run_is_active()).with_for_update())
    if stage is not None and unit is None:
        return session.scalar(select(Unit.id).where(*_is_of(held), Unit.state == "done")) is not None
    if stage is None or unit is None or (reused and not _is_kept(session, artifact)):
        return False
    _record_artifact(session, artifact)
    unit.state, unit.artifact_key, unit.reused = "done", artifact.key, reused
    unit.ended_at, unit.lease_until, unit.error = now(), None, None
    for name, table_rows in rows.items():
        stamp = {"run_id": held.run_id, "unit_id": held.unit_id, "attempt": held.attempt}
        if table_rows:
            session.execute(insert(RESULT_TABLES[name]), [{**row, **stamp} for row in table_rows])
    _note_facts(session, held, report or Report())
    _close_attempt(session, held, "reused" if reused else "done")
    stage.done += 1
    stage.reused += int(reused)
    session.flush()
    plan.advance(session, stage)
    return True


def fail(session: Session, held: Claim, message: str, trace: str, *, permanent: bool, retry_s: float) -> bool:
    """Give the unit back for another try, or give it up: at once if no try can help, else after the third."""
    stage = _lock_stage(session, held)
    unit = session.scalar(select(Unit).where(*_is_held(held)))
    if stage is None or unit is None:
        return False
    _close_attempt(session, held, "failed", trace)
    record(
        session, held.run_id, "attempt failed", f"{held.key}, attempt {held.attempt}: {message}", held.unit_id
    )
    _count_failure(session, stage, unit, message, permanent=permanent, retry_s=retry_s)
    return True


def release(session: Session, held: Claim, outcome: Literal["released", "cancelled"]) -> bool:
    """Give the unit back without counting the attempt: the worker drains, or heard that the run is over."""
    values: dict[str, Any] = {"state": "ready", "attempt": Unit.attempt + 1, "resend_at": None, "sends": 0}
    # The run decides, not the worker's reason: a run may end while its worker drains, and a run that the worker
    # knows as cancelled may have been resumed, so that the unit is wanted again.
    over = _lock_stage(session, held) is None or not session.scalar(select(_is_active(held.run_id)))
    if over:
        values = {"state": "cancelled", "ended_at": now()}
    if not changed(session, _held(held).values(owner=None, lease_until=None, **values)):
        return False
    _close_attempt(session, held, outcome)
    if over:
        plan.settle_cancelled(session, held.run_id)
    return True


def expire(session: Session, retry_s: float, *, run_id: str | None = None) -> list[int]:
    """Take units back whose lease ran out, of one run or of all; a lost lease counts, so a unit that kills its
    worker stops.
    """
    silent = select(Unit.id, Unit.run_id, Unit.stage).where(Unit.state == "running", Unit.lease_until < now())
    if run_id is not None:
        silent = silent.where(Unit.run_id == run_id)
    expired = []
    for unit_id, run_id, stage_name in session.execute(silent.order_by(Unit.id)).all():
        stage = plan.lock_stage(session, run_id, stage_name)
        unit = session.scalar(
            select(Unit)
            .where(Unit.id == unit_id, Unit.state == "running", Unit.lease_until < now())
            .with_for_update()
        )
        if unit is None:
            continue
        message = f"worker {unit.worker_id} stopped reporting"
        session.execute(
            update(Attempt)
            .where(Attempt.unit_id == unit.id, Attempt.number == unit.attempt)
            .values(ended_at=now(), outcome="lost", error=message)
        )
        record(session, run_id, "lease lost", f"{unit.key}, attempt {unit.attempt}: {message}", unit.id)
        _count_failure(session, stage, unit, message, permanent=False, retry_s=retry_s)
        expired.append(unit_id)
    return expired


def _count_failure(
    session: Session, stage: Stage, unit: Unit, message: str, *, permanent: bool, retry_s: float
) -> None:
    run_is_active = session.scalar(select(Run.state).where(Run.id == unit.run_id)) == "active"
    unit.failures += 1
    unit.error = message
    unit.owner = unit.lease_until = None
    if run_is_active and not permanent and unit.failures < MAX_FAILURES:
        unit.state = "ready"
        unit.attempt += 1
        unit.resend_at, unit.sends = None, 0
        delay = min(MAX_DELAY_S, retry_s * 2.0 ** (unit.failures - 1)) * random.uniform(0.5, 1.0)
        unit.not_before = now() + delay
        session.flush()
        return
    unit.state = "failed" if run_is_active else "cancelled"
    unit.ended_at = now()
    stage.failed += int(run_is_active)
    session.flush()
    if not run_is_active:
        plan.settle_cancelled(session, unit.run_id)
    elif permanent:
        plan.fail_run(session, unit.run_id, f"{message} ({plan.blame(session, unit)})")
    else:
        plan.advance(session, stage)


def _record_artifact(session: Session, new: NewArtifact) -> None:
    values: dict[str, Any] = {
        "path": new.path, "digest": new.digest, "size_bytes": new.size_bytes, "meta": dict(new.meta),
    }  # fmt: skip
    # The newest files win: a re-made artifact replaces one whose files were found damaged, and of two equal
    # ones made at the same time the other is garbage. One statement, so that neither of the two can fail.
    values |= {"used_at": now(), "deleted_at": None}
    insert_here = sqlite_insert if session.get_bind().dialect.name == "sqlite" else postgres_insert
    row = insert_here(Artifact).values(key=new.key, kind=new.kind, created_at=now(), **values)
    session.execute(row.on_conflict_do_update(index_elements=[Artifact.key], set_=values))


def _is_kept(session: Session, artifact: NewArtifact) -> bool:
    """Whether the artifact's files are still named; held until the transaction ends, so that nobody deletes them."""
    kept = select(Artifact.key).where(Artifact.key == artifact.key, Artifact.path == artifact.path)
    return session.scalar(kept.where(Artifact.deleted_at.is_(None)).with_for_update()) is not None


def _lock_stage(session: Session, held: Claim) -> Stage | None:
    """The stage of a claimed unit, locked; None if its run was deleted meanwhile."""
    there = session.scalar(select(Stage.name).where(Stage.run_id == held.run_id, Stage.name == held.stage))
    return plan.lock_stage(session, held.run_id, held.stage) if there is not None else None


def _is_of(held: Claim) -> list[ColumnElement[bool]]:
    return [Unit.id == held.unit_id, Unit.attempt == held.attempt, Unit.owner == held.owner]


def _is_held(held: Claim) -> list[ColumnElement[bool]]:
    return [*_is_of(held), Unit.state == "running"]


def _held(held: Claim, *also: ColumnElement[bool]) -> Any:
    return update(Unit).where(*_is_held(held), *also)


def _is_active(run_id: str) -> ColumnElement[bool]:
    return exists().where(Run.id == run_id, Run.state == "active")


def _run_is_active() -> ColumnElement[bool]:
    return exists().where(Run.id == Unit.run_id, Run.state == "active")


def _note_facts(session: Session, held: Claim, report: Report) -> None:
    """Keep what the attempt used, beside what became of it; most have used no LM and no GPU."""
    if report.tokens or report.gpu_bytes is not None:
        session.execute(
            update(Attempt)
            .where(Attempt.unit_id == held.unit_id, Attempt.number == held.attempt)
            .values(tokens=report.tokens, gpu_bytes=report.gpu_bytes)
        )


def _close_attempt(session: Session, held: Claim, outcome: str, error: str | None = None) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.unit_id == held.unit_id, Attempt.number == held.attempt)
        .values(ended_at=now(), outcome=outcome, error=error)
    )


def spec_of(held: Claim) -> Spec:
    """The validated spec of the run that a claimed unit belongs to."""
    return Spec.model_validate(held.spec)
