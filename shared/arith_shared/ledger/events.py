"""What happened to a run, for people: appended in the transaction that made it happen."""

from __future__ import annotations

from sqlalchemy import insert
from sqlalchemy.orm import Session

from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import Event


def record(session: Session, run_id: str, kind: str, message: str, unit_id: int | None = None) -> None:
    """Append an event; `kind` is a short lower-case phrase, `message` a sentence."""
    session.execute(
        insert(Event).values(run_id=run_id, unit_id=unit_id, at=now(), kind=kind, message=message)
    )
