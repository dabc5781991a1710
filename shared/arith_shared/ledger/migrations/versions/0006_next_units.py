"""Units are found by state, then in the order in which they are sent."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("units_by_queue", "units")
    op.create_index("units_by_state", "units", ["state", "queue", "run_id", "id"])


def downgrade() -> None:
    op.drop_index("units_by_state", "units")
    op.create_index("units_by_queue", "units", ["queue", "state"])
