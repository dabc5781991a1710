"""Read-only questions that people ask about runs; plain values out, ready to print or to serialise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from arith_shared.ledger import plan, workers
from arith_shared.ledger.clock import now
from arith_shared.ledger.rounds import kind_of
from arith_shared.ledger.tables import RESULT_TABLES, Artifact, Attempt, Event, Run, Stage, Unit, Worker

#: Bookkeeping columns that are no part of a published table.
_HIDDEN = {"run_id", "unit_id", "attempt"}


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage as `status` shows it; `fraction` counts units, running ones by their own progress."""

    name: str
    #: waiting, open, done or failed; cancelled where a run stopped that was cancelled.
    state: str
    total: int
    done: int
    reused: int
    failed: int
    running: int
    waiting: int
    fraction: float
    #: Seconds since the stage opened, or that it took.
    elapsed_s: float | None
    eta_s: float | None
    #: What the running units together have done, in their own unit, and per second.
    progress: str
    rate: float | None
    rate_unit: str
    note: str
    device: str
    #: Live workers that could do its units.
    workers: int


@dataclass(frozen=True, slots=True)
class RunView:
    """A run with its stages, as `status RUN` shows it."""

    id: str
    recipe: str
    name: str | None
    state: str
    error: str | None
    elapsed_s: float
    stages: tuple[StageView, ...]
    last_error: str | None


def run_list(
    session: Session, limit: int = 50, *, offset: int = 0, state: str | None = None, recipe: str | None = None
) -> list[dict[str, Any]]:
    """The newest runs: id, state, stage, units done and in all, seconds since submission and taken.

    `state` and `recipe` keep only runs that have them; `offset` leaves out the newest of those.
    """
    wanted = [Run.state == state] if state else []
    wanted += [Run.recipe == recipe] if recipe else []
    ended = func.coalesce(Run.ended_at, now())
    counts = (
        select(
            Stage.run_id,
            func.sum(Stage.done).label("done"),
            func.sum(Stage.total).label("total"),
            func.sum(Stage.reused).label("reused"),
            func.max(case((Stage.state.in_(("open", "failed", "cancelled")), Stage.name))).label("stage"),
        )
        .group_by(Stage.run_id)
        .subquery()
    )
    query = (
        select(Run, counts, now() - Run.created_at, ended - Run.created_at)
        .join(counts, counts.c.run_id == Run.id)
        .where(*wanted)
        .order_by(Run.created_at.desc(), Run.id.desc())
        .offset(offset)
        .limit(limit)
    )
    return [
        {
            "run": run.id,
            "recipe": run.recipe,
            "name": run.name,
            "state": run.state,
            "stage": stage,
            "done": done,
            "total": total,
            "reused": reused,
            "age_s": age,
            "elapsed_s": elapsed,
            "group": run.group_id,
        }
        for run, _, done, total, reused, stage, age, elapsed in session.execute(query)
    ]


def recipes(session: Session) -> list[str]:
    """Recipes that runs were made from, by name."""
    return list(session.scalars(select(Run.recipe).distinct().order_by(Run.recipe)))


def run_view(session: Session, run_id: str) -> RunView:
    """Everything that `status RUN` shows."""
    run, elapsed = session.execute(
        select(Run, func.coalesce(Run.ended_at, now()) - Run.created_at).where(Run.id == run_id)
    ).one()
    stages = session.scalars(select(Stage).where(Stage.run_id == run_id).order_by(Stage.ordinal)).all()
    last_error = session.scalar(
        select(Attempt.error)
        .join(Unit, Unit.id == Attempt.unit_id)
        .where(Unit.run_id == run_id, Attempt.error.is_not(None))
        .order_by(Attempt.ended_at.desc())
        .limit(1)
    )
    return RunView(
        run.id, run.recipe, run.name, run.state, run.error, elapsed,
        tuple(_stage_view(session, stage) for stage in stages),
        last_error.strip().splitlines()[-1] if last_error else None,
    )  # fmt: skip


