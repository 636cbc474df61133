"""VMs: create, start, stop, remove and read."""

from collections.abc import Sequence
from dataclasses import dataclass

from ovirtsdk4 import types

from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Disk, Nic, Vm
from ovirt_provision.engine.session import Session


@dataclass(frozen=True)
class VmRequest:
    """A VM to make from a template or else a snapshot. Zero and empty mean: as in that. `memory` is in bytes.

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


@dataclass(frozen=True)
class GuestInterface:
    """How an interface of the guest gets its address: `protocol` is dhcp, static or none.

    `address`, `netmask` and `gateway` are IPv4 and only for static; `gateway` may be empty.
    """

    name: str
    protocol: str
    address: str = ""
    netmask: str = ""
    gateway: str = ""


@dataclass(frozen=True)
class FirstBoot:
    """Cloud-init for one start; the engine keeps nothing of it in the VM (behaviour.md 26)."""

    user_name: str = ""
    authorized_ssh_keys: Sequence[str] = ()
    host_name: str = ""
    interfaces: Sequence[GuestInterface] = ()
    dns_servers: Sequence[str] = ()
    dns_search_domains: Sequence[str] = ()
    custom_script: str = ""

    def initialization(self) -> types.Initialization:
        return types.Initialization(
            user_name=self.user_name or None,
            authorized_ssh_keys="\n".join(self.authorized_ssh_keys) or None,
            host_name=self.host_name or None,
            nic_configurations=[_nic_configuration(interface) for interface in self.interfaces] or None,
            dns_servers=" ".join(self.dns_servers) or None,
            dns_search=" ".join(self.dns_search_domains) or None,
            custom_script=self.custom_script or None,
        )


def _nic_configuration(interface: GuestInterface) -> types.NicConfiguration:
    ip = None
    if interface.protocol == "static":
        ip = types.Ip(
            address=interface.address,
            netmask=interface.netmask,
            gateway=interface.gateway or None,
            version=types.IpVersion.V4,
        )
    return types.NicConfiguration(
        name=interface.name, boot_protocol=types.BootProtocol(interface.protocol), ip=ip, on_boot=True
    )


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

    async def get(self, vm_id: str, *, follow: str = "") -> Vm | None:
        """The VM with that id, or None; `follow` as in the oVirt API, such as `disk_attachments.disk`."""
        try:
            vm = await self._session.call(
                f"read VM {vm_id}",
                lambda system: system.vms_service().vm_service(vm_id).get(follow=follow or None),
            )
        except EngineNotFound:
            return None
        return Vm.of(vm)

    async def search(self, query: str, *, follow: str = "", max_rows: int = 100) -> list[Vm]:
        """The VMs that match a search expression."""
        found = await self._session.call(
            f"search VMs by {query}",
            lambda system: system.vms_service().list(search=query, follow=follow or None, max=max_rows),
        )
        return [Vm.of(vm) for vm in found]

    async def find_by_name(self, name: str) -> Vm | None:
        """The VM with exactly that name."""
        found = await self.search(f'name="{name}"')
        return next((vm for vm in found if vm.name == name), None)

    async def create(self, wanted: VmRequest, *, correlation_id: str) -> Vm:
        """Sends the create request once. What an error means is for the caller to find out by the id (law
        1)."""
        vm = types.Vm(
            id=wanted.id,
            name=wanted.name,
            comment=wanted.comment,
            template=types.Template(id=wanted.template_id) if wanted.template_id else None,
            snapshots=[types.Snapshot(id=wanted.snapshot_id)] if wanted.snapshot_id else None,
            cluster=types.Cluster(id=wanted.cluster_id),
            description=wanted.description or None,
            memory=wanted.memory or None,
        )
        if wanted.sockets or wanted.cores or wanted.threads:
            vm.cpu = types.Cpu(
                topology=types.CpuTopology(
                    sockets=wanted.sockets or None,
                    cores=wanted.cores or None,
                    threads=wanted.threads or None,
                )
            )
        created = await self._session.call(
            f"create VM {wanted.name}",
            lambda system: system.vms_service().add(vm, clone=wanted.clone or None),
            correlation_id=correlation_id,
            once=True,
        )
        return Vm.of(created)

    async def start(
        self, vm_id: str, name: str, first_boot: FirstBoot | None, *, correlation_id: str
    ) -> None:
        """Starts a VM that is down, with cloud-init for this one run if `first_boot` is given."""
        vm = types.Vm(initialization=first_boot.initialization()) if first_boot is not None else None
        await self._session.call(
            f"start VM {name}",
            lambda system: (
                system.vms_service()
                .vm_service(vm_id)
                .start(use_cloud_init=True if first_boot is not None else None, vm=vm)
            ),
            correlation_id=correlation_id,
        )

    async def shut_down(self, vm_id: str, name: str, *, correlation_id: str) -> None:
        """Asks the guest to power off. A VM that is down stays so: 200 (behaviour.md 21)."""
        await self._session.call(
            f"shut down VM {name}",
            lambda system: system.vms_service().vm_service(vm_id).shutdown(),
            correlation_id=correlation_id,
        )

    async def power_off(self, vm_id: str, name: str, *, correlation_id: str) -> None:
        """Powers off. A VM that is down stays so: 200 (behaviour.md 21)."""
        await self._session.call(
            f"power off VM {name}",
            lambda system: system.vms_service().vm_service(vm_id).stop(),
            correlation_id=correlation_id,
        )

    async def remove(self, vm_id: str, name: str, *, correlation_id: str) -> None:
        """Removes a VM that is down with all disks attached to it; gone already is fine."""
        try:
            await self._session.call(
                f"remove VM {name}",
                lambda system: system.vms_service().vm_service(vm_id).remove(),
                correlation_id=correlation_id,
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
            )
        except EngineNotFound:
            return

    async def grow_disk(self, vm_id: str, disk: Disk, size: int, *, correlation_id: str) -> None:
        """Extends a disk of the VM to `size` bytes; it is locked for a while afterwards (behaviour.md 54)."""
        change = types.DiskAttachment(disk=types.Disk(provisioned_size=size))
        await self._session.call(
            f"grow disk {disk.name}",
            lambda system: (
                system.vms_service()
                .vm_service(vm_id)
                .disk_attachments_service()
                .attachment_service(disk.id)
                .update(change)
            ),
            correlation_id=correlation_id,
        )

    async def add_nic(self, vm_id: str, name: str, vnic_profile_id: str, *, correlation_id: str) -> None:
        """Adds a NIC with the next free MAC of the pool."""
        nic = types.Nic(name=name, vnic_profile=types.VnicProfile(id=vnic_profile_id))
        await self._session.call(
            f"add NIC {name}",
            lambda system: system.vms_service().vm_service(vm_id).nics_service().add(nic),
            correlation_id=correlation_id,
        )

    async def connect_nic(self, vm_id: str, nic: Nic, vnic_profile_id: str, *, correlation_id: str) -> None:
        """Moves a NIC to another vNIC profile."""
        change = types.Nic(vnic_profile=types.VnicProfile(id=vnic_profile_id))
        await self._session.call(
            f"connect NIC {nic.name}",
            lambda system: (
                system.vms_service().vm_service(vm_id).nics_service().nic_service(nic.id).update(change)
            ),
            correlation_id=correlation_id,
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
            )
        except EngineNotFound:
            return
