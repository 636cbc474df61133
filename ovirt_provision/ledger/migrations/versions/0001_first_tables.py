"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table("epochs", sa.Column("epoch", sa.Integer(), primary_key=True))
    op.create_table(
        "objects",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("engine", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("engine_id", sa.String(36), nullable=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("parent_id", sa.Integer(), sa.ForeignKey("objects.id"), nullable=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("unanswered", sa.Boolean(), nullable=False),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
    )
    living = sa.text("kind = 'vm' AND state NOT IN ('gone', 'late')")
    op.create_index(
        "objects_living_key",
        "objects",
        ["owner", "key"],
        unique=True,
        sqlite_where=living,
        postgresql_where=living,
    )
    op.create_index("objects_engine_id", "objects", ["engine", "kind", "engine_id"])
    op.create_index("objects_state", "objects", ["state"])
    op.create_table(
        "operations",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("verb", sa.String(40), nullable=False),
        sa.Column("engine", sa.String(63), nullable=False),
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("request_hash", sa.String(64), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("object_id", sa.Integer(), sa.ForeignKey("objects.id"), nullable=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("cleanup", sa.String(20), nullable=False),
        sa.Column("phase", sa.String(40), nullable=False),
        sa.Column("phases", sa.JSON(), nullable=False),
        sa.Column("percent", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("cancelled_by", sa.String(255), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
    )
    op.create_index("operations_request", "operations", ["owner", "request_id"], unique=True)
    op.create_index("operations_state", "operations", ["state"])
    op.create_table(
        "leases",
        sa.Column("object_id", sa.Integer(), sa.ForeignKey("objects.id"), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("expired_at", sa.Float(), nullable=True),
    )
    op.create_table(
        "tombstones",
        sa.Column("object_id", sa.Integer(), sa.ForeignKey("objects.id"), primary_key=True),
        sa.Column("until", sa.Float(), nullable=False),
    )
