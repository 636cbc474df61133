"""CreateMachine: a VM from a template, all or nothing."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.catalog import Wanted
from ovirt_provision.engine.model import BLANK
from ovirt_provision.engine.vm_requests import TemplateDisk, VmRequest
from ovirt_provision.errors import ReferencesNotFound, Violation, did_you_mean
from ovirt_provision.guest.first_boot import violations_of
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.operations.allowance import insist_on_allowed
from ovirt_provision.operations.enumerations import BIOS_TYPES
from ovirt_provision.operations.equip_machine import (
    assign,
    attach_disks,
    change_disks,
    connect_nics,
    create_disks,
    wait_until_changed,
)
from ovirt_provision.operations.hardware import HardwareResolver
from ovirt_provision.operations.media import resolve_media
from ovirt_provision.operations.new_machine import (
    create_vm,
    intend_machine,
    made_already,
    name_of_vm,
    undo_create,
    wait_until_ready,
)
from ovirt_provision.operations.permits import insist_on_making, storage_domains_of
from ovirt_provision.operations.problems import Problems
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.start_machine import BOOTING, WAITING_FOR_ADDRESS
from ovirt_provision.operations.static_ranges import violations_of_ranges
from ovirt_provision.operations.timeouts import violations_of_timeouts
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.v1 import machines_pb2


async def resolve(call: Call) -> dict[str, Any]:
    """Looks up all that the Machine is to be made of. Raises NotAllowed, ReferencesNotFound, InvalidRequest
    and EnginePermissionDenied."""
    spec = call.request.spec
    # Before the look-ups, so that no near miss tells what else there is.
    if spec.template.name:
        insist_on_allowed(call, "templates", spec.template.name, "spec.template.name")
    if spec.cluster:
        insist_on_allowed(call, "clusters", spec.cluster, "spec.cluster")
    placement = await call.engine.catalog.resolve(
        Wanted(
            template_id=spec.template.id,
            template_name=spec.template.name,
            template_version=spec.template.version,
            cluster=spec.cluster,
            with_nics=bool(spec.nics),
            tells_template=lambda name: call.limits.may_use("templates", name),
            tells_cluster=lambda name: call.limits.may_use("clusters", name),
        )
    )
    template, cluster = placement.template, placement.cluster
    if template is not None:
        insist_on_allowed(call, "templates", template.name, "spec.template.id", given=spec.template.id)
    if cluster is not None:
        insist_on_allowed(call, "clusters", cluster.name, "spec.cluster")
    os_type = spec.operating_system or (template.os_type if template is not None else "")
    problems = Problems(
        missing=list(placement.violations), wrong=_violations_of_request(call.request, os_type)
    )
    vm_name = name_of_vm(spec.name, call.request.key)
    hardware = await HardwareResolver(call, spec, template, cluster, problems).resolve(vm_name)
    media = {}
    if call.request.HasField("start_media"):
        media = await resolve_media(
            call, call.request.start_media, "start_media", call.request.start_with, cluster, problems
        )
    problems.insist_on_none()
    if template is None or cluster is None:
        raise ReferencesNotFound(problems.missing)
    await insist_on_making(call, vm_name, template, cluster.id, hardware)
    return {
        "template_id": template.id,
        "template": {"name": template.name, "version": template.version, "os": template.os_type},
        "storage_domain_ids": storage_domains_of(template),
        "disks": len(template.disks),
        "cluster_id": cluster.id,
        "cluster": cluster.name,
        "hardware": hardware,
        "media": media,
        "vnc_console": spec.vnc_console or template.id == BLANK,
    }


def _violations_of_request(request: machines_pb2.CreateMachineRequest, os_type: str) -> list[Violation]:
    """What is wrong apart from references; `os_type` is that of the VM, empty if unknown."""
    wrong = list(violations_of_timeouts(request))
    if request.HasField("start_with"):
        name = name_of_vm(request.spec.name, request.key)
        wrong += violations_of(request.start_with, "start_with", vm_name=name, os_type=os_type)
        wrong += violations_of_ranges(request.start_with, "start_with")
    nics = [nic.name for nic in request.spec.nics]
    for number, name in enumerate(request.address_selection.nics if nics else ()):
        if name not in nics:
            near = did_you_mean(name, nics)
            wrong.append(Violation(f"address_selection.nics[{number}]", f"the VM gets no NIC '{name}'{near}"))
    return wrong


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    """Writes the Machine, unless the key has one that was asked for in the same words. Raises as
    `made_already` and `intend_machine`."""
    made = made_already(call)
    if made is not None:
        return Intent(operation=made)
    hardware = plan["hardware"]
    details = {key: plan[key] for key in ("template_id", "disks", "cluster")}
    if hardware["attached_disks"]:
        details["attached"] = [disk["id"] for disk in hardware["attached_disks"]]
    object_id = intend_machine(
        call,
        connection,
        name=call.request.spec.name,
        details=details,
        new_disks=[disk["name"] for disk in hardware["new_disks"]],
    )
    return Intent(object_id=object_id, plan=plan)


async def create(run: Provisioning) -> None:
    row, spec = run.object, run.request.spec
    planned = dict(run.plan["hardware"]["vm"])
    disks = [TemplateDisk(**disk) for disk in planned.pop("template_disks")]
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
        guaranteed_memory=spec.guaranteed_memory_bytes,
        description=spec.description,
        bios_type=BIOS_TYPES.get(spec.bios_type, ""),
        template_disks=disks,
        vnc_console=run.plan.get("vnc_console", False),
        tpm=spec.tpm if spec.HasField("tpm") else None,
        virtio_scsi=spec.virtio_scsi if spec.HasField("virtio_scsi") else None,
        virtio_scsi_multi_queues=(
            spec.virtio_scsi_multi_queues if spec.HasField("virtio_scsi_multi_queues") else None
        ),
        nic_multi_queues=spec.nic_multi_queues if spec.HasField("nic_multi_queues") else None,
        **planned,
        storage_domain_ids=run.plan.get("storage_domain_ids", ()),
    )
    await create_vm(run, row, wanted)


def phases(request: machines_pb2.CreateMachineRequest) -> Sequence[Phase[Provisioning]]:
    start, spec = request.HasField("start_with"), request.spec
    changes = spec.HasField("boot_disk") or spec.template_disks
    attaches = spec.new_disks or spec.attached_disks
    assigns = spec.tags or spec.affinity_groups or spec.affinity_labels
    return (
        Phase("creating", timeout="create_machine", done=10, act=create, undo=undo_create),
        *(
            (Phase("creating-disks", timeout="create_machine", done=15, act=create_disks),)
            if spec.new_disks
            else ()
        ),
        Phase("cloning", timeout="machine_ready", done=45 if start else 80, observe=wait_until_ready),
        *(
            (
                Phase(
                    "changing-disks",
                    timeout="disk_ready",
                    done=50 if start else 85,
                    act=change_disks,
                    observe=wait_until_changed,
                ),
            )
            if changes
            else ()
        ),
        *(
            (Phase("attaching-disks", timeout="disk_ready", done=55 if start else 90, act=attach_disks),)
            if attaches
            else ()
        ),
        Phase(
            "connecting-nics",
            timeout="create_machine",
            done=60 if start else 95 if assigns else 100,
            act=connect_nics,
        ),
        *(
            (Phase("assigning", timeout="create_machine", done=65 if start else 100, act=assign),)
            if assigns
            else ()
        ),
        *((BOOTING, WAITING_FOR_ADDRESS) if start else ()),
    )


CREATE_MACHINE = Verb("CreateMachine", machines_pb2.CreateMachineRequest, resolve, intend, phases)
