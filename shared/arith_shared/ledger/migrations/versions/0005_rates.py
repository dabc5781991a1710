"""The rate of a running unit, as its worker measures it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("units", sa.Column("progress_rate", sa.Double(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("units", "progress_rate")
