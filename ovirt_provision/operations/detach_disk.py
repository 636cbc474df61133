"""DetachDisk: the boot disk of a Machine that is down becomes a disk of its own, and the Machine goes.

It rolls forward: once the ledger has it that the disk is handed over, destroying the Machine detaches it
first, as it does with every disk that is not the Machine's own.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.model import BLANK, Disk, Vm
from ovirt_provision.errors import DiskNotDetachable, EngineOperationFailed
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import GONE, HANDED_OVER, Ledger, Object
from ovirt_provision.operations.machines import (
    find_machine,
    insist_on_disk,
    insist_on_idle,
    vm_that_is_down,
)
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.references import find_permissions, grant
from ovirt_provision.operations.removal import remove_machine
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.v1 import disks_pb2


async def resolve(call: Call) -> dict[str, Any]:
    """Looks at the Machine. Raises MachineNotFound, MachineNotDown, NotOurs, DiskNotDetachable and
    ReferencesNotFound."""
    request = call.request
    plan: dict[str, Any] = {"vm_id": ""}
    if not request.validate_only:
        row = find_machine(call.ledger, call.owner, call.engine.name, request.machine_key)
        vm = await vm_that_is_down(call, row, follow="disk_attachments.disk,snapshots")
        plan = {"vm_id": vm.id, "disk_id": _detachable(call.ledger, row, vm).id}
    return plan | await find_permissions(call.engine, request.permissions)


def _detachable(ledger: Ledger, row: Object, vm: Vm) -> Disk:
    owned = ledger.disk_ids(row.id)
    boot = next((disk for disk in vm.disks if disk.bootable), None)
    why = ""
    if boot is None:
        why = "it has none"
    elif boot.id not in owned:
        why = f"disk {boot.name} is not its own"
    elif vm.template_id != BLANK:
        why = f"disk {boot.name} stands on that of a template"
    elif vm.snapshots:
        why = f"disk {boot.name} is part of a snapshot"
    if boot is None or why:
        raise DiskNotDetachable(key=row.key, why=why)
    return boot


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    """Takes the Machine, whose boot disk is nobody's to reap from now on. Raises MachineNotFound and
    MachineBusy."""
    row = find_machine(call.ledger, call.owner, call.engine.name, call.request.machine_key)
    insist_on_idle(call.ledger, row)
    disk = next(child for child in call.ledger.children(row.id) if child.engine_id == plan["disk_id"])
    call.ledger.set_lease(connection, disk.id, HANDED_OVER)
    return Intent(object_id=row.id, plan={**plan, "disk_object_id": disk.id})


def _disk_of(run: Provisioning) -> Object:
    return run.ledger.object(run.plan["disk_object_id"])


async def name(run: Provisioning) -> None:
    """Names and describes the disk, and marks it as ours (law 2). Raises NotOurs and DiskInUse."""
    row, request = _disk_of(run), run.request
    mark = str(run.mark("disk", row))
    description = f"{request.description}\n{mark}" if request.description else mark
    disk = await run.insist(lambda: run.engine.disks.get(row.known_id))
    if disk is not None and (disk.name, disk.description) != (request.name, description):
        await insist_on_disk(run, run.plan["vm_id"], row.known_id, doing="detached")
        await run.insist(
            lambda: run.engine.disks.describe(
                row.known_id,
                name=request.name,
                description=description,
                correlation_id=run.correlation_id,
            )
        )


async def wait_until_named(run: Provisioning) -> None:
    row = _disk_of(run)

    def satisfied(disk: Disk | None) -> bool:
        if disk is None:
            raise _vanished(run, row)
        run.note(f"disk {disk.name} is {disk.status}")
        return disk.status == "ok"

    disk = await run.wait(run.engine.watcher.disk(row.known_id, satisfied, correlation_id=run.correlation_id))
    assert disk is not None
    details = {"size": disk.size, "format": disk.format, "domain_ids": list(disk.domain_ids)}
    run.ledger.add_details(row.id, details, name=run.request.name)


async def grant_roles(run: Provisioning) -> None:
    await grant(run, "disk", _disk_of(run).known_id)


async def destroy(run: Provisioning) -> None:
    """Takes the disk from the Machine in the ledger, and destroys the Machine."""
    row, disk = run.object, _disk_of(run)
    # What is written already is not written again: a daemon that dies soon each time has to get on, too.
    if disk.parent_id is not None:
        _hand_over(run, disk)
    if row.state != GONE:
        await remove_machine(run, row)
    if await run.insist(lambda: run.engine.disks.get(disk.known_id)) is None:
        raise _vanished(run, disk)


def _hand_over(run: Provisioning, disk: Object) -> None:
    run.ledger.update_object(disk.id, parent_id=None)


def _vanished(run: Provisioning, row: Object) -> EngineOperationFailed:
    return run.failure(f"the detaching of disk {row.name}", "the disk has vanished")


def phases(request: disks_pb2.DetachDiskRequest) -> Sequence[Phase[Provisioning]]:
    return (
        Phase("naming", timeout="disk_ready", done=40, act=name, observe=wait_until_named),
        *(
            (Phase("granting", timeout="create_machine", done=50, act=grant_roles),)
            if request.permissions
            else ()
        ),
        Phase("destroying", timeout="destroy", done=100, act=destroy),
    )


DETACH_DISK = Verb(
    "DetachDisk", disks_pb2.DetachDiskRequest, resolve, intend, phases, cancellable=False, line=None
)
