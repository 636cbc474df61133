"""ExportImage: a disk becomes an image that the daemon has, for its caller to download.

The engine's host sends the bytes of the disk as they would be read by a guest, whatever its format there is
and whatever it stands on; for a qcow2 they are converted here.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ovirt_provision.engine.model import Disk
from ovirt_provision.engine.transfers import needs_of_transfer
from ovirt_provision.errors import (
    InvalidRequest,
    NotOurs,
    OperationNotFound,
    ReferencesNotFound,
    Violation,
    did_you_mean,
)
from ovirt_provision.images import qemu_img
from ovirt_provision.images.store import Image, ImageStore
from ovirt_provision.ledger.runner import Phase
from ovirt_provision.ledger.store import GONE, Ledger, Object
from ovirt_provision.operations.allowance import insist_on_callers
from ovirt_provision.operations.machines import find_machine, insist_on_idle, vm_that_is_down
from ovirt_provision.operations.provisioning import Provisioning, our_template
from ovirt_provision.operations.references import find_template
from ovirt_provision.operations.transfers import (
    close_transfer,
    intend_transfer,
    move,
    open_transfer,
    remove_transfer,
)
from ovirt_provision.operations.verb import Call, Intent, Verb
from ovirt_provision.v1 import images_pb2, resources_pb2


async def resolve(call: Call) -> dict[str, Any]:
    """Raises ReferencesNotFound, InvalidRequest, NotAllowed, MachineNotFound, MachineNotDown, NotOurs,
    NotYours and EnginePermissionDenied."""
    request = call.request
    row: Object | None
    if request.HasField("template"):
        template = await find_template(call, request.template, "template")
        row = our_template(call.ledger, call.installation, call.engine.name, template)
        disk = _named(request.disk_name, template.disks, f"template '{template.name}'")
    elif request.machine_key:
        row = find_machine(call.ledger, call.owner, call.engine.name, request.machine_key)
        disk = await _disk_of_machine(call, row)
    else:
        row, disk = await _disk_of_its_own(call)
    if disk.status == "illegal":
        raise InvalidRequest([Violation("disk_name", f"disk '{disk.name}' is illegal, nobody can read it")])
    await call.engine.account.insist(f"download disk {disk.name}", needs_of_transfer(disk.id, disk.name))
    return {
        "disk_id": disk.id,
        "disk_name": disk.name,
        "size": disk.size,
        "source_object_id": row.id if row is not None else None,
    }


def _named(name: str, disks: Sequence[Disk], whose: str) -> Disk:
    """The disk of that name, or that a guest boots from, or the only one."""
    if not disks:
        raise ReferencesNotFound([Violation("disk_name", f"{whose} has no disk")])
    if not name:
        return next((disk for disk in disks if disk.bootable), disks[0])
    found = [disk for disk in disks if disk.name == name]
    if not found:
        near = did_you_mean(name, [disk.name for disk in disks])
        raise ReferencesNotFound([Violation("disk_name", f"{whose} has no disk '{name}'{near}")])
    if len(found) > 1:
        raise InvalidRequest([Violation("disk_name", f"{whose} has several disks '{name}'")])
    return found[0]


async def _disk_of_machine(call: Call, row: Object) -> Disk:
    vm = await vm_that_is_down(call, row, follow="disk_attachments.disk")
    disk = _named(call.request.disk_name, vm.disks, f"Machine '{row.key}'")
    if disk.id not in call.ledger.disk_ids(row.id):
        raise NotOurs(kind="disk", name=disk.name, id=disk.id, detail=f"Machine '{row.key}' does not own it")
    return disk


async def _disk_of_its_own(call: Call) -> tuple[Object, Disk]:
    disk_id = call.request.disk_id.lower()
    row = call.ledger.object_in_engine(call.engine.name, "disk", disk_id)
    disk = await call.engine.disks.get(disk_id)
    if disk is None or row is None or row.state == GONE or row.parent_id is not None:
        detail = "it is none that was handed over" if disk else "the engine has no such disk"
        raise NotOurs(kind="disk", name=disk.name if disk else "", id=disk_id, detail=detail)
    insist_on_callers(call, row, "disk", disk_id)
    return row, disk


def intend(call: Call, plan: dict[str, Any], connection: sa.Connection) -> Intent:
    """Takes what the disk belongs to, if that is ours: nothing else happens to it meanwhile."""
    if plan["source_object_id"] is not None:
        insist_on_idle(call.ledger, call.ledger.object(plan["source_object_id"]))
    transfer = intend_transfer(
        call, connection, disk_id=plan["disk_id"], disk_name=plan["disk_name"], direction="download"
    )
    return Intent(object_id=transfer, plan=plan)


async def open_download(run: Provisioning) -> None:
    run.images.make_room(run.plan["size"])
    await open_transfer(run, run.object, "raw")


async def download(run: Provisioning) -> None:
    file = _raw(run)
    row = run.object
    if not file.exists() and row.details.get("transferred"):
        row = run.ledger.add_details(row.id, {"transferred": 0})
    await move(run, row, file, run.plan["size"])


async def close_download(run: Provisioning) -> None:
    await close_transfer(run, run.object)


async def undo_download(run: Provisioning) -> None:
    run.images.drop_scratch(run.operation.id)
    # What is gone is not looked for again: a daemon that dies soon each time has to get on, too.
    if run.object.state != GONE:
        await remove_transfer(run, run.object)


def _raw(run: Provisioning) -> Path:
    return run.images.scratch(run.operation.id, ".raw")


async def convert(run: Provisioning) -> None:
    """Makes the image. What was downloaded stays until the ledger has it: to make it once more gives the same
    one."""
    if "image" not in run.plan:
        image = await _image(run)
        run.add_to_plan(image=asdict(image))
    run.images.drop_scratch(run.operation.id)


async def _image(run: Provisioning) -> Image:
    raw, half = _raw(run), run.images.scratch(run.operation.id, ".part")
    half.unlink(missing_ok=True)
    if run.request.format == resources_pb2.Image.FORMAT_RAW:
        os.link(raw, half)
    else:
        with run.clock.hold():
            await run.wait(
                qemu_img.convert(
                    raw,
                    "raw",
                    half,
                    qemu_img.QCOW2,
                    on_progress=lambda percent: run.note(f"converting the image to qcow2: {percent:.0f} %"),
                )
            )
    run.note("taking the checksum of the image")
    with run.clock.hold():
        return await run.wait(run.images.adopt(run.operation.owner, half))


def remove_image(images: ImageStore, ledger: Ledger, owner: str, checksum: str, export_id: str) -> None:
    """Removes an image of an owner; with the id of the export that it is the result of only if the daemon did
    not have it before. Raises OperationNotFound, ImageBusy and ImageNotFound."""
    if export_id:
        made = ledger.operation(export_id.lower())
        told = made.plan.get("image") if made is not None and made.owner == owner else None
        if made is None or told is None or told["checksum"] != checksum:
            raise OperationNotFound(id=export_id)
        if told["created_at"] < made.created_at:
            return
    images.remove(owner, checksum)


def phases(_request: images_pb2.ExportImageRequest) -> Sequence[Phase[Provisioning]]:
    return (
        Phase("opening-transfer", timeout="transfer_ready", done=5, act=open_download, undo=undo_download),
        Phase("transferring", timeout="transfer_image", done=80, act=download),
        Phase("finalizing", timeout="transfer_ready", done=85, act=close_download),
        Phase("converting", timeout="convert_image", done=100, act=convert),
    )


EXPORT_IMAGE = Verb("ExportImage", images_pb2.ExportImageRequest, resolve, intend, phases)
