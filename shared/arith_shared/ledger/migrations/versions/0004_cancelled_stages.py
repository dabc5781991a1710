"""The stage at which a run was cancelled is cancelled, no longer open."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_STATES = "state IN ('waiting', 'open', 'done', 'failed')"
_WITH_CANCELLED = "state IN ('waiting', 'open', 'done', 'failed', 'cancelled')"


def upgrade() -> None:
    _check(_WITH_CANCELLED)
    op.execute(
        "UPDATE stages SET state = 'cancelled' WHERE state = 'open' "
        "AND run_id IN (SELECT id FROM runs WHERE state = 'cancelled')"
    )


def downgrade() -> None:
    op.execute("UPDATE stages SET state = 'open' WHERE state = 'cancelled'")
    _check(_STATES)


def _check(condition: str) -> None:
    """Let `condition` be what the column `state` must satisfy; SQLite, which cannot change that, copies the table."""
    with op.batch_alter_table("stages") as table:
        table.drop_constraint("state_is_known", type_="check")
        table.create_check_constraint("state_is_known", condition)
