"""Attempts that have ended, each told once: what counters grow by.

Rows can be deleted with their run and a counter must never fall, so nothing here is a COUNT: whoever counts
asks for what is new and adds it up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, and_, func, select
from sqlalchemy.orm import Session

from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import Artifact, Attempt, Unit

#: Seconds that a transaction may take between stamping an attempt's end and becoming visible.
_LATE_S = 120.0


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that is over."""

    owner: str
    stage: str
    queue: str
    outcome: str
    seconds: float
    tokens: int
    #: Bytes of the artifact that it published.
    size_bytes: int


class EndedAttempts:
    """All attempts of one worker, or those of all workers that end from the first look on."""

    def __init__(self, worker_id: str | None = None) -> None:
        """Without `worker_id` the attempts of all workers."""
        self._worker_id = worker_id
        #: The newest end that was seen, by the database's clock; None before the first look.
        self._newest: float | None = 0.0 if worker_id else None
        #: Ends of the attempts told lately, by their owner.
        self._told: dict[str, float] = {}

    def new(self, session: Session) -> list[Ended]:
        """Those that have ended since the last call."""
        is_first = self._newest is None
        newest = session.scalar(select(now())) or 0.0 if self._newest is None else self._newest
        rows = [row for row in session.execute(self._since(newest - _LATE_S)) if row.owner not in self._told]
        self._newest = max([newest, *(row.ended_at for row in rows)])
        ends = {**self._told, **{row.owner: row.ended_at for row in rows}}
        self._told = {owner: at for owner, at in ends.items() if at > self._newest - _LATE_S}
        return [] if is_first else [_ended(row) for row in rows]

    def _since(self, at: float) -> Any:
        published = and_(
            Artifact.key == Unit.artifact_key, Attempt.outcome == "done", Unit.attempt == Attempt.number
        )
        query = (
            select(
                Attempt.owner, Attempt.ended_at, Attempt.outcome, Attempt.ended_at - Attempt.started_at,
                Attempt.tokens, Unit.stage, Unit.queue, func.coalesce(Artifact.size_bytes, 0),
            )
            .join(Unit, Unit.id == Attempt.unit_id)
            .outerjoin(Artifact, published)
            .where(Attempt.ended_at > at)
        )  # fmt: skip
        return query.where(Attempt.worker_id == self._worker_id) if self._worker_id else query


def _ended(row: Row[*tuple[Any, ...]]) -> Ended:
    owner, _, outcome, seconds, tokens, stage, queue, size_bytes = row
    return Ended(owner, stage, queue, outcome, seconds, tokens, size_bytes)
