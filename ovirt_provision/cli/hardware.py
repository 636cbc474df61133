"""Options of `machine create` for disks, NICs and the rest of a VM's hardware.

Where one option has several attributes, they are written `key=value`, as the schema names them: `-` stands
for `_`, a flag may go without its value, and a size has a unit.
"""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from ovirt_provision.cli import options
from ovirt_provision.errors import did_you_mean
from ovirt_provision.v1 import resources_pb2

_YES = {"": True, "yes": True, "true": True, "no": False, "false": False}
_PANEL = "Hardware"


def _many(metavar: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        metavar=metavar, help=f"{text} Repeatable.", rich_help_panel=_PANEL, show_default=False
    )
    return found


def _one(metavar: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        metavar=metavar, help=text, rich_help_panel=_PANEL, show_default=False
    )
    return found


def _flag(names: str, text: str) -> typer.models.OptionInfo:
    found: typer.models.OptionInfo = typer.Option(
        names, help=f"{text} Default: as the template.", rich_help_panel=_PANEL, show_default=False
    )
    return found


BootDiskOption = Annotated[
    str, _one("KEY=VALUE,…", "Change the boot disk, such as size=20GiB,interface=virtio,propagate-errors.")
]
TemplateDiskOption = Annotated[
    list[str], _many("NAME,KEY=VALUE,…", "Change a disk of the template, such as data,size=50GiB.")
]
NewDiskOption = Annotated[
    list[str],
    _many("SIZE[,KEY=VALUE…]", "Blank disk to make, such as 20GiB,name=data,storage-domain=fast,format=raw."),
]
AttachDiskOption = Annotated[
    list[str],
    _many("ID[,KEY=VALUE…]", "Existing disk to attach, which stays when the Machine goes; read-only, say."),
]
NicOption = Annotated[
    list[str],
    _many(
        "NIC[=PROFILE][,KEY=VALUE…]",
        "NIC and its vNIC profile, such as nic1=ovirtmgmt or nic2,network=lab,interface=e1000,linked=no. "
        "Default: the template's NICs.",
    ),
]
StorageDomainOption = Annotated[str, _one("NAME", "Storage domain of the disks. Default: the template's.")]
GuaranteedMemoryOption = Annotated[str, _one("SIZE", "Memory that the host keeps for it, such as 1GiB.")]
InstanceTypeOption = Annotated[str, _one("NAME", "Instance type, for CPUs and memory.")]
BiosOption = Annotated[
    str, _one("TYPE", "i440fx-sea-bios, q35-sea-bios, q35-ovmf, q35-secure-boot or cluster-default.")
]
TpmOption = Annotated[bool | None, _flag("--tpm/--no-tpm", "A TPM, which takes UEFI.")]
VirtioScsiOption = Annotated[
    bool | None, _flag("--virtio-scsi/--no-virtio-scsi", "A VirtIO-SCSI controller.")
]
VirtioScsiQueuesOption = Annotated[
    bool | None,
    _flag("--virtio-scsi-multi-queues/--no-virtio-scsi-multi-queues", "Several queues for that controller."),
]
NicQueuesOption = Annotated[
    bool | None, _flag("--nic-multi-queues/--no-nic-multi-queues", "Several queues for each NIC.")
]
HostOption = Annotated[list[str], _many("NAME", "Host that it may run on.")]
AffinityOption = Annotated[
    str, _one("KIND", "migratable, user-migratable or pinned. Default: as the template.")
]
AffinityGroupOption = Annotated[list[str], _many("NAME", "Affinity group of the cluster to join.")]
AffinityLabelOption = Annotated[list[str], _many("NAME", "Affinity label to get.")]
QuotaOption = Annotated[str, _one("NAME", "Quota for the VM and its disks. Default: as the template.")]
PropertyOption = Annotated[
    list[str], _many("NAME=VALUE", "Custom property; without a value one of the template's is taken away.")
]
TagOption = Annotated[list[str], _many("NAME", "Tag that the engine has.")]
OsOption = Annotated[
    str, _one("NAME", "Operating system as the engine calls it, such as rhel_9x64. Default: the template's.")
]
VncOption = Annotated[bool, typer.Option("--vnc", help="A VNC console.", rich_help_panel=_PANEL)]
IsoOption = Annotated[
    str, _one("NAME|ID", "ISO image in the CD-ROM drive at this start; it boots where the disk does not.")
]
BootFromOption = Annotated[
    str, _one("DEVICE,…", "hd, cdrom and network, in the order in which this start tries them.")
]
PayloadOption = Annotated[
    list[Path], _many("FILE", "Small text file that the guest finds on a CD-ROM or floppy at this start.")
]
PayloadTypeOption = Annotated[str, _one("KIND", "Of the payload: floppy or cdrom. Default: as the cluster.")]
PayloadLabelOption = Annotated[str, _one("LABEL", "Volume label of the payload, such as OEMDRV.")]


