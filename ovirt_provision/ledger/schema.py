"""Tables of the ledger. Times are seconds since the epoch; changes go through ledger/migrations."""

from sqlalchemy import (
    DDL,
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    event,
)

metadata = MetaData()

# By which file(1) and we tell a ledger from other databases of SQLite: "oVpL".
APPLICATION_ID = 0x6F56704C

# One durable run of a verb. `request` and `plan` (what its references were resolved to) hold no secret.
operations = Table(
    "operations",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("verb", String(40), nullable=False),
    Column("engine", String(63), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("request_id", String(36), nullable=False),
    Column("request_hash", String(64), nullable=False),
    Column("request", JSON, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("key", String(255), nullable=False),
    Column("object_id", Integer, ForeignKey("objects.id"), nullable=True),
    Column("state", String(20), nullable=False),
    Column("cleanup", String(20), nullable=False),
    Column("phase", String(40), nullable=False),
    Column("phases", JSON, nullable=False),
    Column("percent", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    # Who asked for the cancellation, for people; null while nobody has.
    Column("cancelled_by", String(255), nullable=True),
    Column("error", JSON, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
    # Counts the starts of the daemon; a runner of an older epoch may not write.
    Column("epoch", Integer, nullable=False),
    Index("operations_request", "owner", "request_id", unique=True),
    Index("operations_state", "state"),
    Index("operations_object", "object_id"),
)

# Every engine object that we made or are about to make, written before the request goes out.
objects = Table(
    "objects",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("engine", String(63), nullable=False),
    Column("kind", String(20), nullable=False),
    # Known beforehand for VMs; for templates, disks and snapshots only once the engine has told it.
    Column("engine_id", String(36), nullable=True),
    Column("name", String(255), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("key", String(255), nullable=False),
    Column("generation", Integer, nullable=False),
    # The request that the object's mark names.
    Column("request_id", String(36), nullable=False),
    # The VM that a disk or snapshot belongs to.
    Column("parent_id", Integer, ForeignKey("objects.id"), nullable=True),
    # intended, present, removing, gone, or late: destroyed, and turned up in the engine afterwards.
    Column("state", String(20), nullable=False),
    # True while a create request may still be running in the engine without our knowing.
    Column("unanswered", Boolean, nullable=False),
    # What it was made from, to tell whether a living key is asked for again with the same arguments.
    Column("arguments", JSON, nullable=False),
    Column("details", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("objects_engine_id", "engine", "kind", "engine_id"),
    Index("objects_state", "state"),
    Index("objects_request", "owner", "request_id"),
    Index("objects_key", "owner", "key", "generation"),
    Index("objects_parent", "parent_id"),
)

# A key is that of one Machine among the living. As text that PostgreSQL and SQLite both understand: an Index
# with a condition would load PostgreSQL's dialect, 2 MB, into every daemon.
event.listen(
    objects,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]
        "CREATE UNIQUE INDEX objects_living_key ON objects (owner, key)"
        " WHERE kind = 'vm' AND state NOT IN ('gone', 'late')"
    ),
)

# Why a Machine may live. When its client was last heard of is not written: it counts only while a daemon
# runs.
leases = Table(
    "leases",
    metadata,
    Column("object_id", Integer, ForeignKey("objects.id"), primary_key=True),
    # session, kept or handed-over.
    Column("kind", String(20), nullable=False),
    Column("expired_at", Float, nullable=True),
    # For a kept Machine that is not to live for ever: its seconds, counted from `confirmed_at`.
    Column("ttl", Float, nullable=True),
    Column("confirmed_at", Float, nullable=True),
)

# Objects that may turn up, because a create of theirs may still be running in the engine: those that we
# destroyed, and a second one where the engine fences none.
tombstones = Table(
    "tombstones",
    metadata,
    Column("object_id", Integer, ForeignKey("objects.id"), primary_key=True),
    Column("until", Float, nullable=False),
)

# One row: how often a daemon has opened this ledger, and how many transactions it has committed.
epochs = Table(
    "epochs",
    metadata,
    Column("epoch", Integer, primary_key=True),
    Column("commits", Integer, nullable=False, server_default="0"),
)
