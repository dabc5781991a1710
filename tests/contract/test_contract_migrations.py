"""A ledger of an earlier version is brought up to date with all its rows, and every step can be undone."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError

from arith_shared.ledger import groups, reconcile, runs, schema, units
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Attempt, Base, Stage
from arith_shared.testing import RecordingSender, small_spec

#: The schema under which a cancelled run's stage stayed open.
BEFORE_CANCELLED_STAGES = next(
    revision.down_revision
    for revision in ScriptDirectory(str(schema._MIGRATIONS)).walk_revisions()
    if revision.path.endswith("_cancelled_stages.py")
)


def downgrade(database: Database, version: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    with database.transaction() as session:
        config.attributes["connection"] = session.connection()
        command.downgrade(config, version)


def test_an_attempt_of_before_has_used_nothing_that_is_known(database):
    with database.transaction() as session:
        runs.submit(session, small_spec(), recipe="tiny")
    sender = RecordingSender()
    reconcile.tick(database, sender, resend_s=60.0, retry_s=0.0)
    with database.transaction() as session:
        (message,) = sender.take()
        assert units.claim(
            session, message.unit_id, message.attempt, owner="o", worker_id="w", host="h", lease_s=60.0
        )
    downgrade(database, "0001")
    assert schema.current_version(database) == "0001"
    schema.upgrade(database)
    with database.reading() as session:
        attempt = session.scalars(select(Attempt)).one()
    assert (attempt.owner, attempt.tokens, attempt.gpu_bytes) == ("o", 0, None)


def test_the_stage_of_a_run_that_was_cancelled_before_is_cancelled_and_nothing_else_changes(database):
    with database.transaction() as session:
        cancelled, active = (runs.submit(session, small_spec(), recipe="tiny").id for _ in range(2))
        runs.cancel(session, cancelled)
    before = stages(database)
    assert before[cancelled, "train"].state == "cancelled"
    downgrade(database, BEFORE_CANCELLED_STAGES)
    assert stages(database)[cancelled, "train"].state == "open"
    schema.upgrade(database)
    after = stages(database)
    columns = [column.name for column in Stage.__table__.columns]
    assert {key: [getattr(row, name) for name in columns] for key, row in after.items()} == {
        key: [getattr(row, name) for name in columns] for key, row in before.items()
    }
    assert after[active, "train"].state == "open"
    for state in ("nonsense", "running"):
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.execute(update(Stage).values(state=state))


def stages(database):
    with database.reading() as session:
        return {(stage.run_id, stage.name): stage for stage in session.scalars(select(Stage))}


def test_a_run_of_before_is_in_no_group(database):
    with database.transaction() as session:
        run_id = runs.submit(session, small_spec(), recipe="tiny").id
    downgrade(database, "0002")
    schema.upgrade(database)
    with database.reading() as session:
        run = groups.find(session, run_id).runs[0]
    assert (run.group_id, run.group_place, run.swept) == (None, 0, {})


@pytest.mark.parametrize(
    "through",
    [(), (BEFORE_CANCELLED_STAGES,), ("0001",)],
    ids=["new", "undone and done again", "undone to the first"],
)
def test_the_migrations_make_the_tables_that_the_code_has(database, through):
    for version in through:
        downgrade(database, version)
        schema.upgrade(database)
    with database.reading() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, Base.metadata) == []
