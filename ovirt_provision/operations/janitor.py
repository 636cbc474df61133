"""The janitor: goes on where an undo had to stop, sweeps what turns up after it was destroyed, and has the
ledger forget what is long over."""

from collections.abc import Callable

import structlog

from ovirt_provision.clock import Clock
from ovirt_provision.config import Timeouts
from ovirt_provision.engine import Engine
from ovirt_provision.errors import ProvisionError
from ovirt_provision.images.store import ImageStore
from ovirt_provision.ledger.database import LedgerError
from ovirt_provision.ledger.identity import Mark
from ovirt_provision.ledger.retention import forget
from ovirt_provision.ledger.store import GONE, LATE, PRESENT, REMOVING, Ledger, Object, Tombstone
from ovirt_provision.operations.dispatcher import Dispatcher
from ovirt_provision.operations.provisioning import mark_of
from ovirt_provision.operations.removal import find_vm
from ovirt_provision.operations.transfers import one_of

log = structlog.get_logger("janitor")

# What cannot be cleaned, such as a VM that has lost our mark, is tried ever more rarely; in seconds.
_LONGEST_PAUSE = 600.0
_FORGET_INTERVAL = 3600.0


class Janitor:
    """Cleans what operations had to leave behind. `engines` finds the engine of a profile."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        timeouts: Timeouts,
        dispatcher: Dispatcher,
        images: ImageStore,
        *,
        engines: Callable[[str], Engine],
        installation: str,
        retention: float,
    ) -> None:
        """`retention` is for how many seconds ended operations are kept in the ledger."""
        self._ledger = ledger
        self._clock = clock
        self._timeouts = timeouts
        self._dispatcher = dispatcher
        self._images = images
        self._engines = engines
        self._installation = installation
        self._retention = retention
        # When the ledger is looked through next, on the monotonic clock: not at the start, when a clock may
        # still be wrong.
        self._forget_at = clock.monotonic() + _FORGET_INTERVAL
        # Object -> when it is to be cleaned next, and the pause after that.
        self._tries: dict[int, tuple[float, float]] = {}
        # Object -> until when it is looked for; on the monotonic clock, since the wall clock may jump.
        self._until: dict[int, float] = {}

    @property
    def pending(self) -> bool:
        """True while something waits to be cleaned, or may still turn up."""
        return bool(self._waiting() or self._ledger.tombstones())

    async def run(self) -> None:
        """Cleans for ever, beginning at once: the last daemon may have left work."""
        while True:
            for work in (self._sweep, self._clean, self._forget):
                try:
                    await work()
                except LedgerError as error:
                    log.error("cleaning stands still", error=str(error))
                except Exception:
                    # Whatever it is, what waits to be cleaned has to be looked at again.
                    log.exception("cleaning failed unexpectedly")
            await self._clock.sleep(self._timeouts.cleanup_interval)

    async def _forget(self) -> None:
        """Removes from the ledger, and of the images, what nobody needs any more."""
        if self._clock.monotonic() < self._forget_at:
            return
        self._forget_at = self._clock.monotonic() + _FORGET_INTERVAL
        self._images.purge()
        rows = 0
        while some := forget(self._ledger, self._clock.time() - self._retention):
            rows += some
            # Calls and operations come first.
            await self._clock.sleep(0)
        if rows:
            log.info("forgotten what is long over", rows=rows)

    def _waiting(self) -> list[Object]:
        """Objects that are to be removed and that no operation removes; the disks of a VM go with it, but
        for those that come late."""
        return [
            row
            for row in self._ledger.list_objects(REMOVING, LATE)
            if (row.kind != "disk" or row.state == LATE or row.parent_id is None)
            and not self._ledger.unended_operations(row.id)
            and not self._is_being_made(row)
        ]

    def _is_being_made(self, row: Object) -> bool:
        """True while the operation that made an object goes on: a snapshot is removed by it."""
        making = self._ledger.operation_of_request(row.owner, row.request_id)
        return making is not None and not making.ended

    async def _clean(self) -> None:
        now = self._clock.monotonic()
        for row in self._waiting():
            due, pause = self._tries.get(row.id, (now, self._timeouts.cleanup_interval))
            if now < due:
                continue
            self._tries[row.id] = (now + pause, min(2 * pause, _LONGEST_PAUSE))
            log.info("cleaning up", kind=row.kind, name=row.name, id=row.engine_id)
            self._dispatcher.clean_up(row)

    async def _sweep(self) -> None:
        """Looks for what the engine has made of creates that were never answered: what was destroyed
        meanwhile, and second ones."""
        for tombstone in self._ledger.tombstones():
            row = self._ledger.object(tombstone.object_id)
            over = self._is_over(tombstone)
            try:
                arrived = await self._arrived(row)
            except ProvisionError as error:
                log.warning("looking for a late arrival is put off", name=row.name, error=str(error))
                continue
            if arrived is not None and row.state == PRESENT:
                log.warning("the engine has made a second one", kind=row.kind, name=row.name, id=arrived)
                self._ledger.add_excess(row, arrived)
            elif arrived is not None:
                log.warning("a destroyed object has turned up", kind=row.kind, name=row.name, id=arrived)
                # What was known of its disks was true of the one that is gone.
                self._ledger.add_details(row.id, {"disks_known": False}, state=LATE, engine_id=arrived)
            elif over:
                if row.state == PRESENT:
                    self._ledger.update_object(row.id, unanswered=False)
                self._ledger.forget(row.id)
                self._until.pop(row.id, None)

    def _is_over(self, tombstone: Tombstone) -> bool:
        now = self._clock.monotonic()
        return now > self._until.setdefault(tombstone.object_id, now + tombstone.until - self._clock.time())

    async def _arrived(self, row: Object) -> str | None:
        """The id of an object in the engine that a create of this one has made and no row holds."""
        engine = self._engines(row.engine)
        expected = mark_of(self._installation, row.kind, row)
        if row.kind == "vm":
            vm = await find_vm(engine, row, expected)
            return vm.id if vm is not None and Mark.parse(vm.comment) == expected else None
        if row.kind == "disk":
            disk = await engine.disks.get(row.known_id)
            return disk.id if disk is not None and Mark.parse(disk.description) == expected else None
        if row.kind == "transfer":
            for one in await engine.transfers.of_disk(row.details["disk_id"]):
                known = self._ledger.object_in_engine(row.engine, "transfer", one.id)
                if known is None and not one.ending and one_of(row, one):
                    return one.id
            return None
        if row.kind == "snapshot":
            vm_id = self._ledger.object(row.parent_id or 0).known_id
            found = [(one.id, one.description) for one in await engine.snapshots.of_vm(vm_id)]
        else:
            name = row.details.get("made_as", row.name)
            found = [(one.id, one.comment) for one in await engine.templates.versions_of(name)]
        for engine_id, text in found:
            holder = self._ledger.object_in_engine(row.engine, row.kind, engine_id)
            if Mark.parse(text) == expected and (holder is None or holder.state == GONE):
                return engine_id
        return None
