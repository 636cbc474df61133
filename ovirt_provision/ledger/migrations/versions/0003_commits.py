"""Count commits, mark the file as ours, and call the disks of a template `disks`.

What a VM gets as its disks was `template_disks` as long as every Machine was made from a template.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

# A copy of the one in ledger/schema.py: a migration stays as it is when the schema moves on.
_APPLICATION_ID = 0x6F56704C
_OLD, _NEW = "template_disks", "disks"


def upgrade() -> None:
    op.add_column("epochs", sa.Column("commits", sa.Integer(), nullable=False, server_default="0"))
    operations = sa.table("operations", sa.column("id", sa.String), sa.column("plan", sa.JSON))
    objects = sa.table("objects", sa.column("id", sa.Integer), sa.column("details", sa.JSON))
    _rename(operations, operations.c.plan)
    _rename(objects, objects.c.details)
    if op.get_bind().dialect.name == "sqlite":
        op.execute(f"PRAGMA application_id = {_APPLICATION_ID}")


def _rename(table: sa.TableClause, column: "sa.ColumnClause[dict[str, object]]") -> None:
    connection = op.get_bind()
    for row_id, value in connection.execute(sa.select(table.c.id, column)).all():
        if _OLD in value:
            renamed = {_NEW if name == _OLD else name: item for name, item in value.items()}
            connection.execute(table.update().where(table.c.id == row_id).values({column.name: renamed}))
