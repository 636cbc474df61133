"""CloneMachine: a full copy of a Machine, running or not, through a snapshot that never outlives it.

The engine's own action `clone` takes no id of ours, so it is not used.
"""

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.model import Vm
from ovirt_provision.engine.vm_requests import VmRequest
from ovirt_provision.errors import (
    InvalidRequest,
    MachineNotClonable,
    NameInUse,
    ProvisionError,
)
from ovirt_provision.guest.first_boot import violations_of
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import GONE, INTENDED, Object
from ovirt_provision.operations.allowance import insist_on_allowed
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.machines import (
    find_machine,
    insist_on_idle,
    kept_selection,
    selection_of,
)
from ovirt_provision.operations.new_machine import (
    create_vm,
    intend_machine,
    made_already,
    name_of_vm,
    undo_create,
    wait_until_ready,
)
from ovirt_provision.operations.provisioning import Provisioning, insist_on_ours, is_going
from ovirt_provision.operations.removal import find_snapshots, left_to_the_janitor, remove_snapshot
from ovirt_provision.operations.start_machine import BOOTING, WAITING_FOR_ADDRESS
from ovirt_provision.operations.static_ranges import violations_of_ranges
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import snapshot_ok
from ovirt_provision.v1 import machines_pb2

_CLONABLE = ("down", "up")


async def resolve(call: Call) -> dict[str, Any]:
    """Looks at the Machine to copy. Raises MachineNotClonable, NotOurs and NameInUse."""
    request = call.request
    source = find_machine(call.ledger, call.owner, call.engine.name, request.source_key)
    insist_on_allowed(call, "clusters", source.details.get("cluster", ""), "source_key")
    vm = await call.engine.machines.get(source.known_id, follow="disk_attachments.disk")
    if vm is None or vm.status not in _CLONABLE:
        raise MachineNotClonable(key=source.key, status=vm.status if vm else "no longer in the engine")
    insist_on_ours(call.ledger, call.installation, call.engine.name, vm)
    name = name_of_vm(request.name, request.key)
    if request.HasField("start_with"):
        wrong = violations_of(request.start_with, "start_with", vm_name=name, os_type=vm.os_type)
        wrong += violations_of_ranges(request.start_with, "start_with")
        if wrong:
            raise InvalidRequest(wrong)
    if call.ledger.living_machine(call.owner, request.key) is None:
        holder = await call.engine.machines.find_by_name(name)
        if holder is not None and not is_going(call.ledger, call.installation, call.engine.name, holder):
            raise NameInUse(name=name, kind="VM", holder=holder.id)
    owned = call.ledger.disk_ids(source.id)
    _insist_on_own_disks(source.key, vm, owned)
    disks = [disk for disk in vm.disks if disk.id in owned]
    domains = sorted({disk.domain_ids[0] for disk in disks if disk.domain_ids})
    copy = _copy_of(vm.id, vm.cluster_id, domains)
    await call.engine.account.insist(
        f"clone VM {vm.name}", [Need("manipulate_vm_snapshots", "VM", vm.id, vm.name), *copy.needs]
    )
    return {
        "cluster_id": vm.cluster_id,
        "disk_ids": [disk.id for disk in disks],
        "storage_domain_ids": domains,
    }


def _copy_of(vm_id: str, cluster_id: str, storage_domain_ids: Sequence[str], **fields: Any) -> VmRequest:
    """A full copy of a VM's snapshot."""
    blank = {"id": "", "name": "", "comment": "", "snapshot_id": "of the VM"}
    return VmRequest(
        template_id="",
        cluster_id=cluster_id,
        source_id=vm_id,
        storage_domain_ids=storage_domain_ids,
        **{**blank, **fields},
    )


def _insist_on_own_disks(key: str, vm: Vm, owned: Collection[str | None]) -> None:
    """Raises MachineNotClonable for a VM with none but foreign disks: a snapshot of no disk is one of all."""
    if vm.disks and not any(disk.id in owned for disk in vm.disks):
        raise MachineNotClonable(key=key, status="without its own disks, and with others'")


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    """Writes the copy, as that of CreateMachine, and the snapshot, and takes the source. Raises also
    MachineNotFound and MachineBusy."""
    made = made_already(call)
    if made is not None:
        return Intent(operation=made)
    source = find_machine(call.ledger, call.owner, call.engine.name, call.request.source_key)
    insist_on_idle(call.ledger, source)
    object_id = intend_machine(
        call,
        connection,
        name=call.request.name,
        details={
            "disks": len(plan["disk_ids"]),
            "cluster": source.details.get("cluster", ""),
            "copied": True,
            **kept_selection(selection_of(source)),
        },
    )
    snapshot_id = call.ledger.add_object(
        connection,
        engine=call.engine.name,
        kind="snapshot",
        engine_id=None,
        name=f"of VM {source.name}",
        owner=call.owner,
        key=source.key,
        generation=source.generation,
        request_id=call.request.request_id,
        parent_id=source.id,
        state=INTENDED,
    )
    return Intent(
        object_id=object_id,
        plan={**plan, "source_object_id": source.id, "snapshot_object_id": snapshot_id},
    )


