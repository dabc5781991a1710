"""What attempts used: tokens and GPU memory; and an index to find those that ended lately."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("tokens", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("attempts", sa.Column("gpu_bytes", sa.BigInteger(), nullable=True))
    op.create_index("attempts_by_end", "attempts", ["ended_at"], unique=False)


def downgrade() -> None:
    op.drop_index("attempts_by_end", table_name="attempts")
    op.drop_column("attempts", "gpu_bytes")
    op.drop_column("attempts", "tokens")
