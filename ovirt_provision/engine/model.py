"""What the engine has, as plain data: the parts of its VMs, templates and disks that provisioning needs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ovirtsdk4 import types


@dataclass(frozen=True)
class Disk:
    """A disk; `status` is ok, locked or illegal, `size` its provisioned size in bytes. A `shareable` one may
    be attached to several VMs.

    `bootable` only where it was read through its attachment.
    """

    id: str
    name: str
    status: str
    description: str
    size: int
    bootable: bool = False
    shareable: bool = False

    @classmethod
    def of(cls, disk: types.Disk, *, bootable: bool = False) -> "Disk":
        return cls(
            id=disk.id,
            name=disk.alias or disk.name or "",
            status=_status(disk.status),
            description=disk.description or "",
            size=disk.provisioned_size or 0,
            bootable=bootable,
            shareable=bool(disk.shareable),
        )

    @classmethod
    def attached(cls, attachments: Any) -> "tuple[Disk, ...]":
        """The disks of attachments that were read with `follow`."""
        return tuple(
            cls.of(attachment.disk, bootable=bool(attachment.bootable))
            for attachment in _followed(attachments)
            if attachment.disk
        )


@dataclass(frozen=True)
class Nic:
    """A NIC of a VM; `mac` in lower case."""

    id: str
    name: str
    mac: str
    vnic_profile_id: str

    @classmethod
    def of(cls, nic: types.Nic) -> "Nic":
        return cls(
            id=nic.id,
            name=nic.name,
            mac=(nic.mac.address or "").lower() if nic.mac else "",
            vnic_profile_id=nic.vnic_profile.id if nic.vnic_profile else "",
        )


@dataclass(frozen=True)
class ReportedInterface:
    """An interface as the guest reports it; `mac` in lower case, `addresses` without prefix length."""

    name: str
    mac: str
    addresses: Sequence[str]

    @classmethod
    def of(cls, device: types.ReportedDevice) -> "ReportedInterface":
        return cls(
            name=device.name or "",
            mac=(device.mac.address or "").lower() if device.mac else "",
            addresses=tuple(ip.address for ip in device.ips or () if ip.address),
        )


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a VM; `status` is ok, locked or in_preview. `created_at` is seconds since the epoch."""

    id: str
    description: str
    status: str
    created_at: float

    @classmethod
    def of(cls, snapshot: types.Snapshot) -> "Snapshot":
        return cls(
            id=snapshot.id,
            description=snapshot.description or "",
            status=_status(snapshot.snapshot_status),
            created_at=snapshot.date.timestamp() if snapshot.date else 0.0,
        )

    @classmethod
    def listed(cls, snapshots: Any) -> "tuple[Snapshot, ...]":
        """Those of a VM, without the active one that every VM has, oldest first."""
        found = [
            cls.of(snapshot)
            for snapshot in _followed(snapshots)
            if snapshot.snapshot_type != types.SnapshotType.ACTIVE
        ]
        return tuple(sorted(found, key=lambda snapshot: snapshot.created_at))


@dataclass(frozen=True)
class Vm:
    """A VM. `disks`, `nics`, `interfaces` and `snapshots` are filled only where the reading followed them."""

    id: str
    name: str
    status: str
    comment: str
    template_id: str
    cluster_id: str
    disks: Sequence[Disk] = ()
    nics: Sequence[Nic] = ()
    interfaces: Sequence[ReportedInterface] = ()
    snapshots: Sequence[Snapshot] = ()

    @classmethod
    def of(cls, vm: types.Vm) -> "Vm":
        return cls(
            id=vm.id,
            name=vm.name,
            status=_status(vm.status),
            comment=vm.comment or "",
            template_id=vm.template.id if vm.template else "",
            cluster_id=vm.cluster.id if vm.cluster else "",
            disks=Disk.attached(vm.disk_attachments),
            nics=tuple(Nic.of(nic) for nic in _followed(vm.nics)),
            interfaces=tuple(
                ReportedInterface.of(device)
                for device in _followed(vm.reported_devices)
                if device.type in (None, types.ReportedDeviceType.NETWORK)
            ),
            snapshots=Snapshot.listed(vm.snapshots),
        )

    @property
    def ready(self) -> bool:
        """Down with every disk ok. A VM can be down while its disks are still locked (behaviour.md 19)."""
        return self.status == "down" and all(disk.status == "ok" for disk in self.disks)


@dataclass(frozen=True)
class Template:
    """A template version; `status` is ok, locked or illegal. `disks` only where they were followed.

    `base_id` is the id of the version that the others hang on, its own for that one.
    """

    id: str
    name: str
    version: int
    version_name: str
    base_id: str
    status: str
    comment: str
    description: str
    cluster_id: str
    created_at: float
    disks: Sequence[Disk] = ()

    @classmethod
    def of(cls, template: types.Template) -> "Template":
        return cls(
            id=template.id,
            name=template.name,
            version=template.version.version_number if template.version else 1,
            version_name=(template.version.version_name or "") if template.version else "",
            base_id=(
                template.version.base_template.id
                if template.version and template.version.base_template
                else template.id
            ),
            status=_status(template.status),
            comment=template.comment or "",
            description=template.description or "",
            cluster_id=template.cluster.id if template.cluster else "",
            created_at=template.creation_time.timestamp() if template.creation_time else 0.0,
            disks=Disk.attached(template.disk_attachments),
        )


def _followed(collection: Any) -> list[Any]:
    """The elements of a collection that `follow` brought; a link that was not followed has none."""
    return list(collection) if collection else []


def _status(status: Any) -> str:
    return status.value if status is not None else "unknown"
