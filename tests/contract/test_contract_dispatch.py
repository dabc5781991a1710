"""Which units are sent next, and that finding them costs the same however many wait."""

from __future__ import annotations

import random
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from arith_shared.ledger import reconcile, runs, units
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Run, Unit
from arith_shared.testing import RecordingSender, small_spec


def open_extract(database: Database, shards: int, priority: int = 0) -> str:
    """A run whose stage `extract` has so many units ready."""
    with database.transaction() as session:
        spec = small_spec(extract={"n_train": shards, "n_eval": 2, "shard_problems": 1})
        run_id = runs.submit(session, spec, recipe="many", priority=priority).id
        model = session.scalars(select(Unit).where(Unit.run_id == run_id)).one()
        unit_id = model.id
        session.execute(update(Unit).where(Unit.id == unit_id).values(state="queued"))
        held = units.claim(session, unit_id, 1, owner="o", worker_id="w", host="h", lease_s=60.0)
        assert held is not None
        key = f"{run_id} {held.content_key}"
        assert units.finish(session, held, units.NewArtifact(key, "models", key, "digest", 1, {}), {})
    return run_id


def in_order(database: Database, queue: str, count: int) -> list[int]:
    """What the ledger promises, found by looking at every unit."""
    with database.reading() as session:
        everything = session.execute(select(Unit, Run).join(Run, Run.id == Unit.run_id)).all()
    turns = []
    for run in {run.id: run for _, run in everything if run.state == "active"}.values():
        mine = [unit for unit, _ in everything if unit.run_id == run.id and unit.queue == queue]
        in_flight = sum(unit.state in ("queued", "running") for unit in mine)
        ready = sorted(unit.id for unit in mine if unit.state == "ready" and unit.not_before == 0)
        turns += [(-run.priority, in_flight + rank, unit_id) for rank, unit_id in enumerate(ready)]
    return [unit_id for _, _, unit_id in sorted(turns)[:count]]


@pytest.mark.parametrize("seed", range(5))
def test_the_next_units_are_those_that_a_look_at_all_of_them_finds(database: Database, seed: int) -> None:
    rng = random.Random(seed)
    names = [open_extract(database, rng.randint(2, 12), priority=rng.choice([0, 0, 5])) for _ in range(6)]
    with database.transaction() as session:
        for unit in session.scalars(select(Unit).where(Unit.stage == "extract")):
            unit.state = rng.choice(["ready", "ready", "queued", "running", "cancelled"])
            if unit.state == "running":
                unit.owner, unit.lease_until = "o", 1e12
            unit.not_before = rng.choice([0.0, 0.0, 1e12])
        session.execute(update(Run).where(Run.id == rng.choice(names)).values(state="cancelling"))
    for count in (0, 1, 2, 7, 100):
        with database.reading() as session:
            found = [unit_id for unit_id, _ in reconcile._next_ready(session, "extract", count)]
        assert found == in_order(database, "extract", count)


class Work:
    """What the database has done: instructions on SQLite, rows that were looked at on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database, self._statements, self.count = database, [], 0

    def __enter__(self) -> Work:
        event.listen(self._database.engine, "before_cursor_execute", self._note)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self._database.engine, "before_cursor_execute", self._note)
        if self._database.is_sqlite:
            return
        with self._database.reading() as session:
            cursor = session.connection().connection.cursor()
            for statement, values in self._statements:
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
                self.count += _rows(cursor.fetchone()[0][0]["Plan"])
            session.rollback()

    def _note(self, connection, cursor, statement, values, context, many):
        if self._database.is_sqlite:
            cursor.connection.set_progress_handler(self._step, 1)
        elif "units" in statement and not statement.startswith("INSERT"):
            self._statements.append((statement, values))

    def _step(self) -> int:
        self.count += 1
        return 0


def _rows(node: dict[str, Any]) -> int:
    mine = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
    return int(node["Actual Loops"] * mine) + sum(map(_rows, node.get("Plans", ())))


def pass_one_unit_on(database: Database, run_id: str) -> int:
    """All that the queue does for a unit; how much work that is for the database."""
    sender = RecordingSender()
    with Work(database) as work:
        reconcile.tick(database, sender, resend_s=60.0, retry_s=1.0)
        message = sender.take()[0]
        with database.transaction() as session:
            held = units.claim(
                session, message.unit_id, message.attempt, owner="o", worker_id="w", host="h", lease_s=60.0
            )
            assert held is not None
            assert held.run_id == run_id
            assert units.heartbeat(session, held, units.Report(), 60.0) == "alive"
            facts = {**held.payload, "tried": 1, "solved": 1, "kept": 1}
            key = f"{run_id} {held.key}"
            assert units.finish(session, held, units.NewArtifact(key, "states", key, "digest", 1, facts), {})
        reconcile.deliver(database, sender, resend_s=60.0)
    return work.count


def test_a_unit_is_as_much_work_for_the_database_however_many_wait(database: Database) -> None:
    needed = []
    for waiting in (100, 3_000):
        run_id = open_extract(database, waiting)
        if not database.is_sqlite:
            # PostgreSQL does so by itself; SQLite only for who asks, and nobody does.
            with database.transaction() as session:
                session.execute(text("ANALYZE"))
        needed.append(pass_one_unit_on(database, run_id))
        with database.transaction() as session:
            runs.cancel(session, run_id)
    assert needed[0] > 20
    assert needed[1] < 1.3 * needed[0]
