"""DestroyDisk: a disk that was handed over is gone, if it is ours and no VM has it."""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.model import Disk
from ovirt_provision.errors import DiskInUse, NotOurs
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import GONE, PRESENT, REMOVING
from ovirt_provision.operations.allowance import insist_on_callers, is_callers
from ovirt_provision.operations.destroy_machine import WAITING_FOR_OTHERS
from ovirt_provision.operations.machines import operations_on
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.removal import bury_if_unanswered
from ovirt_provision.operations.verb import Call, Intent, Line, Verb
from ovirt_provision.v1 import disks_pb2


async def resolve(call: Call) -> dict[str, Any]:
    """Raises NotOurs, NotYours and DiskInUse."""
    disk = await call.engine.disks.get(call.request.id.lower())
    if disk is None:
        return {}
    row = call.ledger.object_in_engine(call.engine.name, "disk", disk.id)
    if row is None or row.state == GONE:
        raise NotOurs(kind="disk", name=disk.name, id=disk.id, detail="the ledger does not know it")
    insist_on_callers(call, row, "disk", disk.id)
    if row.parent_id is not None:
        detail = f"it belongs to Machine '{row.key}', which was not asked to hand it over"
        raise NotOurs(kind="disk", name=disk.name, id=disk.id, detail=detail)
    if await call.engine.disks.is_attached(disk.id):
        raise DiskInUse(name=disk.name, id=disk.id, doing="removed")
    return {}


def intend(call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    """Takes the disk's row, if there is one that the caller may destroy."""
    row = call.ledger.object_in_engine(call.engine.name, "disk", call.request.id.lower())
    if row is None or row.parent_id is not None or not is_callers(call, row):
        return Intent(plan={**plan, "others": []})
    others = [other.id for other in operations_on(call.ledger, row.id)]
    return Intent(object_id=row.id, plan={**plan, "others": others})


async def remove(run: Provisioning) -> None:
    """Removes the disk; gone already is fine.

    Raises DiskInUse, and lets it stand, when a VM has it by now.
    """
    if run.operation.object_id is None or run.object.state == GONE:
        return
    row = run.ledger.update_object(run.object.id, state=REMOVING)
    disk_id = row.known_id

    async def send() -> None:
        disk = await run.engine.disks.get(disk_id)
        if disk is None:
            return
        # The engine would take it from under a VM that is down (behaviour.md 55).
        if await run.engine.disks.is_attached(disk_id):
            run.ledger.update_object(row.id, state=PRESENT)
            raise DiskInUse(name=row.name, id=disk_id, doing="removed", correlation_id=run.correlation_id)
        await run.engine.disks.remove(disk, correlation_id=run.correlation_id)

    await _wait(run, disk_id, lambda disk: disk is None or disk.status != "locked")
    await run.insist(send, patience=run.timeouts.destroy)
    await _wait(run, disk_id, lambda disk: disk is None)
    bury_if_unanswered(run, row)
    run.ledger.update_object(row.id, state=GONE)


async def _wait(run: Provisioning, disk_id: str, satisfied: Callable[[Disk | None], bool]) -> None:
    """Waits for the disk; for one that is as wanted already it does not wait for the watcher."""
    if not satisfied(await run.insist(lambda: run.engine.disks.get(disk_id))):
        run.note("the disk is locked")
        await run.wait(run.engine.watcher.disk(disk_id, satisfied, correlation_id=run.correlation_id))


def phases(_request: disks_pb2.DestroyDiskRequest) -> Sequence[Phase[Provisioning]]:
    return (WAITING_FOR_OTHERS, Phase("destroying", timeout="destroy", done=100, act=remove))


DESTROY_DISK = Verb(
    "DestroyDisk",
    disks_pb2.DestroyDiskRequest,
    resolve,
    intend,
    phases,
    cancellable=False,
    line=Line.REMOVAL,
)
