"""The ledger: what we made, are making and have to remove, on SQLite through SQLAlchemy.

Every method is one short transaction in the caller's thread; the file is in WAL mode with synchronous=FULL,
so what a method wrote before it returned survives a crash of the machine.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from ovirt_provision.clock import Clock
from ovirt_provision.ledger.database import WRITING, LedgerError, Tally, open_database, tally_of
from ovirt_provision.ledger.schema import epochs, leases, objects, operations, tombstones

RUNNING = "running"
UNDOING = "undoing"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"
_UNENDED = (RUNNING, UNDOING)

INTENDED = "intended"
PRESENT = "present"
REMOVING = "removing"
GONE = "gone"
LATE = "late"
_DEAD = (GONE, LATE)

CLEANUP_DONE = "done"
CLEANUP_PENDING = "pending"

SESSION = "session"
KEPT = "kept"
HANDED_OVER = "handed-over"
# What a session lease has become that is being reaped; never written.
EXPIRED = "expired"

# The least difference, in seconds, that a time since the epoch can hold.
_MOMENT = 1e-6

R = TypeVar("R")


@dataclass(frozen=True)
class Operation:
    """A row of `operations`; see ledger/schema.py."""

    id: str
    verb: str
    engine: str
    owner: str
    request_id: str
    request_hash: str
    request: dict[str, Any]
    plan: dict[str, Any]
    key: str
    object_id: int | None
    state: str
    cleanup: str
    phase: str
    phases: list[dict[str, Any]]
    percent: int
    revision: int
    cancelled_by: str | None
    error: dict[str, Any] | None
    created_at: float
    ended_at: float | None
    epoch: int

    @property
    def ended(self) -> bool:
        return self.state not in _UNENDED


@dataclass(frozen=True)
class Object:
    """A row of `objects`; see ledger/schema.py."""

    id: int
    engine: str
    kind: str
    engine_id: str | None
    name: str
    owner: str
    key: str
    generation: int
    request_id: str
    parent_id: int | None
    state: str
    unanswered: bool
    arguments: dict[str, Any]
    details: dict[str, Any]
    created_at: float

    @property
    def known_id(self) -> str:
        """Its id in the engine. Raises LookupError while the engine has not told it."""
        if self.engine_id is None:
            raise LookupError(f"the id of {self.kind} {self.name} is not known yet")
        return self.engine_id

    @property
    def adopted(self) -> bool:
        """True for a VM that somebody else made: it carries no mark, and is never changed or removed."""
        return bool(self.details.get("adopted"))


@dataclass(frozen=True)
class Lease:
    """A row of `leases`; see ledger/schema.py."""

    object_id: int
    kind: str
    expired_at: float | None
    ttl: float | None
    confirmed_at: float | None


@dataclass(frozen=True)
class Tombstone:
    """A row of `tombstones`; see ledger/schema.py."""

    object_id: int
    until: float


class OwnershipLost(Exception):
    """A newer daemon has opened this ledger; this one must not write any more."""


class Ledger:
    """The store. Open it once per daemon: each opening fences off the ones before."""

    def __init__(self, database: sa.Engine, clock: Clock, tally: Tally) -> None:
        self._database = database
        self._writing = database.execution_options(**WRITING)
        self._clock = clock
        self._tally = tally
        self._failing = False
        self.epoch = self._next_epoch()
        self._last_accepted = self._newest_operation()

    @classmethod
    def open(cls, path: Path, clock: Clock) -> "Ledger":
        """Opens the ledger in a file, made and migrated where needed. Raises LedgerError."""
        return cls(open_database(path), clock, tally_of(path))

    def close(self) -> None:
        self._database.dispose()
        self._tally.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction; raises OwnershipLost, and writes nothing, when a newer daemon owns the ledger.

        Raises LedgerError when it cannot be written.
        """
        try:
            with self._writing.begin() as connection:
                commits = connection.scalar(
                    epochs.update()
                    .where(epochs.c.epoch == self.epoch)
                    .values(commits=epochs.c.commits + 1)
                    .returning(epochs.c.commits)
                )
                if commits is None:
                    raise OwnershipLost
                yield connection
        except LedgerError:
            self._failing = True
            raise
        self._failing = False
        self._tally.write(commits)

    def insist_on_writable(self) -> None:
        """Tries to write if that failed the last time. Raises LedgerError while it fails."""
        if self._failing:
            with self.transaction():
                pass

    # Operations.

    def add_operation(self, connection: sa.Connection, **values: Any) -> None:
        """Writes a new running operation, later than all before, because that is their order after a restart:
        the clock may stand still or be set back meanwhile."""
        self._last_accepted = max(self._clock.time(), self._last_accepted + _MOMENT)
        connection.execute(
            operations.insert().values(
                state=RUNNING,
                cleanup=CLEANUP_DONE,
                phase="",
                phases=[],
                percent=0,
                revision=1,
                cancelled_by=None,
                error=None,
                created_at=self._last_accepted,
                ended_at=None,
                epoch=self.epoch,
                **values,
            )
        )

    def update_operation(self, operation_id: str, **values: Any) -> Operation:
        """Changes an operation and raises its revision."""
        with self.transaction() as connection:
            connection.execute(
                operations.update()
                .where(operations.c.id == operation_id)
                .values(revision=operations.c.revision + 1, epoch=self.epoch, **values)
            )
        return self.operation_or_fail(operation_id)

    def operation(self, operation_id: str) -> Operation | None:
        return self._one(Operation, operations.select().where(operations.c.id == operation_id))

    def operation_or_fail(self, operation_id: str) -> Operation:
        """The operation of an id. Raises LookupError."""
        operation = self.operation(operation_id)
        if operation is None:
            raise LookupError(operation_id)
        return operation

    def operation_of_request(self, owner: str, request_id: str) -> Operation | None:
        return self._one(
            Operation,
            operations.select().where(operations.c.owner == owner, operations.c.request_id == request_id),
        )

    def unended_operations(self, object_id: int | None = None) -> Sequence[Operation]:
        """Operations that have not ended, oldest first; only those on one object if it is given."""
        query = operations.select().where(operations.c.state.in_(_UNENDED))
        if object_id is not None:
            query = query.where(operations.c.object_id == object_id)
        return self._all(Operation, query.order_by(operations.c.created_at, operations.c.id))

    def unended_operations_using(self, object_id: int) -> Sequence[Operation]:
        """Operations that have not ended and are about an object or have it as their source, oldest first."""
        source = operations.c.plan["source_object_id"].as_integer()
        return self._all(
            Operation,
            operations.select()
            .where(
                operations.c.state.in_(_UNENDED),
                sa.or_(operations.c.object_id == object_id, source == object_id),
            )
            .order_by(operations.c.created_at, operations.c.id),
        )

    def list_operations(
        self, owner: str, *, unended_only: bool, key: str, limit: int, offset: int
    ) -> Sequence[Operation]:
        """An owner's operations, newest first."""
        query = operations.select().where(operations.c.owner == owner)
        if unended_only:
            query = query.where(operations.c.state.in_(_UNENDED))
        if key:
            query = query.where(operations.c.key == key)
        return self._all(
            Operation,
            query.order_by(operations.c.created_at.desc(), operations.c.id).limit(limit).offset(offset),
        )

    def changed_at(self, object_id: int) -> float:
        """When an operation on an object last ended, in seconds since the epoch: 0 if none ever did,
        infinity while one has not."""
        query = sa.select(operations.c.ended_at).where(operations.c.object_id == object_id)
        with self._database.connect() as connection:
            ends = [math.inf if end is None else float(end) for end in connection.scalars(query)]
        return max(ends, default=0.0)

    def awaiting_cleanup(self) -> Sequence[Operation]:
        """Ended operations whose cleanup is pending."""
        return self._all(Operation, operations.select().where(operations.c.cleanup == CLEANUP_PENDING))

    # Objects.

    def add_object(self, connection: sa.Connection, **values: Any) -> int:
        """Writes an object and returns its row id."""
        values = {"parent_id": None, "unanswered": False, "arguments": {}, "details": {}} | values
        written = connection.execute(objects.insert().values(created_at=self._clock.time(), **values))
        return int(written.inserted_primary_key[0])  # type: ignore[index]

    def add_excess(self, of: Object, engine_id: str) -> None:
        """Writes an object that the engine has made although `of` stands: it is to be removed."""
        with self.transaction() as connection:
            self.add_object(
                connection,
                engine=of.engine,
                kind=of.kind,
                engine_id=engine_id,
                name=of.name,
                owner=of.owner,
                key=of.key,
                generation=of.generation,
                request_id=of.request_id,
                parent_id=of.parent_id,
                state=LATE,
            )

    def update_object(self, object_id: int, **values: Any) -> Object:
        """Changes an object, and returns it as it is then. Raises as `transaction`."""
        with self.transaction() as connection:
            connection.execute(objects.update().where(objects.c.id == object_id).values(**values))
        return self.object(object_id)

    def add_details(self, object_id: int, details: Mapping[str, Any], **values: Any) -> Object:
        """As `update_object`; the details are added to those that there are now."""
        known = self.object(object_id).details
        return self.update_object(object_id, details={**known, **details}, **values)

    def object(self, object_id: int) -> Object:
        """The object of a row id. Raises LookupError."""
        found = self._one(Object, objects.select().where(objects.c.id == object_id))
        if found is None:
            raise LookupError(object_id)
        return found

    def living_machine(self, owner: str, key: str) -> Object | None:
        """The Machine of a key that is not gone; it may be about to be made, or removed."""
        return self._one(
            Object,
            objects.select().where(
                objects.c.kind == "vm",
                objects.c.owner == owner,
                objects.c.key == key,
                objects.c.state.not_in(_DEAD),
            ),
        )

    def last_machine(self, owner: str, key: str) -> Object | None:
        """The newest Machine of a key, living or gone."""
        return self._one(
            Object,
            objects.select()
            .where(objects.c.kind == "vm", objects.c.owner == owner, objects.c.key == key)
            .order_by(objects.c.generation.desc())
            .limit(1),
        )

    def list_machines(
        self, owner: str, engine: str, *, after: str = "", limit: int = 1000
    ) -> Sequence[Object]:
        """An owner's living Machines on an engine by key, from the one behind `after`."""
        return self._all(
            Object,
            objects.select()
            .where(
                objects.c.kind == "vm",
                objects.c.owner == owner,
                objects.c.engine == engine,
                objects.c.state.not_in(_DEAD),
                objects.c.key > after,
            )
            .order_by(objects.c.key)
            .limit(limit),
        )

    def living_machines(self) -> Sequence[Object]:
        """The living Machines of all owners on all engines."""
        return self._all(
            Object, objects.select().where(objects.c.kind == "vm", objects.c.state.not_in(_DEAD))
        )

    def count_machines(self, connection: sa.Connection, owner: str) -> int:
        """How many living Machines an owner has, on all engines."""
        query = sa.select(sa.func.count()).where(
            objects.c.kind == "vm", objects.c.owner == owner, objects.c.state.not_in(_DEAD)
        )
        return int(connection.scalar(query) or 0)

    def object_in_engine(self, engine: str, kind: str, engine_id: str) -> Object | None:
        """The newest object with that id in the engine."""
        return self._one(
            Object,
            objects.select()
            .where(objects.c.engine == engine, objects.c.kind == kind, objects.c.engine_id == engine_id)
            .order_by(objects.c.id.desc())
            .limit(1),
        )

    def imported_objects(self, owner: str, engine: str, fingerprint: str) -> Sequence[Object]:
        """What stands of an owner's imports with that fingerprint, or is being made, the newest first."""
        return self._all(
            Object,
            objects.select()
            .where(
                objects.c.owner == owner,
                objects.c.engine == engine,
                objects.c.kind.in_(("disk", "template")),
                objects.c.state.in_((INTENDED, PRESENT)),
                objects.c.arguments["import"].as_string() == fingerprint,
            )
            .order_by(objects.c.id.desc()),
        )

    def object_of_request(self, engine: str, kind: str, owner: str, request_id: str) -> Object | None:
        """The object whose intent a request of an owner wrote."""
        return self._one(
            Object,
            objects.select()
            .where(
                objects.c.engine == engine,
                objects.c.kind == kind,
                objects.c.owner == owner,
                objects.c.request_id == request_id,
            )
            # Behind it come those that the engine has made in excess.
            .order_by(objects.c.id)
            .limit(1),
        )

    def objects_of_request(self, owner: str, request_id: str) -> Sequence[Object]:
        """All that a request has made or was about to make."""
        return self._all(
            Object,
            objects.select()
            .where(objects.c.owner == owner, objects.c.request_id == request_id)
            .order_by(objects.c.id),
        )

    def children(self, object_id: int, kind: str = "disk") -> Sequence[Object]:
        """The disks (or snapshots) of a VM that are not gone."""
        return self._all(
            Object,
            objects.select()
            .where(objects.c.parent_id == object_id, objects.c.kind == kind, objects.c.state != GONE)
            .order_by(objects.c.id),
        )

    def disk_ids(self, object_id: int) -> set[str | None]:
        """Ids in the engine of the disks that a VM owns."""
        return {disk.engine_id for disk in self.children(object_id)}

    def list_objects(self, *states: str, engine: str = "") -> Sequence[Object]:
        """All objects in one of these states, of one engine or of all."""
        query = objects.select().where(objects.c.state.in_(states))
        if engine:
            query = query.where(objects.c.engine == engine)
        return self._all(Object, query.order_by(objects.c.id))

    # Leases.

    def set_lease(
        self, connection: sa.Connection, object_id: int, kind: str, *, ttl: float | None = None
    ) -> None:
        """Gives an object that lease instead of the one it has; `ttl` is in seconds from now."""
        connection.execute(leases.delete().where(leases.c.object_id == object_id))
        connection.execute(
            leases.insert().values(
                object_id=object_id,
                kind=kind,
                expired_at=None,
                ttl=ttl,
                confirmed_at=self._clock.time() if ttl is not None else None,
            )
        )

    def lease(self, object_id: int) -> Lease | None:
        return self._one(Lease, leases.select().where(leases.c.object_id == object_id))

    def expire_lease(self, object_id: int) -> None:
        with self.transaction() as connection:
            connection.execute(
                leases.update().where(leases.c.object_id == object_id).values(expired_at=self._clock.time())
            )

    def mortal_machines(self) -> Sequence[Object]:
        """Machines whose lease may end, or has: with a session or a ttl, and whose removal has not begun."""
        return self._all(
            Object,
            sa.select(objects)
            .join(leases, leases.c.object_id == objects.c.id)
            .where(
                sa.or_(leases.c.kind == SESSION, leases.c.ttl.is_not(None)),
                objects.c.state.in_((INTENDED, PRESENT)),
            ),
        )

    # Counts.

    def count_objects(self) -> Mapping[tuple[str, str, str], int]:
        """How many objects that are not gone there are, by engine, kind and state."""
        columns = (objects.c.engine, objects.c.kind, objects.c.state)
        query = sa.select(*columns, sa.func.count()).where(objects.c.state != GONE).group_by(*columns)
        with self._database.connect() as connection:
            return {(engine, kind, state): n for engine, kind, state, n in connection.execute(query)}

    def count_leases(self) -> Mapping[str, int]:
        """How many living Machines have which lease; an expired one counts as `expired`."""
        kind = sa.case((leases.c.expired_at.is_not(None), EXPIRED), else_=leases.c.kind)
        query = (
            sa.select(kind, sa.func.count())
            .join(objects, leases.c.object_id == objects.c.id)
            .where(objects.c.state.not_in(_DEAD))
            .group_by(kind)
        )
        with self._database.connect() as connection:
            return {found: int(n) for found, n in connection.execute(query)}

    # Tombstones.

    def bury(self, object_id: int, until: float) -> None:
        """Remembers until then (seconds since the epoch) that a create of this object may still arrive: it is
        destroyed, or nothing keeps the engine from making a second one."""
        with self.transaction() as connection:
            connection.execute(tombstones.delete().where(tombstones.c.object_id == object_id))
            connection.execute(tombstones.insert().values(object_id=object_id, until=until))

    def tombstones(self) -> Sequence[Tombstone]:
        """Objects of which one may still arrive, also those whose time is over: they are to be looked up
        once more, by a daemon that was down meanwhile."""
        return self._all(Tombstone, tombstones.select().order_by(tombstones.c.object_id))

    def forget(self, object_id: int) -> None:
        """Removes a tombstone."""
        with self.transaction() as connection:
            connection.execute(tombstones.delete().where(tombstones.c.object_id == object_id))

    # Rows.

    def _next_epoch(self) -> int:
        with self._writing.begin() as connection:
            last = connection.execute(sa.select(epochs)).one_or_none()
            epoch, commits = (last.epoch + 1, last.commits + 1) if last else (1, 1)
            connection.execute(epochs.delete())
            connection.execute(epochs.insert().values(epoch=epoch, commits=commits))
        self._tally.write(commits)
        return epoch

    def _newest_operation(self) -> float:
        """When the last operation was accepted, in seconds since the epoch; 0 if there is none."""
        with self._database.connect() as connection:
            return connection.scalar(sa.select(sa.func.max(operations.c.created_at))) or 0.0

    def _one(self, kind: type[R], query: sa.Executable) -> R | None:
        with self._database.connect() as connection:
            row = connection.execute(query).mappings().first()
        return kind(**row) if row is not None else None

    def _all(self, kind: type[R], query: sa.Executable) -> Sequence[R]:
        with self._database.connect() as connection:
            return [kind(**row) for row in connection.execute(query).mappings()]
