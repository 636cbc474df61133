"""SparsifyDisk: the storage gets back what a disk takes there and does not use.

To sparsify once more changes nothing, so a request that was not answered is repeated. What a disk took before
is written down before the engine is asked: afterwards nobody knows it any more.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.model import Disk, Vm
from ovirt_provision.errors import (
    DiskInUse,
    DiskNotSparsifiable,
    NotOurs,
)
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import GONE, Object
from ovirt_provision.operations.allowance import insist_on_callers
from ovirt_provision.operations.machines import (
    find_machine,
    insist_on_disk,
    insist_on_idle,
    vm_that_is_down,
)
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import disk_ok
from ovirt_provision.v1 import disks_pb2

_SPARSIFIED = 1326  # code of the event `USER_SPARSIFY_IMAGE_FINISH_SUCCESS`
_FOLLOW = "disk_attachments.disk,snapshots"


def why_not(disk_format: str, *, sparse: bool) -> str:
    """Why the engine does not sparsify disks of this kind, whatever the storage; empty if it does
    (behaviour.md 56)."""
    if not sparse:
        return "it is preallocated"
    return "" if disk_format == "raw" else "it is a qcow2 disk"


async def resolve(call: Call) -> dict[str, Any]:
    """Raises MachineNotFound, MachineNotDown, NotOurs, NotYours, DiskInUse and DiskNotSparsifiable."""
    row = _row(call)
    if row is not None and row.kind == "vm":
        vm = await vm_that_is_down(call, row, follow=_FOLLOW)
        disk = _disk_of(call, row, vm)
        if vm.snapshots:
            raise _refusal(disk, "it is part of a snapshot")
    else:
        disk = await _detached(call, row)
    if disk.status == "illegal":
        raise _refusal(disk, "it is illegal")
    if why := why_not(disk.format, sparse=disk.sparse):
        raise _refusal(disk, why)
    return {"disk_id": disk.id, "vm_id": row.known_id if row is not None and row.kind == "vm" else ""}


def _refusal(disk: Disk, why: str) -> DiskNotSparsifiable:
    instead = "make the Machine as a full copy with disks of that kind, or a template with `sparsify` from it"
    return DiskNotSparsifiable(name=disk.name, id=disk.id, why=why, instead=instead)


def _row(call: Call) -> Object | None:
    """The Machine that has the disk, or the disk that was handed over; None for one that is not ours."""
    if call.request.machine_key:
        return find_machine(call.ledger, call.owner, call.engine.name, call.request.machine_key)
    row = call.ledger.object_in_engine(call.engine.name, "disk", call.request.id.lower())
    if row is not None and row.parent_id is not None:
        row = call.ledger.object(row.parent_id)
    if row is None or row.state == GONE:
        return None
    insist_on_callers(call, row, "disk", call.request.id)
    return row


def _disk_of(call: Call, row: Object, vm: Vm) -> Disk:
    """The disk of a Machine that is meant. Raises NotOurs for one that the Machine does not own."""
    owned = call.ledger.disk_ids(row.id)
    asked = call.request.id.lower()
    disk = next((one for one in vm.disks if one.id == asked or (not asked and one.bootable)), None)
    if disk is None or disk.id not in owned:
        raise NotOurs(
            kind="disk",
            name=disk.name if disk else "",
            id=disk.id if disk else asked,
            detail=f"Machine '{row.key}' has no such disk of its own",
        )
    return disk


async def _detached(call: Call, row: Object | None) -> Disk:
    disk_id = call.request.id.lower()
    disk = await call.engine.disks.get(disk_id)
    if disk is None or row is None:
        detail = "the ledger does not know it" if disk else "the engine has no such disk"
        raise NotOurs(kind="disk", name=disk.name if disk else "", id=disk_id, detail=detail)
    if await call.engine.disks.is_attached(disk_id):
        raise DiskInUse(name=disk.name, id=disk_id, doing="sparsified")
    return disk


def intend(call: Call, plan: dict[str, Any], _connection: sa.Connection) -> Intent:
    """Takes the disk, or the Machine that has it. Raises MachineNotFound, MachineBusy, NotYours and
    NotOurs."""
    row = _row(call)
    if row is None:
        raise NotOurs(kind="disk", name="", id=plan["disk_id"], detail="it has been destroyed meanwhile")
    insist_on_idle(call.ledger, row)
    return Intent(object_id=row.id, plan=plan)


async def act(run: Provisioning) -> None:
    """Raises NotOurs, DiskInUse and EngineOperationFailed."""
    await insist_on_disk(run, run.plan["vm_id"], run.plan["disk_id"], doing="sparsified")
    await sparsify(run, [run.plan["disk_id"]])


async def sparsify(run: Provisioning, disk_ids: Sequence[str]) -> None:
    """Sparsifies disks that may be, one after the other; what they took and take is then in the plan, as
    `sparsified`. Raises EngineOperationFailed."""
    for disk_id in disk_ids:
        known = _noted(run, disk_id)
        if "bytes_after" in known:
            continue
        disk = await _present(run, disk_id)
        if not known:
            _note(run, {"id": disk.id, "name": disk.name, "bytes_before": disk.actual_size})
        if not (known and await _done_before(run)):
            await _send(run, disk, asked=bool(known))
        await disk_ok(run, disk.id, disk.name)
        if failure := await run.insist(lambda: run.engine.events.failure_of(run.correlation_id)):
            raise run.failure(f"the sparsifying of disk {disk.name}", failure)
        _note(run, {**_noted(run, disk_id), "bytes_after": (await _present(run, disk_id)).actual_size})


async def _done_before(run: Provisioning) -> bool:
    """Whether the engine has ended what a daemon before has asked for. Without this daemons that die sooner
    than the engine is done would ask for ever."""
    done = [one for one in run.plan["sparsified"] if "bytes_after" in one]
    return await run.insist(lambda: run.engine.events.count(run.correlation_id, _SPARSIFIED)) > len(done)


async def _send(run: Provisioning, disk: Disk, *, asked: bool) -> None:
    async def send() -> None:
        nonlocal asked
        if asked and (await _look(run, disk.id)).status == "locked":
            return  # for a request of ours whose answer was lost
        asked = True
        await run.engine.disks.sparsify(disk, correlation_id=run.correlation_id)

    run.note(f"sparsifying disk {disk.name}")
    await run.insist(send)


async def _present(run: Provisioning, disk_id: str) -> Disk:
    return await run.insist(lambda: _look(run, disk_id))


async def _look(run: Provisioning, disk_id: str) -> Disk:
    disk = await run.engine.disks.get(disk_id)
    if disk is None:
        raise run.failure(f"the sparsifying of disk {disk_id}", "the disk has vanished")
    return disk


def _noted(run: Provisioning, disk_id: str) -> dict[str, Any]:
    return next((dict(one) for one in run.plan.get("sparsified", ()) if one["id"] == disk_id), {})


def _note(run: Provisioning, entry: dict[str, Any]) -> None:
    others = [one for one in run.plan.get("sparsified", ()) if one["id"] != entry["id"]]
    run.add_to_plan(sparsified=[*others, entry])


def phases(_request: disks_pb2.SparsifyDiskRequest) -> Sequence[Phase[Provisioning]]:
    return (Phase("sparsifying", timeout="sparsify", done=100, act=act),)


SPARSIFY_DISK = Verb(
    "SparsifyDisk", disks_pb2.SparsifyDiskRequest, resolve, intend, phases, cancellable=False
)
