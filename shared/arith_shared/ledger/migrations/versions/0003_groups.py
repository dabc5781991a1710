"""Groups: runs that were submitted together as a sweep, and the values in which they differ."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("group_id", sa.Text(), nullable=True))
    op.add_column("runs", sa.Column("group_place", sa.Integer(), server_default="0", nullable=False))
    op.add_column("runs", sa.Column("swept", sa.JSON(), server_default="{}", nullable=False))
    op.create_index("runs_by_group", "runs", ["group_id"], unique=False)


def downgrade() -> None:
    op.drop_index("runs_by_group", table_name="runs")
    op.drop_column("runs", "swept")
    op.drop_column("runs", "group_place")
    op.drop_column("runs", "group_id")
