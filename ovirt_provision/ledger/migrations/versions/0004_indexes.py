"""Indexes for what is looked up for every operation, and for removing what is not needed any more."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("objects_request", "objects", ["owner", "request_id"])
    op.create_index("objects_key", "objects", ["owner", "key", "generation"])
    op.create_index("objects_parent", "objects", ["parent_id"])
    op.create_index("operations_object", "operations", ["object_id"])
