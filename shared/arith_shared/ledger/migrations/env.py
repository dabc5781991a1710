"""Run by Alembic inside the transaction that `schema.upgrade` opened."""

from alembic import context

from arith_shared.ledger.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
