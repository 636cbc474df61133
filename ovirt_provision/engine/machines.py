"""VMs: create, start, stop, remove and read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ovirtsdk4 import types

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Disk, Nic, Vm
from ovirt_provision.engine.session import Session

# Every VM has one drive, with this id (spec.md 2).
_DRIVE = "00000000-0000-0000-0000-000000000000"


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


class Machines:
    """The VMs of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._batches: dict[str, Batch[Vm | None]] = {}

    async def find(self, vm_id: str, *, follow: str = "") -> Vm | None:
        """As `get`, but read together with other VMs that are asked for at the same time."""
        if follow not in self._batches:
            self._batches[follow] = Batch(lambda ids: self.find_all(ids, follow=follow))
        return await self._batches[follow].get(vm_id)

    async def find_all(self, ids: Sequence[str], *, follow: str = "") -> dict[str, Vm | None]:
        """The VMs with these ids, at most 100. One that the search misses is read by itself, because that
        proves nothing."""
        found: dict[str, Vm | None] = {}
        if len(ids) > 1:
            query = " or ".join(f"id={vm_id}" for vm_id in ids)
            found |= {vm.id: vm for vm in await self.search(query, follow=follow, max_rows=len(ids))}
        return found | {vm_id: await self.get(vm_id, follow=follow) for vm_id in ids if vm_id not in found}

    async def get(self, vm_id: str, *, follow: str = "", all_content: bool = False) -> Vm | None:
        """The VM with that id, or None; `follow` as in the oVirt API, such as `disk_attachments.disk`."""
        try:
            vm = await self._session.call(
                f"read VM {vm_id}",
                lambda system: (
                    system.vms_service()
                    .vm_service(vm_id)
                    .get(follow=follow or None, all_content=all_content or None)
                ),
            )
        except EngineNotFound:
            return None
        self._session.account.saw(vm)
        return Vm.of(vm)

    async def search(self, query: str, *, follow: str = "", max_rows: int = 100) -> list[Vm]:
        """The VMs that match a search expression."""
        found = await self._session.call(
            f"search VMs by {query}",
            lambda system: system.vms_service().list(search=query, follow=follow or None, max=max_rows),
        )
        for vm in found[:1]:
            self._session.account.saw(vm)
        return [Vm.of(vm) for vm in found]

    async def find_by_name(self, name: str) -> Vm | None:
        """The VM with exactly that name."""
        found = await self.search(f'name="{name}"')
        return next((vm for vm in found if vm.name == name), None)

    async def create(self, wanted: VmRequest, *, correlation_id: str) -> Vm:
        """Sends the create request once. What an error means is for the caller to find out by the id (law
        1)."""
        vm = wanted.vm()
        created = await self._session.call(
            f"create VM {wanted.name}",
            lambda system: system.vms_service().add(vm, clone=wanted.clone or None),
            correlation_id=correlation_id,
            once=True,
            needs=wanted.needs,
        )
        return Vm.of(created)

    async def start(
        self,
        vm_id: str,
        name: str,
        first_boot: FirstBoot | None,
        media: Media | None = None,
        *,
        correlation_id: str,
    ) -> None:
        """Starts a VM that is down, with a configuration and media for this one run if they are given."""
        vm = types.Vm(initialization=first_boot.initialization()) if first_boot is not None else None
        if media is not None:
            vm = vm or types.Vm()
            if media.cd_rom:
                vm.cdroms = [types.Cdrom(file=types.File(id=media.cd_rom))]
            if media.boot_devices:
                devices = [types.BootDevice(device) for device in media.boot_devices]
                vm.os = types.OperatingSystem(boot=types.Boot(devices=devices))
        kind = first_boot.kind if first_boot is not None else ""
        await self._session.call(
            f"start VM {name}",
            lambda system: (
                system.vms_service()
                .vm_service(vm_id)
                .start(
                    use_cloud_init=True if kind == "cloud-init" else None,
                    use_ignition=True if kind == "ignition" else None,
                    use_sysprep=True if kind == "sysprep" else None,
                    vm=vm,
                )
            ),
            correlation_id=correlation_id,
            needs=[Need("run_vm", "VM", vm_id, name)],
        )

    async def set_payload(
        self, vm_id: str, name: str, payload: Payload | None, *, correlation_id: str
    ) -> None:
        """Stores a payload in a VM, in place of the one that it has, or takes that out."""
        payloads = []
        if payload is not None:
            payloads.append(
                types.Payload(
                    type=types.VmDeviceType(payload.type),
                    volume_id=payload.volume_id or None,
                    files=[types.File(name=name, content=content) for name, content in payload.files],
                )
            )
        await self._session.call(
            f"change the payload of VM {name}",
            lambda system: system.vms_service().vm_service(vm_id).update(types.Vm(payloads=payloads)),
            correlation_id=correlation_id,
            needs=[Need("edit_vm_properties", "VM", vm_id, name)],
        )

    async def eject(self, vm_id: str, name: str, *, correlation_id: str) -> None:
        """Takes the disc out of the drive of a VM that is down."""
        await self._session.call(
            f"eject the CD-ROM of VM {name}",
            lambda system: (
                system.vms_service()
                .vm_service(vm_id)
                .cdroms_service()
                .cdrom_service(_DRIVE)
                .update(types.Cdrom(file=types.File(id="")))
            ),
            correlation_id=correlation_id,
            needs=[Need("edit_vm_properties", "VM", vm_id, name)],
        )

    async def shut_down(self, vm_id: str, name: str, *, correlation_id: str) -> None:
        """Asks the guest to power off. A VM that is down stays so: 200 (behaviour.md 21)."""
        await self._session.call(
            f"shut down VM {name}",
            lambda system: system.vms_service().vm_service(vm_id).shutdown(),
            correlation_id=correlation_id,
            needs=[Need("shut_down_vm", "VM", vm_id, name)],
        )

    async def power_off(self, vm_id: str, name: str, *, correlation_id: str) -> None:
        """Powers off. A VM that is down stays so: 200 (behaviour.md 21)."""
        await self._session.call(
            f"power off VM {name}",
            lambda system: system.vms_service().vm_service(vm_id).stop(),
            correlation_id=correlation_id,
            needs=[Need("stop_vm", "VM", vm_id, name)],
        )

    async def remove(self, vm_id: str, name: str, *, correlation_id: str) -> None:
        """Removes a VM that is down with all disks attached to it; gone already is fine."""
        try:
            await self._session.call(
                f"remove VM {name}",
                lambda system: system.vms_service().vm_service(vm_id).remove(),
                correlation_id=correlation_id,
                needs=[Need("delete_vm", "VM", vm_id, name)],
            )
        except EngineNotFound:
            return

    async def detach_disk(self, vm_id: str, disk: Disk, *, correlation_id: str) -> None:
        """Takes a disk off a VM and keeps it (behaviour.md 23)."""
        try:
            await self._session.call(
                f"detach disk {disk.name}",
                lambda system: (
                    system.vms_service()
                    .vm_service(vm_id)
                    .disk_attachments_service()
                    .attachment_service(disk.id)
                    .remove(detach_only=True)
                ),
                correlation_id=correlation_id,
                needs=[Need("configure_vm_storage", "VM", vm_id)],
            )
        except EngineNotFound:
            return

    async def change_disk(self, vm_id: str, disk: Disk, change: DiskChange, *, correlation_id: str) -> None:
        """Changes a disk of the VM; it is locked for a while afterwards (behaviour.md 54)."""
        await self._session.call(
            f"change disk {disk.name}",
            lambda system: (
                system.vms_service()
                .vm_service(vm_id)
                .disk_attachments_service()
                .attachment_service(disk.id)
                .update(change.attachment())
            ),
            correlation_id=correlation_id,
            needs=[Need("edit_disk_properties", "disk", disk.id, disk.name)],
        )

    async def attach_disk(
        self, vm_id: str, disk_id: str, name: str, wanted: AttachmentRequest, *, correlation_id: str
    ) -> None:
        """Attaches a disk that there is; the engine refuses one that the VM has already (spec.md 2)."""
        attachment = types.DiskAttachment(
            disk=types.Disk(id=disk_id),
            interface=types.DiskInterface(wanted.interface),
            bootable=wanted.bootable,
            read_only=wanted.read_only,
            pass_discard=wanted.pass_discard,
            active=True,
        )
        await self._session.call(
            f"attach disk {name}",
            lambda system: system.vms_service().vm_service(vm_id).disk_attachments_service().add(attachment),
            correlation_id=correlation_id,
            needs=[
                Need("configure_vm_storage", "VM", vm_id),
                Need("attach_disk", "disk", disk_id, name),
            ],
        )

    async def add_nic(self, vm_id: str, wanted: NicRequest, *, correlation_id: str) -> None:
        """Adds a NIC."""
        await self._session.call(
            f"add NIC {wanted.name}",
            lambda system: system.vms_service().vm_service(vm_id).nics_service().add(wanted.nic()),
            correlation_id=correlation_id,
            needs=_network_needs(vm_id, wanted.vnic_profile_id),
        )

    async def change_nic(self, vm_id: str, nic: Nic, wanted: NicRequest, *, correlation_id: str) -> None:
        """Makes a NIC what is wanted."""
        await self._session.call(
            f"change NIC {nic.name}",
            lambda system: (
                system.vms_service().vm_service(vm_id).nics_service().nic_service(nic.id).update(wanted.nic())
            ),
            correlation_id=correlation_id,
            needs=_network_needs(vm_id, wanted.vnic_profile_id),
        )

    async def remove_nic(self, vm_id: str, nic: Nic, *, correlation_id: str) -> None:
        """Removes a NIC; gone already is fine."""
        try:
            await self._session.call(
                f"remove NIC {nic.name}",
                lambda system: (
                    system.vms_service().vm_service(vm_id).nics_service().nic_service(nic.id).remove()
                ),
                correlation_id=correlation_id,
                needs=_network_needs(vm_id),
            )
        except EngineNotFound:
            return

    async def tag_ids(self, vm_id: str) -> set[str]:
        """Ids of the tags of a VM."""
        tags = await self._session.call(
            f"read the tags of VM {vm_id}",
            lambda system: system.vms_service().vm_service(vm_id).tags_service().list(),
        )
        return {tag.id for tag in tags}

    async def add_tag(self, vm_id: str, tag_id: str, *, correlation_id: str) -> None:
        """Gives a VM a tag; one that it has already is fine (behaviour.md 43)."""
        await self._session.call(
            "tag the VM",
            lambda system: system.vms_service().vm_service(vm_id).tags_service().add(types.Tag(id=tag_id)),
            correlation_id=correlation_id,
        )

    async def label_ids(self, vm_id: str) -> set[str]:
        """Ids of the affinity labels of a VM."""
        labels = await self._session.call(
            f"read the affinity labels of VM {vm_id}",
            lambda system: system.vms_service().vm_service(vm_id).affinity_labels_service().list(),
        )
        return {label.id for label in labels}

    async def add_label(self, vm_id: str, label_id: str, *, correlation_id: str) -> None:
        """Gives a VM an affinity label; one that it has already is fine."""
        await self._session.call(
            "give the VM an affinity label",
            lambda system: (
                system.vms_service()
                .vm_service(vm_id)
                .affinity_labels_service()
                .add(types.AffinityLabel(id=label_id))
            ),
            correlation_id=correlation_id,
        )

    async def group_members(self, cluster_id: str, group_id: str) -> set[str]:
        """Ids of the VMs in an affinity group of a cluster."""
        members = await self._session.call(
            f"read affinity group {group_id}",
            lambda system: (
                system.clusters_service()
                .cluster_service(cluster_id)
                .affinity_groups_service()
                .group_service(group_id)
                .vms_service()
                .list()
            ),
        )
        return {vm.id for vm in members}

    async def join_group(self, cluster_id: str, group_id: str, vm_id: str, *, correlation_id: str) -> None:
        """Puts a VM into an affinity group; one that is in it already is refused (behaviour.md 45)."""
        await self._session.call(
            "put the VM into an affinity group",
            lambda system: (
                system.clusters_service()
                .cluster_service(cluster_id)
                .affinity_groups_service()
                .group_service(group_id)
                .vms_service()
                .add(types.Vm(id=vm_id))
            ),
            correlation_id=correlation_id,
        )


def _network_needs(vm_id: str, vnic_profile_id: str = "") -> Sequence[Need]:
    kinds = {"VM": vm_id, "vNIC profile": vnic_profile_id}
    return [Need("configure_vm_network", kind, one) for kind, one in kinds.items() if one]
