"""CreateMachine: a VM from a template, all or nothing."""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from google.protobuf.json_format import MessageToDict

from ovirt_provision.engine.catalog import Wanted
from ovirt_provision.engine.machines import VmRequest
from ovirt_provision.engine.model import Disk, Template
from ovirt_provision.errors import (
    InvalidRequest,
    KeyInUse,
    MachineBusy,
    NameInUse,
    ReferencesNotFound,
    Violation,
)
from ovirt_provision.guest.first_boot import violations_of_script
from ovirt_provision.ledger.identity import Mark, vm_id
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.secrets import split_secrets
from ovirt_provision.ledger.store import INTENDED, REMOVING, SESSION, UNDOING, Ledger, Object
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.destroy_machine import DESTROY_MACHINE
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.removal import learn_disks, remove_machine
from ovirt_provision.operations.start_machine import BOOTING, WAITING_FOR_ADDRESS
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import vm_ready
from ovirt_provision.v1 import machines_pb2, resources_pb2

# What the engine takes as the name of a VM; everything else in a key becomes `-`.
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST_NAME = 255


async def resolve(call: Call) -> dict[str, Any]:
    spec = call.request.spec
    wrong = violations_of_script(call.request.start_with.custom_script, "start_with.custom_script")
    try:
        placement = await call.engine.catalog.resolve(
            Wanted(
                template_id=spec.template.id,
                template_name=spec.template.name,
                template_version=spec.template.version,
                cluster=spec.cluster,
                vnic_profiles=[nic.vnic_profile for nic in spec.nics],
            )
        )
    except ReferencesNotFound as error:
        raise (InvalidRequest([*wrong, *error.violations]) if wrong else error) from None
    wrong += _violations_of_boot_disk(spec.boot_disk, placement.template)
    if wrong:
        raise InvalidRequest(wrong)
    return {
        "template_id": placement.template.id,
        "template_disks": len(placement.template.disks),
        "cluster_id": placement.cluster_id,
        "cluster": placement.cluster_name,
        "vnic_profile_ids": list(placement.vnic_profile_ids),
    }


def _violations_of_boot_disk(wanted: resources_pb2.BootDisk, template: Template) -> list[Violation]:
    if not wanted.size_bytes:
        return []
    field = "spec.boot_disk.size_bytes"
    boot = boot_disk_of(template.disks)
    if boot is None:
        return [Violation(field, f"template '{template.name}' has no bootable disk to grow")]
    if wanted.size_bytes < boot.size:
        return [
            Violation(
                field,
                f"{wanted.size_bytes} is less than the {boot.size} bytes of the template's disk, and a disk "
                "never shrinks",
            )
        ]
    return []


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    request, ledger = call.request, call.ledger
    arguments = _arguments(request)
    living = ledger.living_machine(call.owner, request.key)
    if living is not None:
        _insist_on_a_future(ledger, living)
        _insist_on_same(living, arguments, call.engine.name)
        return Intent(operation=ledger.operation_of_request(call.owner, living.request_id))
    last = ledger.last_machine(call.owner, request.key)
    generation = last.generation + 1 if last else 1
    object_id = ledger.add_object(
        connection,
        engine=call.engine.name,
        kind="vm",
        engine_id=vm_id(call.installation, call.owner, request.key, generation),
        name=request.spec.name or _NOT_IN_NAMES.sub("-", request.key)[:_LONGEST_NAME],
        owner=call.owner,
        key=request.key,
        generation=generation,
        request_id=request.request_id,
        state=INTENDED,
        arguments=arguments,
        details={key: plan[key] for key in ("template_id", "template_disks", "cluster")},
    )
    ledger.set_lease(connection, object_id, SESSION)
    return Intent(object_id=object_id, plan=plan)


def _insist_on_a_future(ledger: Ledger, living: Object) -> None:
    """Raises MachineBusy when the Machine of a key is being destroyed or its making undone."""
    removing = living.state == REMOVING
    for other in ledger.unended_operations(living.id):
        ending = other.verb == DESTROY_MACHINE.name or other.cancelled_by or other.state == UNDOING
        if removing or ending:
            raise MachineBusy(key=living.key, operation=other.id, verb=other.verb)
    made = ledger.operation_of_request(living.owner, living.request_id)
    if removing and made is not None:
        raise MachineBusy(key=living.key, operation=made.id, verb=f"{made.verb}, whose cleanup is pending")


def _arguments(request: machines_pb2.CreateMachineRequest) -> dict[str, Any]:
    """What makes two requests for a key the same, by field path; without secrets and without what names the
    call."""
    public, _ = split_secrets(request)
    for name in ("engine", "request_id", "key"):
        public.ClearField(name)
    return _flat("", MessageToDict(public, preserving_proto_field_name=True))


