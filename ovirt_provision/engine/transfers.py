"""Image transfers: tickets for the content of disks. The bytes go past the engine, see images/transfer.py."""

from typing import Any

from ovirtsdk4 import types

from ovirt_provision.engine.account import Need
from ovirt_provision.engine.errors import EngineNotFound
from ovirt_provision.engine.model import Transfer
from ovirt_provision.engine.session import Session

# After so many seconds without a request for its bytes the engine pauses a transfer; a daemon that is
# restarted meanwhile, or looks at the rest of a large file, need not resume it.
_INACTIVITY = 300


class Transfers:
    """The image transfers of one engine. Every method raises what `Session.call` raises."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, transfer_id: str) -> Transfer | None:
        """The transfer with that id, or None: one that has ended is forgotten after some minutes, or at once
        by engines before 4.5 (spec.md 6)."""
        try:
            found = await self._session.call(
                f"read transfer {transfer_id}", lambda system: _of(system, transfer_id).get()
            )
        except EngineNotFound:
            return None
        return Transfer.of(found)

    async def of_disk(self, disk_id: str) -> list[Transfer]:
        """The transfers of a disk that have not ended; the engine lets no disk have two."""
        found = await self._session.call(
            "read the transfers", lambda system: system.image_transfers_service().list()
        )
        transfers = [Transfer.of(one) for one in found]
        return [one for one in transfers if one.disk_id == disk_id and not one.ended]

    async def create(
        self, disk_id: str, disk_name: str, *, direction: str, image_format: str, correlation_id: str
    ) -> Transfer:
        """Sends the create request once; `direction` is upload or download, `image_format` cow or raw: of
        the bytes that go over the wire.

        The engine refuses a second one for a disk, and one of a disk of a VM that runs (behaviour.md 49).
        """
        wanted = types.ImageTransfer(
            disk=types.Disk(id=disk_id),
            direction=types.ImageTransferDirection(direction),
            format=types.DiskFormat(image_format),
            inactivity_timeout=_INACTIVITY,
            # Otherwise a download whose client is silent is cancelled.
            timeout_policy=types.ImageTransferTimeoutPolicy.PAUSE,
        )
        made = await self._session.call(
            f"{direction} disk {disk_name}",
            lambda system: system.image_transfers_service().add(wanted),
            correlation_id=correlation_id,
            once=True,
            needs=needs_of_transfer(disk_id, disk_name),
        )
        return Transfer.of(made)

    async def pause(self, transfer_id: str, *, correlation_id: str) -> None:
        """Takes the ticket away until the transfer is resumed; one that is paused already is fine."""
        await self._session.call(
            f"pause transfer {transfer_id}",
            lambda system: _of(system, transfer_id).pause(),
            correlation_id=correlation_id,
        )

    async def resume(self, transfer_id: str, *, correlation_id: str) -> None:
        """Has a paused transfer go on. Raises EngineRefused for one that is not paused."""
        await self._session.call(
            f"resume transfer {transfer_id}",
            lambda system: _of(system, transfer_id).resume(),
            correlation_id=correlation_id,
        )

    async def finalize(self, transfer_id: str, *, correlation_id: str) -> None:
        """Has the engine take over what was uploaded, or let go of what was downloaded."""
        await self._session.call(
            f"finalize transfer {transfer_id}",
            lambda system: _of(system, transfer_id).finalize(),
            correlation_id=correlation_id,
        )

    async def cancel(self, transfer_id: str, *, correlation_id: str) -> None:
        """Ends a transfer; one that has ended or is gone is fine. An uploaded disk is illegal afterwards
        (behaviour.md 50)."""
        try:
            await self._session.call(
                f"cancel transfer {transfer_id}",
                lambda system: _of(system, transfer_id).cancel(),
                correlation_id=correlation_id,
            )
        except EngineNotFound:
            return


def needs_of_transfer(disk_id: str, disk_name: str = "") -> list[Need]:
    """What the engine asks of who transfers a disk. Source: `TransferDiskImageCommand`."""
    return [Need("edit_disk_properties", "disk", disk_id, disk_name)]


def _of(system: Any, transfer_id: str) -> Any:
    return system.image_transfers_service().image_transfer_service(transfer_id)
