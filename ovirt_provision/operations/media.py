"""What lies in a VM's drives at one start, and from where that boots: held against the engine before the
first effect, and put in before the start.

The disc and the order go in by the run-once start. For a payload the engine's API has no place there (source:
the mapping of `VM` to `RunVmOnceParams` in `VmMapper`), so it is stored in the VM before the start, and taken
out again before the next start and before a template is made.
"""

from collections.abc import Sequence
from typing import Any

from ovirt_provision.engine.model import Cluster
from ovirt_provision.engine.vm_requests import Media, Payload
from ovirt_provision.errors import Violation, there_is
from ovirt_provision.ledger.store import Object
from ovirt_provision.operations.enumerations import BOOT_DEVICES, PAYLOAD_TYPES
from ovirt_provision.operations.problems import Problems
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.verb import Call
from ovirt_provision.v1 import resources_pb2

# The disk first: a blank one leaves it to the disc, and what was installed on it boots afterwards.
_WITH_CD_ROM = ("hd", "cdrom")
# The newest compatibility version of a cluster whose VMs have floppies. Source: osinfo of the engine.
_LAST_WITH_FLOPPY = (4, 3)
_PAYLOAD = "payload"
# Where the verbs that start a Machine have its media.
_FIELDS = {"CreateMachine": "start_media", "StartMachine": "media"}


async def resolve_media(
    call: Call,
    media: resources_pb2.Media,
    field: str,
    initialization: resources_pb2.Initialization,
    cluster: Cluster | None,
    problems: Problems,
) -> dict[str, Any]:
    """The plan for the Media at `field` of a request, whose guest is told `initialization`; `cluster` is None
    where it is not known, which has been told then."""
    plan: dict[str, Any] = {
        "cd_rom": "",
        "boot_devices": [BOOT_DEVICES[device] for device in media.boot_order],
        "payload_type": _payload_type(media.payload, cluster),
    }
    if media.HasField("cd_rom"):
        plan["boot_devices"] = plan["boot_devices"] or list(_WITH_CD_ROM)
        if cluster is not None:
            plan["cd_rom"] = await _find_iso(call, media.cd_rom, f"{field}.cd_rom", cluster, problems)
    if media.HasField("payload"):
        problems.wrong += _violations_of_payload(plan["payload_type"], f"{field}.payload", initialization)
    return plan


def _payload_type(payload: resources_pb2.Payload, cluster: Cluster | None) -> str:
    if payload.type:
        return PAYLOAD_TYPES[payload.type]
    version = tuple(int(part) for part in cluster.version.split(".")) if cluster and cluster.version else ()
    return "floppy" if () < version <= _LAST_WITH_FLOPPY else "cdrom"


def _violations_of_payload(
    payload_type: str, field: str, initialization: resources_pb2.Initialization
) -> Sequence[Violation]:
    """The engine drops what would take the place of the guest's configuration. Source: `RunVmCommand`."""
    if initialization.ByteSize() == 0:
        return []
    if initialization.HasField("sysprep"):
        return [Violation(field, "does not go with sysprep, which takes its place in the VM")]
    if payload_type == "cdrom":
        return [
            Violation(
                f"{field}.type",
                "would be lost: the guest's configuration takes the one CD-ROM that the engine makes; say "
                "TYPE_FLOPPY, or put the files into the configuration",
            )
        ]
    return []


async def _find_iso(
    call: Call, wanted: resources_pb2.CdRom, field: str, cluster: Cluster, problems: Problems
) -> str:
    """What the engine calls the disc: the id of a disk, or the name of a file. A disk goes before a file."""
    images = await call.engine.inventory.iso_images(cluster.data_center_id)
    where = f"the data center of cluster '{cluster.name}'"
    if wanted.disk_id:
        named = [image for image in images if image.id == wanted.disk_id.lower()]
        field, told = f"{field}.disk_id", f"with the id {wanted.disk_id}"
        near = ""
    else:
        named = [image for image in images if image.name == wanted.name]
        field, told = f"{field}.name", f"'{wanted.name}'"
        near = there_is(wanted.name, [image.name for image in images])
    usable = [image for image in named if image.status == "ok"] or named
    disks = [image for image in usable if image.is_disk]
    found = disks or usable[:1]
    if not found:
        problems.miss(field, f"{where} has no ISO image {told}{near}")
    elif len(found) > 1:
        ids = ", ".join(image.id for image in found)
        problems.refuse(field, f"{told} names several disks: {ids}; give the disk_id of one")
    elif found[0].status != "ok":
        problems.refuse(field, f"ISO image {told} is {found[0].status}, not ok")
    else:
        return found[0].id
    return ""


def has_media(run: Provisioning) -> bool:
    """Whether the operation's start has a disc, a payload or an order of its own."""
    field = _FIELDS.get(run.operation.verb)
    return field is not None and run.request.HasField(field)


def media_of(run: Provisioning) -> Media | None:
    """The disc and the order of the operation's start, if it has its own."""
    if not has_media(run):
        return None
    plan = run.plan["media"]
    return Media(cd_rom=plan["cd_rom"], boot_devices=plan["boot_devices"])


async def fit_payload(run: Provisioning, row: Object) -> None:
    """Stores the payload of the operation's start in the VM, or else takes out that of an earlier one."""
    field = _FIELDS.get(run.operation.verb, "")
    if not has_media(run) or not getattr(run.request, field).HasField("payload"):
        await take_payload_out(run, row)
        return
    wanted = getattr(run.secret_request(), field).payload
    payload = Payload(
        type=run.plan["media"]["payload_type"],
        volume_id=wanted.volume_id,
        files=[(file.name, file.content) for file in wanted.files],
    )
    run.note("storing the payload in the VM")
    run.ledger.add_details(row.id, {_PAYLOAD: True})
    await _set_payload(run, row, payload)


async def take_payload_out(run: Provisioning, row: Object) -> None:
    """Removes the payload that an earlier start has left in the VM."""
    if _PAYLOAD not in row.details:
        return
    await _set_payload(run, row, None)
    details = {name: value for name, value in run.ledger.object(row.id).details.items() if name != _PAYLOAD}
    run.ledger.update_object(row.id, details=details)


async def _set_payload(run: Provisioning, row: Object, payload: Payload | None) -> None:
    await run.insist(
        lambda: run.engine.machines.set_payload(
            row.known_id, row.name, payload, correlation_id=run.correlation_id
        ),
        on_vm=row.known_id,
    )
