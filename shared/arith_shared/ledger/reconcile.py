"""The loop that makes messages optional: whatever was lost, late or doubled, the next tick puts right.

Several may run at once; each step is made of guarded updates. It needs the database and, only for sending,
a broker: when that does not answer, the units stay `queued` and are sent again later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from arith_shared.errors import UnreachableError
from arith_shared.failpoints import reach
from arith_shared.ledger import plan, units, workers
from arith_shared.ledger.clock import now
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Run, Unit

#: Units in the broker per live worker: one in hand and one waiting keeps it busy; a trainer's next can wait.
WINDOW_PER_SLOT = {"train": 1, "extract": 2, "probe": 2}
#: Seconds; no unanswered message waits longer to be sent again.
MAX_RESEND_S = 600.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """All that ever travels through the broker."""

    unit_id: int
    attempt: int
    queue: str


Send = Callable[[Message], None]


def tick(database: Database, send: Send, *, resend_s: float, retry_s: float) -> None:
    """One round: take back what lost its lease, finish cancellations, send again, send new."""
    with database.transaction() as session:
        units.expire(session, retry_s)
        reach("expire.before_commit")
    with database.reading() as session:
        cancelling = session.scalars(select(Run.id).where(Run.state == "cancelling")).all()
    for run_id in cancelling:
        # One run at a time: who holds rows of several could wait for somebody who waits for them.
        with database.transaction() as session:
            plan.settle_cancelled(session, run_id)
    if (refusal := deliver(database, send, resend_s=resend_s)) is not None:
        log.warning("will send again: %s", refusal)


def deliver(database: Database, send: Send, *, resend_s: float) -> UnreachableError | None:
    """Queue what is ready within each queue's window, then send it and whatever was never answered.

    The rows are committed before anything is sent: a crash in between costs one resend interval, never a unit.
    Returns why the broker did not take all messages, if it did not: the next round sends them again.
    """
    with database.transaction() as session:
        messages = _unanswered(session, resend_s)
        slots = workers.slots(session)
        for queue in plan.QUEUES:
            messages += _enqueue(
                session, queue, WINDOW_PER_SLOT[queue] * max(1, slots.get(queue, 0)), resend_s
            )
        reach("deliver.before_commit")
    for sent, message in enumerate(messages):
        reach("deliver.before_send")
        try:
            send(message)
        except UnreachableError as error:
            _put_off(database, messages[sent:], resend_s)
            return error
    return None


def _put_off(database: Database, messages: list[Message], resend_s: float) -> None:
    """Take back the count of sends that never reached the broker, or a long outage would outlast itself."""
    ids = [message.unit_id for message in messages]
    with database.transaction() as session:
        session.execute(
            update(Unit)
            .where(Unit.id.in_(ids), Unit.state == "queued", Unit.sends > 0)
            .values(resend_at=now() + resend_s, sends=Unit.sends - 1),
            execution_options={"synchronize_session": False},
        )


def _unanswered(session: Session, resend_s: float) -> list[Message]:
    stale = session.execute(
        select(Unit.id, Unit.attempt, Unit.queue, Unit.sends)
        .where(Unit.state == "queued", Unit.resend_at < now())
        .order_by(Unit.resend_at)
        .limit(100)
    ).all()
    return [
        Message(unit_id, attempt, queue)
        for unit_id, attempt, queue, sends in stale
        if units.changed(
            session,
            update(Unit)
            .where(Unit.id == unit_id, Unit.attempt == attempt, Unit.state == "queued")
            .values(resend_at=now() + min(MAX_RESEND_S, resend_s * 2.0**sends), sends=sends + 1),
        )
    ]


def _enqueue(session: Session, queue: str, window: int, resend_s: float) -> list[Message]:
    """Move units from ready to queued while there is room in the window."""
    queued = session.scalar(select(func.count()).where(Unit.queue == queue, Unit.state == "queued")) or 0
    return [
        Message(unit_id, attempt, queue)
        for unit_id, attempt in _next_ready(session, queue, window - queued)
        if units.changed(
            session,
            update(Unit)
            .where(Unit.id == unit_id, Unit.attempt == attempt, Unit.state == "ready")
            .values(state="queued", resend_at=now() + resend_s, sends=1),
        )
    ]


def _next_ready(session: Session, queue: str, count: int) -> list[tuple[int, int]]:
    """The units to come next, as (id, attempt): by priority, then in turn between runs, so a small run never starves.

    Looks at no more than the first `count` units of `count` runs, however many are ready: a run has a unit among the
    next ones only if its first is one of them.
    """
    if count <= 0:
        return []
    in_flight = (
        select(func.count())
        .where(Unit.queue == queue, Unit.run_id == Run.id, Unit.state.in_(("queued", "running")))
        .scalar_subquery()
    )
    runs = (
        select(
            Run.id,
            Run.priority,
            in_flight.label("in_flight"),
            _ready(queue, Run.id, 1).with_only_columns(Unit.id).scalar_subquery().label("first"),
        )
        .where(Run.state == "active")
        .subquery()
    )
    in_turn = (
        select(runs.c.id, runs.c.priority, runs.c.in_flight)
        .where(runs.c.first.is_not(None))
        .order_by(runs.c.priority.desc(), runs.c.in_flight, runs.c.first)
        .limit(count)
    )
    turns = [
        (-priority, before + rank, unit_id, attempt)
        for run_id, priority, before in session.execute(in_turn).all()
        for rank, (unit_id, attempt) in enumerate(session.execute(_ready(queue, run_id, count)))
    ]
    return [(unit_id, attempt) for _, _, unit_id, attempt in sorted(turns)[:count]]


def _ready(queue: str, run_id: str | InstrumentedAttribute[str], count: int) -> Select[int, int]:
    """Id and attempt of the first `count` units of a run that may be sent."""
    return (
        select(Unit.id, Unit.attempt)
        .where(Unit.queue == queue, Unit.run_id == run_id, Unit.state == "ready", Unit.not_before <= now())
        .order_by(Unit.id)
        .limit(count)
    )
