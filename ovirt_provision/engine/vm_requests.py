"""What is asked of the engine about a VM: as data of ours, and in the form of the SDK."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ovirtsdk4 import types

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.model import Nic


@dataclass(frozen=True)
class TemplateDisk:
    """How a disk of the template is copied: where to, in which format, and on whose quota."""

    id: str
    domain_id: str
    format: str
    sparse: bool
    quota_id: str = ""


@dataclass(frozen=True)
class VmRequest:
    """A VM to make from a template or else a snapshot. None, zero and empty mean: as in that. Memory is in
    bytes. `bios_type`, `os_type` and `affinity` are as the engine names them. `vnc_console` takes the place
    of all consoles.

    `custom_properties` and `host_ids` stand in for all that the template has, where they are not None.
    `template_disks` are all of the template's or none.

    `id` is ours to choose: the engine honours it for thin and full copies alike (behaviour.md 33); that it
    does for a copy of a snapshot is read in its source only.
    """

    id: str
    name: str
    comment: str
    template_id: str
    cluster_id: str
    snapshot_id: str = ""
    clone: bool = False
    sockets: int = 0
    cores: int = 0
    threads: int = 0
    memory: int = 0
    description: str = ""
    guaranteed_memory: int = 0
    instance_type_id: str = ""
    bios_type: str = ""
    os_type: str = ""
    vnc_console: bool = False
    tpm: bool | None = None
    virtio_scsi: bool | None = None
    virtio_scsi_multi_queues: bool | None = None
    nic_multi_queues: bool | None = None
    affinity: str = ""
    host_ids: Sequence[str] | None = None
    quota_id: str = ""
    custom_properties: Mapping[str, str] | None = None
    template_disks: Sequence[TemplateDisk] = ()
    # For errors: the VM of the snapshot, and where the disks go to.
    source_id: str = ""
    storage_domain_ids: Sequence[str] = ()

    @property
    def needs(self) -> Sequence[Need]:
        """What the engine asks of who makes it. Source: `AddVmCommand`, `AddVmFromSnapshotCommand`."""
        source = Need("create_vm", "VM", self.source_id) if self.snapshot_id else None
        template = Need("create_vm", "template", self.template_id) if self.template_id else None
        domains = [disk.domain_id for disk in self.template_disks] or self.storage_domain_ids
        return [
            Need("create_vm", "cluster", self.cluster_id),
            *(need for need in (source, template) if need is not None),
            *(Need("create_disk", "storage domain", one) for one in dict.fromkeys(domains)),
        ]

    def vm(self) -> types.Vm:
        vm = types.Vm(
            id=self.id,
            name=self.name,
            comment=self.comment,
            template=types.Template(id=self.template_id) if self.template_id else None,
            snapshots=[types.Snapshot(id=self.snapshot_id)] if self.snapshot_id else None,
            cluster=types.Cluster(id=self.cluster_id),
            description=self.description or None,
            memory=self.memory or None,
            instance_type=types.InstanceType(id=self.instance_type_id) if self.instance_type_id else None,
            bios=types.Bios(type=types.BiosType(self.bios_type)) if self.bios_type else None,
            tpm_enabled=self.tpm,
            virtio_scsi_multi_queues_enabled=self.virtio_scsi_multi_queues,
            multi_queues_enabled=self.nic_multi_queues,
            quota=types.Quota(id=self.quota_id) if self.quota_id else None,
        )
        if self.sockets or self.cores or self.threads:
            vm.cpu = types.Cpu(
                topology=types.CpuTopology(
                    sockets=self.sockets or None, cores=self.cores or None, threads=self.threads or None
                )
            )
        if self.os_type:
            vm.os = types.OperatingSystem(type=self.os_type)
        if self.vnc_console:
            vm.display = types.Display(type=types.DisplayType.VNC)
        if self.guaranteed_memory:
            vm.memory_policy = types.MemoryPolicy(guaranteed=self.guaranteed_memory)
        if self.virtio_scsi is not None:
            vm.virtio_scsi = types.VirtioScsi(enabled=self.virtio_scsi)
        if self.affinity or self.host_ids is not None:
            vm.placement_policy = types.VmPlacementPolicy(
                affinity=types.VmAffinity(self.affinity) if self.affinity else None,
                hosts=[types.Host(id=host_id) for host_id in self.host_ids or ()] or None,
            )
        if self.custom_properties is not None:
            vm.custom_properties = [
                types.CustomProperty(name=name, value=value) for name, value in self.custom_properties.items()
            ]
        if self.template_disks:
            vm.disk_attachments = [
                types.DiskAttachment(disk=_template_disk(disk)) for disk in self.template_disks
            ]
        return vm


def _template_disk(wanted: TemplateDisk) -> types.Disk:
    return types.Disk(
        id=wanted.id,
        storage_domains=[types.StorageDomain(id=wanted.domain_id)],
        format=types.DiskFormat(wanted.format),
        sparse=wanted.sparse,
        quota=types.Quota(id=wanted.quota_id) if wanted.quota_id else None,
    )


@dataclass(frozen=True)
class AttachmentRequest:
    """How a disk that there is is attached to a VM; `interface` as the engine names it."""

    interface: str
    bootable: bool = False
    read_only: bool = False
    pass_discard: bool = False


@dataclass(frozen=True)
class DiskChange:
    """What is to be changed of a disk of a VM; None is left as it is. `size` is in bytes, and only grows."""

    size: int | None = None
    interface: str | None = None
    bootable: bool | None = None
    read_only: bool | None = None
    pass_discard: bool | None = None
    wipe_after_delete: bool | None = None
    propagate_errors: bool | None = None
    incremental_backup: bool | None = None

    def attachment(self) -> types.DiskAttachment:
        backup = None
        if self.incremental_backup is not None:
            backup = types.DiskBackup.INCREMENTAL if self.incremental_backup else types.DiskBackup.NONE
        disk = types.Disk(
            provisioned_size=self.size,
            wipe_after_delete=self.wipe_after_delete,
            propagate_errors=self.propagate_errors,
            backup=backup,
        )
        return types.DiskAttachment(
            interface=types.DiskInterface(self.interface) if self.interface is not None else None,
            bootable=self.bootable,
            read_only=self.read_only,
            pass_discard=self.pass_discard,
            disk=disk,
        )


@dataclass(frozen=True)
class NicRequest:
    """A NIC as it is to be. What is empty or None is left as it is, or to the engine; a new NIC without a
    `mac` gets the next one of the pool."""

    name: str
    vnic_profile_id: str = ""
    interface: str = ""
    mac: str = ""
    linked: bool | None = None

    def nic(self) -> types.Nic:
        return types.Nic(
            name=self.name,
            vnic_profile=types.VnicProfile(id=self.vnic_profile_id) if self.vnic_profile_id else None,
            interface=types.NicInterface(self.interface) if self.interface else None,
            mac=types.Mac(address=self.mac) if self.mac else None,
            linked=self.linked,
        )

    def fits(self, nic: Nic) -> bool:
        """Whether a NIC is so already."""
        return (
            nic.vnic_profile_id == self.vnic_profile_id
            and self.interface in ("", nic.interface)
            and self.mac in ("", nic.mac)
            and self.linked in (None, nic.linked)
        )


@dataclass
class GuestInterface:
    """How an interface of the guest gets its addresses: a protocol is dhcp, static or none.

    Addresses go with static alone, and gateways may be empty even then; `ipv6_prefix` is in bits.
    """

    name: str
    protocol: str = "none"
    address: str = ""
    netmask: str = ""
    gateway: str = ""
    ipv6_protocol: str = "none"
    ipv6_address: str = ""
    ipv6_prefix: int = 0
    ipv6_gateway: str = ""


@dataclass(frozen=True)
class FirstBoot:
    """What a guest is told at one start; the engine keeps nothing of it in the VM (behaviour.md 26).

    `kind` is cloud-init, ignition or sysprep. What is empty is left to the engine. `custom_script` is, by
    kind: YAML that the engine appends to its own, the whole configuration, or an answer file.
    """

    kind: str
    user_name: str = ""
    authorized_ssh_keys: Sequence[str] = ()
    host_name: str = ""
    time_zone: str = ""
    interfaces: Sequence[GuestInterface] = ()
    dns_servers: Sequence[str] = ()
    dns_search_domains: Sequence[str] = ()
    admin_password: str = ""
    organization: str = ""
    domain: str = ""
    input_locale: str = ""
    ui_language: str = ""
    system_locale: str = ""
    user_locale: str = ""
    custom_script: str = ""

    def initialization(self) -> types.Initialization:
        return types.Initialization(
            user_name=self.user_name or None,
            authorized_ssh_keys="\n".join(self.authorized_ssh_keys) or None,
            host_name=self.host_name or None,
            timezone=self.time_zone or None,
            nic_configurations=[_nic_configuration(interface) for interface in self.interfaces] or None,
            dns_servers=" ".join(self.dns_servers) or None,
            dns_search=" ".join(self.dns_search_domains) or None,
            root_password=self.admin_password or None,
            org_name=self.organization or None,
            domain=self.domain or None,
            input_locale=self.input_locale or None,
            ui_language=self.ui_language or None,
            system_locale=self.system_locale or None,
            user_locale=self.user_locale or None,
            custom_script=self.custom_script or None,
        )


def _nic_configuration(interface: GuestInterface) -> types.NicConfiguration:
    ipv4 = ipv6 = None
    if interface.protocol == "static":
        ipv4 = types.Ip(
            address=interface.address,
            netmask=interface.netmask,
            gateway=interface.gateway or None,
            version=types.IpVersion.V4,
        )
    if interface.ipv6_protocol == "static":
        ipv6 = types.Ip(
            address=interface.ipv6_address,
            netmask=str(interface.ipv6_prefix),
            gateway=interface.ipv6_gateway or None,
            version=types.IpVersion.V6,
        )
    return types.NicConfiguration(
        name=interface.name,
        boot_protocol=types.BootProtocol(interface.protocol),
        ip=ipv4,
        ipv6_boot_protocol=types.BootProtocol(interface.ipv6_protocol),
        ipv6=ipv6,
        on_boot=True,
    )


@dataclass(frozen=True)
class Media:
    """What a VM has at one start alone: `cd_rom` is the id of an ISO disk or the name of a file of an ISO
    domain, empty for as stored; `boot_devices` are as the engine names them, none for as stored."""

    cd_rom: str = ""
    boot_devices: Sequence[str] = ()


@dataclass(frozen=True)
class Payload:
    """Files that a VM finds on a `floppy` or a `cdrom` at each start, by name, with their text, which is
    secret."""

    type: str
    volume_id: str
    files: Sequence[tuple[str, str]] = field(repr=False)
