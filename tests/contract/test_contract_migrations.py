"""A ledger of an earlier version is brought up to date with all its rows, and every step can be undone."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import select

from arith_shared.ledger import groups, reconcile, runs, schema, units
from arith_shared.ledger.database import Database
from arith_shared.ledger.tables import Attempt, Base
from arith_shared.testing import RecordingSender, small_spec


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


def test_a_run_of_before_is_in_no_group(database):
    with database.transaction() as session:
        run_id = runs.submit(session, small_spec(), recipe="tiny").id
    downgrade(database, "0002")
    schema.upgrade(database)
    with database.reading() as session:
        run = groups.find(session, run_id).runs[0]
    assert (run.group_id, run.group_place, run.swept) == (None, 0, {})


@pytest.mark.parametrize(
    "through", [(), ("0001",), ("0002",)], ids=["new", "undone and done again", "the last one undone"]
)
def test_the_migrations_make_the_tables_that_the_code_has(database, through):
    for version in through:
        downgrade(database, version)
        schema.upgrade(database)
    with database.reading() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, Base.metadata) == []
