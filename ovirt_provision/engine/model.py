"""What the engine has, as plain data: the parts of its VMs, templates and disks that provisioning needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ovirtsdk4 import types

BLANK = "00000000-0000-0000-0000-000000000000"
"""Id of the template Blank, which every engine has and which has no disks."""

# What a guest may be told at its start; `regenerate_ssh_keys` and the like are no content of it.
_INITIALIZATION = (
    "active_directory_ou",
    "authorized_ssh_keys",
    "custom_script",
    "dns_search",
    "dns_servers",
    "domain",
    "host_name",
    "nic_configurations",
    "org_name",
    "root_password",
    "user_name",
    "windows_license_key",
)


@dataclass(frozen=True)
class Disk:
    """A disk; `status` is ok, locked or illegal. `size` is its provisioned size and `actual_size` what it
    takes on its storage, in bytes. A `shareable` one may be attached to several VMs. `format` is cow or raw;
    `domain_ids` is where it is, several for a template's.

    `bootable`, `interface`, `read_only` and `pass_discard` only where it was read through its attachment.
    """

    id: str
    name: str
    status: str
    description: str
    size: int
    bootable: bool = False
    shareable: bool = False
    interface: str = ""
    read_only: bool = False
    pass_discard: bool = False
    format: str = ""
    sparse: bool = True
    content_type: str = "data"
    wipe_after_delete: bool = False
    propagate_errors: bool = False
    incremental_backup: bool = False
    actual_size: int = 0
    domain_ids: Sequence[str] = ()

    @classmethod
    def of(cls, disk: types.Disk, attachment: types.DiskAttachment | None = None) -> "Disk":
        return cls(
            id=disk.id,
            name=disk.alias or disk.name or "",
            status=_status(disk.status),
            description=disk.description or "",
            size=disk.provisioned_size or 0,
            bootable=bool(attachment and attachment.bootable),
            shareable=bool(disk.shareable),
            interface=_text(attachment.interface) if attachment else "",
            read_only=bool(attachment and attachment.read_only),
            pass_discard=bool(attachment and attachment.pass_discard),
            format=_text(disk.format),
            sparse=disk.sparse is not False,
            content_type=_text(disk.content_type) or "data",
            wipe_after_delete=bool(disk.wipe_after_delete),
            propagate_errors=bool(disk.propagate_errors),
            incremental_backup=disk.backup == types.DiskBackup.INCREMENTAL,
            actual_size=disk.actual_size or 0,
            domain_ids=tuple(domain.id for domain in disk.storage_domains or ()),
        )

    @classmethod
    def attached(cls, attachments: Any) -> "tuple[Disk, ...]":
        """The disks of attachments that were read with `follow`."""
        return tuple(
            cls.of(attachment.disk, attachment) for attachment in _followed(attachments) if attachment.disk
        )


@dataclass(frozen=True)
class Transfer:
    """An image transfer; `phase` as the engine names it, `direction` upload or download.

    `url` leads to the host that moves the bytes, `proxy_url` to the engine, which passes them on. Both hold
    the ticket, which opens the disk to whoever has it. What is `ended` may still be listed for a while.
    """

    id: str
    phase: str
    direction: str
    disk_id: str
    url: str = field(default="", repr=False)
    proxy_url: str = field(default="", repr=False)

    @classmethod
    def of(cls, transfer: types.ImageTransfer) -> "Transfer":
        disk = transfer.disk or transfer.image
        return cls(
            id=transfer.id,
            phase=_text(transfer.phase),
            direction=_text(transfer.direction),
            disk_id=disk.id if disk else "",
            url=transfer.transfer_url or "",
            proxy_url=transfer.proxy_url or "",
        )

    @property
    def ended(self) -> bool:
        return self.phase.startswith("finished_")

    @property
    def ending(self) -> bool:
        """Whether it has ended, or will without anybody's doing."""
        return self.phase.startswith(("finished_", "finalizing_", "cancelled_"))


@dataclass(frozen=True)
class Nic:
    """A NIC of a VM or, without a MAC address, of a template; `mac` in lower case."""

    id: str
    name: str
    mac: str
    vnic_profile_id: str
    interface: str = ""
    linked: bool = True

    @classmethod
    def of(cls, nic: types.Nic) -> "Nic":
        return cls(
            id=nic.id,
            name=nic.name,
            mac=(nic.mac.address or "").lower() if nic.mac else "",
            vnic_profile_id=nic.vnic_profile.id if nic.vnic_profile else "",
            interface=_text(nic.interface),
            linked=nic.linked is not False,
        )


@dataclass(frozen=True)
class VnicProfile:
    """A vNIC profile of a network; `pass_through` ones give the guest a function of a card of the host."""

    id: str
    name: str
    network: str
    pass_through: bool = False

    @property
    def full_name(self) -> str:
        """`network/profile`."""
        return f"{self.network}/{self.name}"