def _flat(path: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {
            k: v
            for name, inner in value.items()
            for k, v in _flat(f"{path}.{name}".lstrip("."), inner).items()
        }
    return {path: value}


def _insist_on_same(living: Object, arguments: dict[str, Any], engine: str) -> None:
    differing = [
        f"{path} ({living.arguments.get(path, 'not given')} then, {arguments.get(path, 'not given')} now)"
        for path in sorted(living.arguments.keys() | arguments.keys())
        if living.arguments.get(path) != arguments.get(path)
    ]
    if living.engine != engine:
        differing.insert(0, f"engine ({living.engine} then, {engine} now)")
    if differing:
        raise KeyInUse(
            key=living.key,
            differing=", ".join(differing),
            violations=[
                Violation(text.split(" ", 1)[0], text.split(" ", 1)[1].strip("()")) for text in differing
            ],
        )


async def create(run: Provisioning) -> None:
    """Sends the create until the VM with our id and our mark stands (law 1)."""
    row, spec = run.object, run.request.spec
    mark = run.mark("vm", row)
    wanted = VmRequest(
        id=row.known_id,
        name=row.name,
        comment=str(mark),
        template_id=run.plan["template_id"],
        cluster_id=run.plan["cluster_id"],
        clone=spec.clone,
        sockets=spec.cpu.sockets,
        cores=spec.cpu.cores,
        threads=spec.cpu.threads,
        memory=spec.memory_bytes,
        description=spec.description,
    )

    async def send() -> str:
        return (await run.engine.machines.create(wanted, correlation_id=run.correlation_id)).id

    await create_once(
        run, row, doing=f"create VM {row.name}", find=lambda: _find(run, row, wanted.id, mark), send=send
    )


async def _find(run: Provisioning, row: Object, vm_id: str, mark: Mark) -> str | None:
    """Our id if its VM stands with exactly this mark; raises NotOurs for another mark, and NameInUse where
    somebody else's VM has the name."""
    vm = await run.insist(lambda: run.engine.machines.get(vm_id))
    if vm is None:
        holder = await run.insist(lambda: run.engine.machines.find_by_name(row.name))
        if holder is not None and holder.id != vm_id:
            raise NameInUse(name=row.name, kind="VM", holder=holder.id, correlation_id=run.correlation_id)
        return None
    if Mark.parse(vm.comment) != mark:
        run.insist_on_ours(vm)
        raise NameInUse(name=row.key, kind="our own VM of another request", holder=vm.id)
    return vm.id


async def wait_until_ready(run: Provisioning) -> None:
    row = run.object
    disks = run.plan["template_disks"]
    vm = await vm_ready(run, row.known_id, f"VM {row.name}", disks=disks, look_first=run.reentered)
    if not row.details.get("disks_known"):
        learn_disks(run, row, vm.disks)


def boot_disk_of(disks: Sequence[Disk]) -> Disk | None:
    """The disk that a VM or template boots from."""
    return next((disk for disk in disks if disk.bootable), None)


async def grow_boot_disk(run: Provisioning) -> None:
    """Extends the boot disk to the size of the request, unless it has it already."""
    vm_id = run.machine_id
    vm = await run.insist(lambda: run.engine.machines.get(vm_id, follow="disk_attachments.disk"))
    boot = boot_disk_of(vm.disks) if vm is not None else None
    size = run.request.spec.boot_disk.size_bytes
    if boot is None or boot.size >= size:
        return
    run.note(f"growing disk {boot.name} from {boot.size} to {size} bytes")
    await run.insist(
        lambda: run.engine.machines.grow_disk(vm_id, boot, size, correlation_id=run.correlation_id)
    )


async def wait_until_grown(run: Provisioning) -> None:
    await vm_ready(run, run.machine_id, f"the growth of the disk of VM {run.object.name}")


async def connect_nics(run: Provisioning) -> None:
    """Makes the VM's NICs those of the request, matched by name; without any in the request the template's
    stay."""
    wanted = dict(zip((nic.name for nic in run.request.spec.nics), run.plan["vnic_profile_ids"], strict=True))
    row = run.object
    vm_id = row.known_id
    if not wanted:
        return
    vm = await run.insist(lambda: run.engine.machines.get(vm_id, follow="nics"))
    present = {nic.name: nic for nic in vm.nics} if vm else {}
    cid = run.correlation_id
    machines = run.engine.machines
    for name in present.keys() - wanted.keys():
        await run.insist(lambda nic=present[name]: machines.remove_nic(vm_id, nic, correlation_id=cid))  # type: ignore[misc]
    for name, profile in wanted.items():
        run.note(f"connecting NIC {name}")
        if name not in present:
            await run.insist(
                lambda name=name, profile=profile: machines.add_nic(vm_id, name, profile, correlation_id=cid)  # type: ignore[misc]
            )
        elif present[name].vnic_profile_id != profile:
            await run.insist(
                lambda nic=present[name], profile=profile: machines.connect_nic(  # type: ignore[misc]
                    vm_id, nic, profile, correlation_id=cid
                )
            )


async def undo_create(run: Provisioning) -> None:
    await remove_machine(run, run.object)


def phases(request: machines_pb2.CreateMachineRequest) -> Sequence[Phase[Provisioning]]:
    start = request.HasField("start_with")
    return (
        Phase("creating", timeout="create_machine", done=10, act=create, undo=undo_create),
        Phase("cloning", timeout="machine_ready", done=50 if start else 90, observe=wait_until_ready),
        *(
            (
                Phase(
                    "growing-disk",
                    timeout="disk_ready",
                    done=55 if start else 95,
                    act=grow_boot_disk,
                    observe=wait_until_grown,
                ),
            )
            if request.spec.boot_disk.size_bytes
            else ()
        ),
        Phase("connecting-nics", timeout="create_machine", done=60 if start else 100, act=connect_nics),
        *((BOOTING, WAITING_FOR_ADDRESS) if start else ()),
    )


CREATE_MACHINE = Verb("CreateMachine", machines_pb2.CreateMachineRequest, resolve, intend, phases)
