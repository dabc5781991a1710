"""What no row names, and what a finished run can do without: the rows' side of the garbage collection.

A row goes, or is marked as deleted, in its own transaction before its files go: a crash in between leaves files
that nobody names, which the next collection finds. Each change is guarded: an artifact that was used since it was
found is left alone, so a run that begins meanwhile never loses what it is about to reuse.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, func, select, update
from sqlalchemy.orm import Session

from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import RUN_OVER, Artifact, Run, Unit
from arith_shared.ledger.units import changed


@dataclass(frozen=True, slots=True)
class Spare:
    """An artifact that may go."""

    key: str
    path: str
    size_bytes: int
    #: When it was found, it had last been used then.
    used_at: float


def unreferenced(session: Session) -> list[Spare]:
    """Artifacts whose content key no unit of any run has; those without files any more are among them."""
    return _spares(session, _is_unreferenced())


def spare_states(session: Session) -> list[Spare]:
    """Hidden states that only finished runs use, least recently used first."""
    return _spares(session, _is_spare(), Artifact.deleted_at.is_(None))


def forget(session: Session, spare: Spare) -> bool:
    """Remove the row of an artifact that is still unreferenced; False if somebody has used it since."""
    return changed(session, delete(Artifact).where(*_unused_since(spare), _is_unreferenced()))


def mark_deleted(session: Session, spare: Spare) -> bool:
    """Say that the files of an artifact are gone; its row, and all that was made from it, stay.

    False if somebody has used it since, or an active run may.
    """
    return changed(
        session,
        update(Artifact).where(*_unused_since(spare), _is_spare()).values(deleted_at=now(), size_bytes=0),
    )


def named_paths(session: Session) -> set[str]:
    """The path of every artifact that has files."""
    return set(session.scalars(select(Artifact.path).where(Artifact.deleted_at.is_(None))))


def unfinished_keys(session: Session) -> set[str]:
    """Content keys of the units that are not done: their checkpoints are still wanted, by `resume` too."""
    return set(session.scalars(select(Unit.content_key).where(Unit.state != "done")))


def active_keys(session: Session) -> set[str]:
    """Content keys of the units of runs that are not over: somebody may be reading what these name, or named."""
    wanted = select(Unit.content_key).join(Run, Run.id == Unit.run_id).where(Run.state.not_in(RUN_OVER))
    return set(session.scalars(wanted))


def longest_attempt_s(session: Session) -> float:
    """Seconds since the oldest attempt in work began; zero when nobody works."""
    return session.scalar(select(func.max(now() - Unit.started_at)).where(Unit.state == "running")) or 0.0


def _spares(session: Session, *conditions: ColumnElement[bool]) -> list[Spare]:
    query = select(Artifact.key, Artifact.path, Artifact.size_bytes, Artifact.used_at)
    rows = session.execute(query.where(*conditions).order_by(Artifact.used_at, Artifact.key))
    return [Spare(*row) for row in rows]


def _unused_since(spare: Spare) -> tuple[ColumnElement[bool], ...]:
    return (
        Artifact.key == spare.key,
        Artifact.path == spare.path,
        Artifact.used_at == spare.used_at,
    )


def _is_unreferenced() -> ColumnElement[bool]:
    return ~exists().where(Unit.content_key == Artifact.key)


def _is_spare() -> ColumnElement[bool]:
    wanted = exists().where(
        Unit.content_key == Artifact.key, Run.id == Unit.run_id, Run.state.not_in(RUN_OVER)
    )
    return (Artifact.kind == "states") & ~wanted