def _snapshot_of(run: Provisioning) -> Object:
    return run.ledger.object(run.plan["snapshot_object_id"])


def _source_of(run: Provisioning) -> Object:
    return run.ledger.object(run.plan["source_object_id"])


async def take_snapshot(run: Provisioning) -> None:
    """Sends the create until a snapshot with our mark stands (law 1).

    Nothing fences it, but all that carry the mark are removed, also those that come late, so a request
    without an answer may be repeated.
    """
    row, source = _snapshot_of(run), _source_of(run)
    if row.engine_id is not None:
        return

    async def find() -> str | None:
        found = await find_snapshots(run, row)
        return found[0].id if found else None

    foreign: set[str] = set()

    async def check() -> None:
        vm = await run.insist(
            lambda: run.engine.machines.get(source.known_id, follow="disk_attachments.disk")
        )
        if vm is None:
            raise MachineNotClonable(key=source.key, status="no longer in the engine")
        run.insist_on_ours(vm)
        _insist_on_own_disks(source.key, vm, run.plan["disk_ids"])
        foreign.update({disk.id for disk in vm.disks} - set(run.plan["disk_ids"]))

    async def send() -> str:
        # A snapshot changes the disks that it is of, and what is not ours is never changed.
        snapshot = await run.engine.snapshots.create(
            source.known_id,
            source.name,
            description=str(run.mark("snapshot", row)),
            disk_ids=run.plan["disk_ids"] if foreign else (),
            correlation_id=run.correlation_id,
        )
        return snapshot.id

    await create_once(
        run, row, doing=f"take a snapshot of VM {source.name}", find=find, send=send, check=check
    )


async def wait_for_snapshot(run: Provisioning) -> None:
    await snapshot_ok(run, _source_of(run), _snapshot_of(run).known_id)


async def create(run: Provisioning) -> None:
    row = run.object
    wanted = _copy_of(
        _source_of(run).known_id,
        run.plan["cluster_id"],
        run.plan.get("storage_domain_ids", ()),
        id=row.known_id,
        name=row.name,
        comment=str(run.mark("vm", row)),
        snapshot_id=_snapshot_of(run).known_id,
        description=run.request.description,
    )
    await create_vm(run, row, wanted)


async def drop_snapshot(run: Provisioning) -> None:
    """Removes the snapshot. The Machine stands by now, so what the engine cannot remove is left to the
    janitor."""
    row = _snapshot_of(run)
    with left_to_the_janitor(run, row):
        await remove_snapshot(run, row)


async def undo(run: Provisioning) -> None:
    """Removes the VM, and then the snapshot, which the engine holds as long as it copies from it."""
    left: ProvisionError | None = None
    # What is gone stays so: an undo that is begun again after a crash gets on.
    if run.object.state != GONE:
        try:
            await undo_create(run)
        except ProvisionError as error:
            left = error
    if _snapshot_of(run).state != GONE:
        await remove_snapshot(run, _snapshot_of(run))
    if left is not None:
        raise left


def phases(request: machines_pb2.CloneMachineRequest) -> Sequence[Phase[Provisioning]]:
    start = request.HasField("start_with")
    return (
        Phase(
            "taking-snapshot",
            timeout="create_snapshot",
            done=15 if start else 20,
            act=take_snapshot,
            observe=wait_for_snapshot,
            undo=undo,
        ),
        Phase("creating", timeout="create_machine", done=20 if start else 25, act=create),
        Phase("cloning", timeout="machine_ready", done=50 if start else 80, observe=wait_until_ready),
        Phase("removing-snapshot", timeout="remove_snapshot", done=60 if start else 100, act=drop_snapshot),
        *((BOOTING, WAITING_FOR_ADDRESS) if start else ()),
    )


CLONE_MACHINE = Verb("CloneMachine", machines_pb2.CloneMachineRequest, resolve, intend, phases)