@dataclass(frozen=True)
class Cluster:
    """A cluster; `architecture` and `bios_type` as the engine names them, `version` such as 4.8."""

    id: str
    name: str
    data_center_id: str
    architecture: str = ""
    bios_type: str = ""
    version: str = ""

    @classmethod
    def of(cls, cluster: types.Cluster) -> "Cluster":
        return cls(
            id=cluster.id,
            name=cluster.name,
            data_center_id=cluster.data_center.id if cluster.data_center else "",
            architecture=_text(cluster.cpu.architecture) if cluster.cpu else "",
            bios_type=_text(cluster.bios_type),
            version=f"{cluster.version.major}.{cluster.version.minor}" if cluster.version else "",
        )


@dataclass(frozen=True)
class Network:
    """A network; `vlan` and `mtu` are 0 for none and for the engine's default. `vnic_profiles` are names."""

    id: str
    name: str
    description: str
    data_center: str
    vlan: int
    mtu: int
    vnic_profiles: Sequence[str]

    @classmethod
    def of(
        cls, network: types.Network, centers: Mapping[str, str], profiles: Mapping[str, Sequence[str]]
    ) -> "Network":
        """`centers` are the names of data centers by id, `profiles` those of vNIC profiles by network."""
        return cls(
            id=network.id,
            name=network.name,
            description=network.description or "",
            data_center=centers.get(network.data_center.id, "") if network.data_center else "",
            vlan=int(network.vlan.id) if network.vlan and network.vlan.id is not None else 0,
            mtu=network.mtu or 0,
            vnic_profiles=tuple(sorted(profiles.get(network.id, ()))),
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
    """A VM. `disks`, `nics`, `interfaces` and `snapshots` are filled only where the reading followed them.

    `cpu` is sockets, cores and threads; `memory` is in bytes; `os_type` is what the engine takes its
    operating system for, such as `rhel_9x64`. `created_at` is seconds since the epoch.
    `initialization` names what is stored in it for its starts, where the reading was of all content, and
    `disc` is what lies in its drive, where that was followed.
    """

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
    cpu: tuple[int, int, int] = (0, 0, 0)
    memory: int = 0
    os_type: str = ""
    initialization: Sequence[str] = ()
    created_at: float = 0.0
    disc: str = ""

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
            cpu=_topology(vm.cpu),
            memory=vm.memory or 0,
            os_type=(vm.os.type or "") if vm.os else "",
            initialization=_initialization(vm),
            created_at=vm.creation_time.timestamp() if vm.creation_time else 0.0,
            disc=next((drive.file.id or "" for drive in _followed(vm.cdroms) if drive.file), ""),
        )

    @property
    def ready(self) -> bool:
        """Down with every disk ok. A VM can be down while its disks are still locked (behaviour.md 19)."""
        return self.status == "down" and all(disk.status == "ok" for disk in self.disks)


@dataclass(frozen=True)
class Template:
    """A template version; `status` is ok, locked or illegal, `os_type` as of a VM. `disks`, `nics` and `tags`
    (names) only where they were followed; `initialization` as in Vm.

    `memory` is in bytes; `host_ids` are those that its VMs are placed on. `base_id` is the id of the version
    that the others hang on, its own for that one.
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
    nics: Sequence[Nic] = ()
    memory: int = 0
    bios_type: str = ""
    os_type: str = ""
    host_ids: Sequence[str] = ()
    custom_properties: Sequence[tuple[str, str]] = ()
    tags: Sequence[str] = ()
    initialization: Sequence[str] = ()

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
            nics=tuple(Nic.of(nic) for nic in _followed(template.nics)),
            memory=template.memory or 0,
            bios_type=_text(template.bios.type) if template.bios else "",
            os_type=(template.os.type or "") if template.os else "",
            host_ids=tuple(
                host.id for host in (template.placement_policy and template.placement_policy.hosts) or ()
            ),
            custom_properties=tuple(
                (one.name, one.value or "") for one in template.custom_properties or () if one.name
            ),
            tags=tuple(sorted(tag.name for tag in _followed(template.tags))),
            initialization=_initialization(template),
        )


def _topology(cpu: types.Cpu | None) -> tuple[int, int, int]:
    """Sockets, cores and threads; 0 for what is not told."""
    topology = cpu.topology if cpu else None
    if topology is None:
        return (0, 0, 0)
    return (topology.sockets or 0, topology.cores or 0, topology.threads or 0)


def _initialization(machine: types.Vm | types.Template) -> tuple[str, ...]:
    """The names of the fields that hold anything; their values may be secret."""
    stored = machine.initialization
    return tuple(name for name in _INITIALIZATION if stored is not None and getattr(stored, name))


def _followed(collection: Any) -> list[Any]:
    """The elements of a collection that `follow` brought; a link that was not followed has none."""
    return list(collection) if collection else []


def _status(status: Any) -> str:
    return status.value if status is not None else "unknown"


def _text(value: Any) -> str:
    """The engine's name of a value of an enumeration; empty where there is none."""
    return value.value if value is not None else ""
