"""What the ledger may forget, and when.

An ended operation is kept for a time, so that its `request_id` goes on meaning it, and beyond that as long as
anything that it made still stands, is to be removed or may turn up. What is gone is kept as long as an
operation, a child or a tombstone names it. Of each key its newest Machine is kept for ever, without details:
its generation, and with it the id of a VM, must never be used again.
"""

import sqlalchemy as sa

from ovirt_provision.ledger.schema import leases, objects, operations, tombstones
from ovirt_provision.ledger.store import CLEANUP_DONE, GONE, Ledger

# Operations, and objects, of one transaction: it must not hold up the others.
_BATCH = 200
# Where the plans of operations name objects besides the one that they are about.
_NAMED_BY_PLANS = ("source_object_id", "old_object_id", "test_object_id", "disk_object_id")


def forget(ledger: Ledger, ended_before: float) -> int:
    """Removes some of what ended before that time (seconds since the epoch); returns how many rows, 0 when
    there is nothing left to remove. Raises LedgerError and OwnershipLost."""
    with ledger.transaction() as connection:
        return _forget_operations(connection, ended_before) + _forget_objects(connection)


def _forget_operations(connection: sa.Connection, ended_before: float) -> int:
    made = sa.exists().where(
        objects.c.owner == operations.c.owner,
        objects.c.request_id == operations.c.request_id,
        sa.or_(objects.c.state != GONE, _has_tombstone()),
    )
    subject = sa.exists().where(objects.c.id == operations.c.object_id, _has_tombstone())
    old = (
        sa.select(operations.c.id)
        .where(
            operations.c.ended_at < ended_before,
            operations.c.cleanup == CLEANUP_DONE,
            sa.not_(made),
            sa.not_(subject),
        )
        .limit(_BATCH)
    )
    return connection.execute(operations.delete().where(operations.c.id.in_(old))).rowcount


def _forget_objects(connection: sa.Connection) -> int:
    child = objects.alias()
    planned = [operations.c.plan[name].as_integer() for name in _NAMED_BY_PLANS]
    unnamed = sa.and_(
        objects.c.state == GONE,
        sa.not_(_has_tombstone()),
        sa.not_(sa.exists().where(operations.c.object_id == objects.c.id)),
        sa.not_(
            sa.exists().where(
                operations.c.owner == objects.c.owner, operations.c.request_id == objects.c.request_id
            )
        ),
        # Looked up once for all: a plan has no index.
        *(objects.c.id.not_in(sa.select(named).where(named.is_not(None))) for named in planned),
        sa.not_(sa.exists().where(child.c.parent_id == objects.c.id)),
    )
    bare = sa.and_(
        *(sa.cast(column, sa.String) == "{}" for column in (objects.c.arguments, objects.c.details))
    )
    rows = 0
    for found, change in (
        (sa.not_(_is_newest()), objects.delete()),
        (sa.and_(_is_newest(), sa.not_(bare)), objects.update().values(arguments={}, details={})),
    ):
        ids = connection.scalars(sa.select(objects.c.id).where(unnamed, found).limit(_BATCH)).all()
        connection.execute(leases.delete().where(leases.c.object_id.in_(ids)))
        rows += connection.execute(change.where(objects.c.id.in_(ids))).rowcount
    return rows


def _is_newest() -> sa.ColumnElement[bool]:
    """True for the newest Machine of each key."""
    newer = objects.alias()
    return sa.and_(
        objects.c.kind == "vm",
        sa.not_(
            sa.exists().where(
                newer.c.kind == "vm",
                newer.c.owner == objects.c.owner,
                newer.c.key == objects.c.key,
                newer.c.generation > objects.c.generation,
            )
        ),
    )


def _has_tombstone() -> sa.ColumnElement[bool]:
    return sa.exists().where(tombstones.c.object_id == objects.c.id)
