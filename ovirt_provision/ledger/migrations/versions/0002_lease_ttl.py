"""Kept Machines that live for a while only."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("leases") as leases:
        leases.add_column(sa.Column("ttl", sa.Float(), nullable=True))
        leases.add_column(sa.Column("confirmed_at", sa.Float(), nullable=True))