def fill(message: Message, attributes: Sequence[str], option: str) -> None:
    """Sets the fields of a message by attributes such as `size=20GiB` and `bootable`.

    Raises typer.BadParameter with the near miss.
    """
    fields = {_key(field): field for field in message.DESCRIPTOR.fields if not field.is_repeated}
    for attribute in attributes:
        key, equals, value = attribute.strip().partition("=")
        field = fields.get(key)
        if field is None:
            raise typer.BadParameter(
                f"'{key}' is no attribute{did_you_mean(key, fields)}; there are {', '.join(fields)}",
                param_hint=option,
            )
        if not equals and field.type != field.TYPE_BOOL:
            raise typer.BadParameter(f"'{key}' needs a value: {key}=…", param_hint=option)
        setattr(message, field.name, _value(field, value, option))


def _key(field: Any) -> str:
    return str(field.name).removesuffix("_bytes").replace("_", "-")


def _value(field: Any, value: str, option: str) -> object:
    if field.type == field.TYPE_BOOL:
        if value.lower() not in _YES:
            raise typer.BadParameter(f"{_key(field)}='{value}' is neither yes nor no", param_hint=option)
        return _YES[value.lower()]
    if field.enum_type is not None:
        return enum_value(field.enum_type, value, option)
    return options.size(value) if field.name.endswith("_bytes") else value


def enum_value(descriptor: Any, given: str, option: str) -> int:
    """The number of `virtio-scsi` in an enumeration with DISK_INTERFACE_VIRTIO_SCSI."""
    prefix = descriptor.values[0].name.removesuffix("UNSPECIFIED")
    known: dict[str, int] = {
        value.name.removeprefix(prefix).lower().replace("_", "-"): value.number
        for value in descriptor.values[1:]
    }
    if given.lower() not in known:
        raise typer.BadParameter(
            f"'{given}' is not one of {', '.join(known)}{did_you_mean(given, known)}", param_hint=option
        )
    return known[given.lower()]


def set_disks(
    spec: resources_pb2.MachineSpec,
    *,
    boot_disk: str,
    boot_disk_size: str,
    template_disks: Sequence[str],
    new_disks: Sequence[str],
    attached_disks: Sequence[str],
) -> None:
    """Puts what was said of disks into a spec. Raises typer.BadParameter."""
    if boot_disk:
        fill(spec.boot_disk, boot_disk.split(","), "--boot-disk")
    if boot_disk_size:
        spec.boot_disk.size_bytes = options.size(boot_disk_size)
    for given in template_disks:
        name, *attributes = given.split(",")
        fill(spec.template_disks.add(name=name), attributes, "--template-disk")
    for given in new_disks:
        size, *attributes = given.split(",")
        fill(spec.new_disks.add(size_bytes=options.size(size)), attributes, "--new-disk")
    for given in attached_disks:
        disk_id, *attributes = given.split(",")
        fill(spec.attached_disks.add(id=disk_id), attributes, "--attach-disk")


def set_media(
    media: resources_pb2.Media,
    *,
    iso: str,
    boot_from: str,
    payload: Sequence[Path],
    payload_type: str,
    payload_label: str,
) -> None:
    """Puts what was said of drives into media. Raises typer.BadParameter."""
    if iso:
        try:
            media.cd_rom.disk_id = str(uuid.UUID(iso))
        except ValueError:
            media.cd_rom.name = iso
    for device in filter(None, boot_from.split(",")):
        number = enum_value(resources_pb2.BootDevice.DESCRIPTOR, device.strip(), "--boot-from")
        media.boot_order.append(resources_pb2.BootDevice.ValueType(number))
    for file in payload:
        try:
            content = file.expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is no text (UTF-8)"
            raise typer.BadParameter(f"{file} cannot be read: {why}", param_hint="--payload") from None
        media.payload.files.add(name=file.name, content=content)
    if payload_type:
        number = enum_value(resources_pb2.Payload.Type.DESCRIPTOR, payload_type, "--payload-type")
        media.payload.type = resources_pb2.Payload.Type.ValueType(number)
    if payload_label:
        media.payload.volume_id = payload_label


def set_nics(spec: resources_pb2.MachineSpec, nics: Sequence[str]) -> None:
    """Puts NICs such as `nic1=ovirtmgmt,linked=no` into a spec. Raises typer.BadParameter."""
    for given in nics:
        first, *attributes = given.split(",")
        name, equals, profile = first.partition("=")
        if not name or (equals and not profile) or (not equals and not attributes):
            raise typer.BadParameter(
                f"'{given}' is not NIC=PROFILE, such as nic1=ovirtmgmt, nor NIC,network=NAME",
                param_hint="--nic",
            )
        fill(spec.nics.add(name=name, vnic_profile=profile), attributes, "--nic")


def set_properties(spec: resources_pb2.MachineSpec, properties: Sequence[str]) -> None:
    """Puts custom properties such as `sndbuf=10` into a spec. Raises typer.BadParameter."""
    for given in properties:
        name, equals, value = given.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"'{given}' is not NAME=VALUE", param_hint="--property")
        spec.custom_properties[name] = value
