"""Machines as verbs and services find them: by owner and key."""

from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict

from ovirt_provision.engine.model import Vm
from ovirt_provision.errors import (
    DiskInUse,
    MachineAdopted,
    MachineBusy,
    MachineNotDown,
    MachineNotFound,
    did_you_mean,
)
from ovirt_provision.ledger.store import Ledger, Object, Operation
from ovirt_provision.operations.provisioning import Provisioning, insist_on_ours
from ovirt_provision.operations.verb import Call, Intent
from ovirt_provision.v1 import resources_pb2

_SELECTION = "address_selection"


def find_machine(ledger: Ledger, owner: str, engine: str, key: str, *, adopted: bool = False) -> Object:
    """The living Machine of an owner's key on an engine. Raises MachineNotFound with the near miss, and
    MachineAdopted for one that was adopted, which only what says so by `adopted` may see to (law 5)."""
    row = ledger.living_machine(owner, key)
    if row is None or row.engine != engine:
        known = [machine.key for machine in ledger.list_machines(owner, engine)]
        raise MachineNotFound(key=key, owner=owner, engine=engine, near=did_you_mean(key, known))
    if row.adopted and not adopted:
        raise MachineAdopted(key=key)
    return row


async def vm_that_is_down(call: Call, row: Object, *, follow: str, all_content: bool = False) -> Vm:
    """The VM of a Machine, read with what is followed. Raises MachineNotDown and NotOurs."""
    vm = await call.engine.machines.get(row.known_id, follow=follow, all_content=all_content)
    if vm is None or vm.status != "down":
        raise MachineNotDown(key=row.key, status=vm.status if vm else "no longer in the engine")
    insist_on_ours(call.ledger, call.installation, call.engine.name, vm)
    return vm


async def insist_on_disk(run: Provisioning, vm_id: str, disk_id: str, *, doing: str) -> None:
    """Looks once more whose a disk of ours is that is about to be changed: since the look-ups somebody may
    have been at work. `vm_id` is that of its Machine, empty for one that was handed over.

    Raises NotOurs when the VM is not ours any more, and DiskInUse when another one has the disk.
    """
    vm = None
    if vm_id:
        vm = await run.insist(lambda: run.engine.machines.get(vm_id, follow="disk_attachments.disk"))
    if vm is not None:
        run.insist_on_ours(vm)
        if any(disk.id == disk_id for disk in vm.disks):
            return
    if await run.insist(lambda: run.engine.disks.is_attached(disk_id)):
        row = run.ledger.object_in_engine(run.operation.engine, "disk", disk_id)
        name = row.name if row is not None else ""
        raise DiskInUse(name=name, id=disk_id, doing=doing, correlation_id=run.correlation_id)


def selection_of(row: Object) -> resources_pb2.AddressSelection:
    """Which addresses of a Machine count, as it was last told."""
    kept = row.details.get(_SELECTION, {})
    return ParseDict(kept, resources_pb2.AddressSelection(), ignore_unknown_fields=True)


def kept_selection(selection: resources_pb2.AddressSelection) -> dict[str, Any]:
    """What is kept in the details of a Machine, so that the selection counts from now on."""
    return {_SELECTION: MessageToDict(selection, preserving_proto_field_name=True)}


def machine_of(call: Call) -> Object:
    """The Machine that a call of a verb of power names by `key`; it may be an adopted one."""
    return find_machine(call.ledger, call.owner, call.engine.name, call.request.key, adopted=True)


def intend_on_machine(call: Call, plan: dict[str, Any]) -> Intent:
    """Takes a Machine for an operation that must have it for itself, to start or stop it. Raises
    MachineBusy."""
    row = machine_of(call)
    insist_on_idle(call.ledger, row)
    return Intent(object_id=row.id, plan=plan)


def operations_on(ledger: Ledger, object_id: int) -> list[Operation]:
    """The operations that have not ended and use an object, as their own or as a template's source."""
    return list(ledger.unended_operations_using(object_id))


def insist_on_idle(ledger: Ledger, row: Object) -> None:
    """Raises MachineBusy while an operation runs that uses the Machine."""
    for other in operations_on(ledger, row.id):
        raise MachineBusy(key=row.key, operation=other.id, verb=other.verb)
