"""CreateMachine: a VM from a template, all or nothing."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.catalog import Wanted
from ovirt_provision.engine.machines import VmRequest
from ovirt_provision.engine.model import Disk, Template
from ovirt_provision.errors import (
    InvalidRequest,
    ReferencesNotFound,
    Violation,
)
from ovirt_provision.guest.first_boot import violations_of_script
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.operations.allowance import insist_on_allowed
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.new_machine import (
    find_made,
    intend_machine,
    made_already,
    undo_create,
    wait_until_ready,
)
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.start_machine import BOOTING, WAITING_FOR_ADDRESS
from ovirt_provision.operations.timeouts import violations_of_timeouts
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.operations.waits import vm_ready
from ovirt_provision.v1 import machines_pb2, resources_pb2


async def resolve(call: Call) -> dict[str, Any]:
    spec = call.request.spec
    # Before the look-ups, so that no near miss tells what else there is.
    if spec.template.name:
        insist_on_allowed(call, "templates", spec.template.name, "spec.template.name")
    if spec.cluster:
        insist_on_allowed(call, "clusters", spec.cluster, "spec.cluster")
    wrong = violations_of_script(call.request.start_with.custom_script, "start_with.custom_script")
    wrong += violations_of_timeouts(call.request)
    try:
        placement = await call.engine.catalog.resolve(
            Wanted(
                template_id=spec.template.id,
                template_name=spec.template.name,
                template_version=spec.template.version,
                cluster=spec.cluster,
                vnic_profiles=[nic.vnic_profile for nic in spec.nics],
                tells_template=lambda name: call.limits.may_use("templates", name),
                tells_cluster=lambda name: call.limits.may_use("clusters", name),
            )
        )
    except ReferencesNotFound as error:
        raise (InvalidRequest([*wrong, *error.violations]) if wrong else error) from None
    insist_on_allowed(call, "templates", placement.template.name, "spec.template.id", given=spec.template.id)
    insist_on_allowed(call, "clusters", placement.cluster_name, "spec.cluster")
    wrong += _violations_of_boot_disk(spec.boot_disk, placement.template)
    if wrong:
        raise InvalidRequest(wrong)
    return {
        "template_id": placement.template.id,
        "disks": len(placement.template.disks),
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
    made = made_already(call)
    if made is not None:
        return Intent(operation=made)
    object_id = intend_machine(
        call,
        connection,
        name=call.request.spec.name,
        details={key: plan[key] for key in ("template_id", "disks", "cluster")},
    )
    return Intent(object_id=object_id, plan=plan)


async def create(run: Provisioning) -> None:
    """Sends the create until the VM with our id and our mark stands (law 1)."""
    row, spec = run.object, run.request.spec
    wanted = VmRequest(
        id=row.known_id,
        name=row.name,
        comment=str(run.mark("vm", row)),
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

    await create_once(run, row, doing=f"create VM {row.name}", find=lambda: find_made(run, row), send=send)


def boot_disk_of(disks: Sequence[Disk]) -> Disk | None:
    """The disk that a VM or template boots from."""
    return next((disk for disk in disks if disk.bootable), None)


async def grow_boot_disk(run: Provisioning) -> None:
    """Extends the boot disk to the size of the request, unless it has it already."""
    vm_id = run.machine_id
    vm = await run.insist(lambda: run.engine.machines.find(vm_id, follow="disk_attachments.disk"))
    if vm is not None:
        run.insist_on_ours(vm)
    owned = {child.engine_id for child in run.ledger.children(run.object.id)}
    boot = boot_disk_of([disk for disk in vm.disks if disk.id in owned]) if vm is not None else None
    size = run.request.spec.boot_disk.size_bytes
    if boot is None or boot.size >= size:
        return
    run.note(f"growing disk {boot.name} from {boot.size} to {size} bytes")
    await run.insist(
        lambda: run.engine.machines.grow_disk(vm_id, boot, size, correlation_id=run.correlation_id),
        on_vm=vm_id,
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
    vm = await run.insist(lambda: run.engine.machines.find(vm_id, follow="nics"))
    if vm is not None:
        run.insist_on_ours(vm)
    present = {nic.name: nic for nic in vm.nics} if vm else {}
    cid = run.correlation_id
    machines = run.engine.machines
    for name in present.keys() - wanted.keys():
        await run.insist(
            lambda nic=present[name]: machines.remove_nic(vm_id, nic, correlation_id=cid),  # type: ignore[misc]
            on_vm=vm_id,
        )
    for name, profile in wanted.items():
        run.note(f"connecting NIC {name}")
        if name not in present:
            await run.insist(
                lambda name=name, profile=profile: machines.add_nic(vm_id, name, profile, correlation_id=cid),  # type: ignore[misc]
                on_vm=vm_id,
            )
        elif present[name].vnic_profile_id != profile:
            await run.insist(
                lambda nic=present[name], profile=profile: machines.connect_nic(  # type: ignore[misc]
                    vm_id, nic, profile, correlation_id=cid
                ),
                on_vm=vm_id,
            )


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
