"""Disks: read, create, name, sparsify and remove."""

from collections.abc import Sequence
from dataclasses import dataclass

from ovirtsdk4 import types

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.batch import MOST
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Disk
from ovirt_provision.engine.session import Session


@dataclass(frozen=True)
class DiskRequest:
    """A blank disk to make, `size` in bytes, `format` cow or raw.

    `content_type` is data or iso. `initial_size` is for how many bytes of content block storage is to make
    room at once, where the disk is to be filled from outside; 0 leaves it to the engine.

    `id` is ours to choose: the engine honours it for disks that are made by themselves, and refuses it while
    there is a disk that has it (behaviour.md 36).
    """

    id: str
    name: str
    description: str
    size: int
    domain_id: str
    format: str
    sparse: bool
    wipe_after_delete: bool = False
    propagate_errors: bool = False
    incremental_backup: bool = False
    quota_id: str = ""
    content_type: str = "data"
    initial_size: int = 0


class Disks:
    """The disks of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, disk_id: str) -> Disk | None:
        """The disk with that id, or None."""
        try:
            disk = await self._session.call(
                f"read disk {disk_id}", lambda system: system.disks_service().disk_service(disk_id).get()
            )
        except EngineNotFound:
            return None
        return Disk.of(disk)

    async def search(self, query: str, *, max_rows: int = 100) -> list[Disk]:
        """The disks that match a search expression."""
        return await self._session.call(
            f"search disks by {query or 'nothing'}",
            lambda system: [
                Disk.of(disk) for disk in system.disks_service().list(search=query or None, max=max_rows)
            ],
        )

    async def find(self, ids: Sequence[str]) -> dict[str, Disk]:
        """Those disks of these ids that there are, by id.

        They are searched in batches; what a search does not show is read by itself, because a missing row
        proves nothing.
        """
        found: dict[str, Disk] = {}
        for start in range(0, len(ids), MOST):
            batch = ids[start : start + MOST]
            if len(batch) > 1:
                query = " or ".join(f"id={disk_id}" for disk_id in batch)
                found |= {disk.id: disk for disk in await self.search(query, max_rows=len(batch))}
            for disk_id in batch:
                if disk_id not in found and (disk := await self.get(disk_id)) is not None:
                    found[disk_id] = disk
        return found

    async def of_vm(self, vm_id: str) -> Sequence[Disk]:
        """The disks attached to a VM; none for a VM that does not exist (behaviour.md 11)."""
        attachments = await self._session.call(
            f"read the disks of VM {vm_id}",
            lambda system: (
                system.vms_service().vm_service(vm_id).disk_attachments_service().list(follow="disk")
            ),
        )
        return Disk.attached(attachments)

    async def is_attached(self, disk_id: str) -> bool:
        """Whether a VM has the disk; a disk itself does not say so when it is read."""
        return bool(await self.search(f"id={disk_id} and number_of_vms>0"))

    async def create(self, wanted: DiskRequest, *, correlation_id: str) -> Disk:
        """Sends the create request once. What an error means is for the caller to find out by the id (law
        1)."""
        backup = types.DiskBackup.INCREMENTAL if wanted.incremental_backup else types.DiskBackup.NONE
        disk = types.Disk(
            id=wanted.id,
            name=wanted.name,
            description=wanted.description,
            provisioned_size=wanted.size,
            storage_domains=[types.StorageDomain(id=wanted.domain_id)],
            format=types.DiskFormat(wanted.format),
            sparse=wanted.sparse,
            wipe_after_delete=wanted.wipe_after_delete,
            propagate_errors=wanted.propagate_errors,
            backup=backup,
            quota=types.Quota(id=wanted.quota_id) if wanted.quota_id else None,
            content_type=None
            if wanted.content_type == "data"
            else types.DiskContentType(wanted.content_type),
            initial_size=wanted.initial_size or None,
        )
        created = await self._session.call(
            f"create disk {wanted.name}",
            lambda system: system.disks_service().add(disk),
            correlation_id=correlation_id,
            once=True,
            needs=[Need("create_disk", "storage domain", wanted.domain_id)],
        )
        return Disk.of(created)

    async def describe(self, disk_id: str, *, name: str, description: str, correlation_id: str) -> None:
        """Names and describes a disk; it is locked for a while afterwards (behaviour.md 54)."""
        change = types.Disk(alias=name, description=description)
        await self._session.call(
            f"name disk {disk_id}",
            lambda system: system.disks_service().disk_service(disk_id).update(change),
            correlation_id=correlation_id,
        )

    async def sparsify(self, disk: Disk, *, correlation_id: str) -> None:
        """Has the engine begin to give back what a disk takes and does not use; the disk is locked meanwhile.

        It is refused for disks that are not raw or not sparse, have snapshots, or that a VM has which is not
        down (behaviour.md 56, and the engine's `SparsifyImageCommand`). Once more does no harm.
        """
        await self._session.call(
            f"sparsify disk {disk.name}",
            lambda system: system.disks_service().disk_service(disk.id).sparsify(),
            correlation_id=correlation_id,
            needs=[Need("sparsify_disk", "disk", disk.id, disk.name)],
        )

    async def remove(self, disk: Disk, *, correlation_id: str) -> None:
        """Removes a disk; gone already is fine."""
        try:
            await self._session.call(
                f"remove disk {disk.name}",
                lambda system: system.disks_service().disk_service(disk.id).remove(),
                correlation_id=correlation_id,
                needs=[Need("delete_disk", "disk", disk.id, disk.name)],
            )
        except EngineNotFound:
            return
