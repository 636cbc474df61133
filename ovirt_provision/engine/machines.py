"""VMs: create, start, stop, remove and read."""

from collections.abc import Sequence
from typing import Any

from ovirtsdk4 import types

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.batch import Batch
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Disk, Nic, Vm
from ovirt_provision.engine.session import Session
from ovirt_provision.engine.vm_requests import (
    AttachmentRequest,
    DiskChange,
    FirstBoot,
    Media,
    NicRequest,
    Payload,
    VmRequest,
)

# Every VM has one drive, with this id (spec.md 2).
_DRIVE = "00000000-0000-0000-0000-000000000000"


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

        def read(system: Any) -> list[Vm]:
            # In the thread: a hundred VMs as the SDK has them take 5 MB, which need not wait for the event
            # loop.
            found = system.vms_service().list(search=query, follow=follow or None, max=max_rows)
            for vm in found[:1]:
                self._session.account.saw(vm)
            return [Vm.of(vm) for vm in found]

        return await self._session.call(f"search VMs by {query}", read)

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
