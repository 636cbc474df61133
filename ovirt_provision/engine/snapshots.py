"""Snapshots of VMs: make, remove and read."""

from collections.abc import Sequence
from typing import Any

from ovirtsdk4 import types

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Snapshot
from ovirt_provision.engine.session import Session


class Snapshots:
    """The snapshots of one engine's VMs. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, vm_id: str, snapshot_id: str) -> Snapshot | None:
        """The snapshot with that id, or None."""
        try:
            snapshot = await self._session.call(
                f"read snapshot {snapshot_id}",
                lambda system: _of(system, vm_id).snapshot_service(snapshot_id).get(),
            )
        except EngineNotFound:
            return None
        return Snapshot.of(snapshot)

    async def of_vm(self, vm_id: str) -> Sequence[Snapshot]:
        """The snapshots of a VM, oldest first; none for a VM that does not exist."""
        try:
            found = await self._session.call(
                f"read the snapshots of VM {vm_id}", lambda system: _of(system, vm_id).list()
            )
        except EngineNotFound:
            return ()
        return Snapshot.listed(found)

    async def create(
        self, vm_id: str, vm_name: str, *, description: str, disk_ids: Sequence[str], correlation_id: str
    ) -> Snapshot:
        """Sends the create request once, for these disks (none: all) and without the memory of a running VM.

        The engine would save the memory by default. Nothing keeps a second request from making another
        snapshot.
        """
        snapshot = types.Snapshot(
            description=description,
            persist_memorystate=False,
            disk_attachments=[types.DiskAttachment(disk=types.Disk(id=disk_id)) for disk_id in disk_ids]
            or None,
        )
        created = await self._session.call(
            f"create a snapshot of VM {vm_name}",
            lambda system: _of(system, vm_id).add(snapshot),
            correlation_id=correlation_id,
            once=True,
            needs=[Need("manipulate_vm_snapshots", "VM", vm_id, vm_name)],
        )
        return Snapshot.of(created)

    async def remove(self, vm_id: str, snapshot_id: str, vm_name: str, *, correlation_id: str) -> None:
        """Removes a snapshot; gone already is fine. The engine merges its volumes in the background."""
        try:
            await self._session.call(
                f"remove a snapshot of VM {vm_name}",
                lambda system: _of(system, vm_id).snapshot_service(snapshot_id).remove(),
                correlation_id=correlation_id,
                needs=[Need("manipulate_vm_snapshots", "VM", vm_id, vm_name)],
            )
        except EngineNotFound:
            return


def _of(system: Any, vm_id: str) -> Any:
    return system.vms_service().vm_service(vm_id).snapshots_service()
