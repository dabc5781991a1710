"""Who is alive: workers report themselves, and silence makes them disappear from view."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from arith_shared.ledger.clock import now
from arith_shared.ledger.tables import Unit, Worker

#: Seconds without a report after which a worker no longer counts as a live slot.
ALIVE_S = 30.0
#: Seconds without a report after which a worker's row is removed.
FORGET_S = 24 * 3600.0


def report(session: Session, worker_id: str, *, host: str, pid: int, queue: str, version: str) -> None:
    """Say that a worker is alive; the first report registers it."""
    seen = session.execute(
        update(Worker).where(Worker.id == worker_id).values(seen_at=now()).returning(Worker.id)
    ).first()
    if seen is None:
        session.execute(
            insert(Worker).values(
                id=worker_id,
                host=host,
                pid=pid,
                queue=queue,
                version=version,
                started_at=now(),
                seen_at=now(),
            )
        )
    session.execute(delete(Worker).where(Worker.seen_at < now() - FORGET_S))


def set_device(session: Session, worker_id: str, device: str) -> None:
    """Record the device that a worker computes on; only the process that loads torch knows it."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(device=device))


def retire(session: Session, worker_id: str) -> None:
    """Mark a worker that is stopping: it takes no new units and is no live slot."""
    session.execute(update(Worker).where(Worker.id == worker_id).values(draining=True))


def forget(session: Session, worker_id: str) -> None:
    """Remove a worker that has stopped in good order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def slots(session: Session) -> dict[str, int]:
    """Live, non-draining workers per queue."""
    query = (
        select(Worker.queue, func.count())
        .where(Worker.seen_at > now() - ALIVE_S, Worker.draining.is_(False))
        .group_by(Worker.queue)
    )
    return {queue: count for queue, count in session.execute(query)}


def alive(session: Session, within_s: float = ALIVE_S) -> Sequence[tuple[Worker, Unit | None, float]]:
    """Workers that reported themselves within some seconds, the unit that each one holds, the age of its report."""
    query = (
        select(Worker, Unit, now() - Worker.seen_at)
        .outerjoin(Unit, (Unit.worker_id == Worker.id) & (Unit.state == "running"))
        .where(Worker.seen_at > now() - within_s)
        .order_by(Worker.queue, Worker.started_at)
    )
    return [row for row in session.execute(query)]