def _stage_view(session: Session, stage: Stage) -> StageView:
    mine = (Unit.run_id == stage.run_id, Unit.stage == stage.name)
    waiting = session.scalar(select(func.count()).where(*mine, Unit.state.in_(("ready", "queued")))) or 0
    running = session.execute(
        select(Unit, Worker.device)
        .outerjoin(Worker, Worker.id == Unit.worker_id)
        .where(*mine, Unit.state == "running")
    ).all()
    elapsed = session.scalar(
        select(func.coalesce(Stage.closed_at, now()) - Stage.opened_at).where(
            Stage.run_id == stage.run_id, Stage.name == stage.name
        )
    )
    # Units in work count by what they report of themselves.
    partial = sum(unit.progress_done / unit.progress_total for unit, _ in running if unit.progress_total)
    first = running[0][0] if running else None
    return StageView(
        name=stage.name,
        state=stage.state,
        total=stage.total,
        done=stage.done,
        reused=stage.reused,
        failed=stage.failed,
        running=len(running),
        waiting=waiting,
        fraction=(stage.done + partial) / stage.total if stage.total else 0.0,
        elapsed_s=elapsed,
        eta_s=_eta_s(session, stage, [unit for unit, _ in running], partial),
        progress=_progress(first),
        rate=sum(unit.progress_rate for unit, _ in running) or None,
        rate_unit=first.progress_unit if first else "",
        note=first.progress_note if first else "",
        device=", ".join(sorted({device for _, device in running if device})),
        workers=workers.slots(session).get(plan.QUEUE_OF[kind_of(stage.name)], 0),
    )


def _eta_s(session: Session, stage: Stage, running: Sequence[Unit], partial: float) -> float | None:
    """Seconds to go at the present pace, whatever pauses lie behind; None where nothing tells the pace."""
    finished = select(func.avg(Unit.ended_at - Unit.started_at)).where(
        Unit.run_id == stage.run_id, Unit.stage == stage.name, Unit.state == "done", ~Unit.reused
    )
    if stage.state != "open" or not running:
        return None
    if mean_s := session.scalar(finished):
        units_per_s = len(running) / mean_s
    else:
        units_per_s = sum(unit.progress_rate / unit.progress_total for unit in running if unit.progress_total)
    return (stage.total - stage.done - partial) / units_per_s if units_per_s else None


def _progress(unit: Unit | None) -> str:
    if unit is None or not unit.progress_total:
        return ""
    return f"{unit.progress_done:,.0f}/{unit.progress_total:,.0f} {unit.progress_unit}"


def table(session: Session, run_id: str, name: str) -> list[dict[str, Any]]:
    """The rows of a result table of one run, in the order of its key, with `run` as the first column."""
    model = RESULT_TABLES[name]
    columns = [column for column in model.__table__.columns if column.name not in _HIDDEN]
    keys = [column for column in model.__table__.primary_key if column.name != "run_id"]
    query = select(*columns).where(model.run_id == run_id).order_by(*keys)
    return [{"run": run_id, **row._mapping} for row in session.execute(query)]


def events(session: Session, run_id: str, after: int = 0) -> Sequence[Event]:
    """What happened to a run, oldest first, from the event after number `after` on."""
    return session.scalars(
        select(Event).where(Event.run_id == run_id, Event.id > after).order_by(Event.id)
    ).all()


def artifacts(session: Session, run_id: str, *, deleted: bool = False) -> Sequence[tuple[str, str, Artifact]]:
    """Artifacts of a run that have files, with the stage and key of the unit that each belongs to, in that order.

    With `deleted` also those whose files were deleted to save space.
    """
    there = () if deleted else (Artifact.deleted_at.is_(None),)
    query = (
        select(Unit.stage, Unit.key, Artifact)
        .join(Artifact, Artifact.key == Unit.artifact_key)
        .join(Stage, (Stage.run_id == Unit.run_id) & (Stage.name == Unit.stage))
        .where(Unit.run_id == run_id, Unit.state == "done", *there)
        .order_by(Stage.ordinal, Unit.key)
    )
    return [row for row in session.execute(query)]


def failures(session: Session, run_id: str) -> Sequence[tuple[Attempt, str, str]]:
    """Attempts of a run that ended with an error, with the stage and key of their unit, oldest first."""
    query = (
        select(Attempt, Unit.stage, Unit.key)
        .join(Unit, Unit.id == Attempt.unit_id)
        .where(Unit.run_id == run_id, Attempt.error.is_not(None))
        .order_by(Attempt.ended_at)
    )
    return [row for row in session.execute(query)]


def last_events(session: Session, run_ids: Sequence[str], limit: int) -> Sequence[Event]:
    """The newest events of some runs, oldest first."""
    query = select(Event).where(Event.run_id.in_(run_ids)).order_by(Event.id.desc()).limit(limit)
    return session.scalars(query).all()[::-1]


def queues_with_work(session: Session) -> set[str]:
    """The queues whose workers have something to do now: units that are ready, sent out or at work."""
    unfinished = Unit.state.in_(("ready", "queued", "running"))
    return set(session.scalars(select(Unit.queue).where(unfinished).distinct()))
