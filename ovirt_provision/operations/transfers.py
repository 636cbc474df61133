"""Moving the bytes of a disk: an image transfer is an object of the ledger like any other.

It is intended before the engine is asked for it, is gone once the engine has taken it over, and otherwise is
cancelled by an undo or the janitor. How far its bytes are is written down, so that the next daemon goes on
there.
"""

from collections import deque
from pathlib import Path

import sqlalchemy as sa

from ovirt_provision.engine.model import Transfer
from ovirt_provision.errors import EngineRefused
from ovirt_provision.images.errors import TransferFailed
from ovirt_provision.images.transfer import Job, MoveFailed
from ovirt_provision.ledger.store import GONE, INTENDED, LATE, PRESENT, REMOVING, Object
from ovirt_provision.operations.create_once import create_once
from ovirt_provision.operations.provisioning import Provisioning
from ovirt_provision.operations.removal import bury_if_unanswered
from ovirt_provision.operations.verb import Call

# Bytes after which it is written down how far a transfer is.
_WRITE_DOWN = 256 << 20
# Seconds between two tries to reach a host, and over which the rate is taken.
_LOOK_AGAIN = 5.0
_RATE_OVER = 10.0


def intend_transfer(
    call: Call,
    connection: sa.Connection,
    *,
    disk_id: str,
    disk_name: str,
    direction: str,
    others: bool = True,
) -> int:
    """Writes a transfer that is to be opened, `direction` upload or download, and returns its row id.

    `others` is whether somebody else may transfer the disk: not one that we are about to make.
    """
    return call.ledger.add_object(
        connection,
        engine=call.engine.name,
        kind="transfer",
        engine_id=None,
        name=disk_name,
        owner=call.owner,
        key="",
        generation=1,
        request_id=call.request.request_id,
        state=INTENDED,
        details={"disk_id": disk_id, "direction": direction} | ({} if others else {"others": []}),
    )


async def open_transfer(run: Provisioning, row: Object, image_format: str) -> None:
    """Sends the create until a transfer of ours stands (law 1); `image_format` is cow or raw: of the bytes
    that are moved.

    A transfer carries no mark. The engine lets a disk have one at a time, so ours is the one that was not
    there before we asked.
    """
    if row.state == PRESENT and not row.unanswered:
        return
    disk_id, direction = row.details["disk_id"], row.details["direction"]
    transfers = run.engine.transfers
    if "others" not in row.details:
        others = [one.id for one in await run.insist(lambda: transfers.of_disk(disk_id))]
        row = run.ledger.add_details(row.id, {"others": others})

    async def find() -> str | None:
        found = await _ours(run, row)
        return found[0].id if found else None

    async def send() -> str:
        made = await transfers.create(
            disk_id,
            row.name,
            direction=direction,
            image_format=image_format,
            correlation_id=run.correlation_id,
        )
        return made.id

    await create_once(run, row, doing=f"{direction} disk {row.name}", find=find, send=send)


async def _ours(run: Provisioning, row: Object) -> list[Transfer]:
    """The transfers of a row's disk that we may have asked for."""
    known = await run.insist(lambda: run.engine.transfers.of_disk(row.details["disk_id"]))
    return [one for one in known if one_of(row, one)]


def one_of(row: Object, transfer: Transfer) -> bool:
    """Whether a transfer of a row's disk can be the one that the row is about."""
    others = row.details.get("others", ())
    return transfer.direction == row.details["direction"] and transfer.id not in others


async def move(run: Provisioning, row: Object, file: Path, size: int) -> None:
    """Moves `size` bytes between the file and the disk, from where the ledger says on, and waits until all
    are there. A transfer that the engine has paused is resumed.

    Raises TransferFailed when the engine or a host ends it, or when nobody answers for the time-out
    `transfer_ready`.
    """
    meter = Meter(run)
    heard_at = run.clock.monotonic()
    while True:
        row = run.ledger.object(row.id)
        kept: int = row.details.get("transferred", 0)
        if kept >= size:
            return
        transfer = await _transferring(run, row)
        job = Job(
            direction=row.details["direction"],
            file=file,
            size=size,
            url=transfer.url,
            proxy_url=transfer.proxy_url if transfer.proxy_url != transfer.url else "",
            ca_file=run.engine.session.ca_file,
            insecure=run.engine.session.insecure,
            offset=kept,
        )

        def told(done: int, now_kept: int) -> None:
            nonlocal kept, heard_at
            if done > job.offset:  # noqa: B023 - called only while this turn lasts
                heard_at = run.clock.monotonic()
            meter.show(done, size)
            if now_kept - kept >= _WRITE_DOWN or (now_kept >= size > kept):
                kept = now_kept
                _write_down(run, row, kept)  # noqa: B023

        try:
            await run.wait(run.mover(job, told))
            _write_down(run, row, size)
        except MoveFailed as failure:
            late = run.clock.monotonic() - heard_at >= run.timeouts.transfer_ready
            if failure.kind not in ("network", "ticket") or late:
                raise _failed(run, row, str(failure)) from None
            run.note(f"trying again: {failure}")
            if failure.kind == "ticket":
                await _renew_ticket(run, row)
            await run.sleep(_LOOK_AGAIN)


def _write_down(run: Provisioning, row: Object, kept: int) -> None:
    if run.ledger.object(row.id).details.get("transferred") != kept:
        run.ledger.add_details(row.id, {"transferred": kept})


async def _renew_ticket(run: Provisioning, row: Object) -> None:
    """Has the engine give the host a ticket again that it has lost, as when its imageio was restarted."""
    transfer = await run.insist(lambda: run.engine.transfers.get(row.known_id))
    if transfer is not None and transfer.phase == "transferring":
        await run.insist(lambda: run.engine.transfers.pause(row.known_id, correlation_id=run.correlation_id))


async def _transferring(run: Provisioning, row: Object) -> Transfer:
    """Waits until bytes can be moved. Raises TransferFailed when the engine has ended the transfer."""
    transfers, cid = run.engine.transfers, run.correlation_id

    def settled(transfer: Transfer | None) -> bool:
        if transfer is None or transfer.ending:
            raise _failed(run, row, "the engine has ended it")
        run.note(f"the transfer of disk {row.name} is {transfer.phase}")
        return transfer.phase == "transferring" or transfer.phase.startswith("paused_")

    async def resume() -> None:
        try:
            await transfers.resume(row.known_id, correlation_id=cid)
        except EngineRefused:
            now = await transfers.get(row.known_id)
            if now is not None and now.phase.startswith("paused_"):
                raise

    while True:
        transfer = await run.insist(lambda: transfers.get(row.known_id))
        if not settled(transfer):
            transfer = await run.wait(
                run.engine.watcher.transfer(row.known_id, settled, correlation_id=cid),
                within=("transfer_ready", run.timeouts.transfer_ready),
            )
        assert transfer is not None
        if transfer.phase == "transferring":
            return transfer
        await run.insist(resume)
        await run.sleep(1.0)


async def close_transfer(run: Provisioning, row: Object) -> None:
    """Has the engine take over what was moved, and waits until it has. Raises TransferFailed."""
    transfers, cid = run.engine.transfers, run.correlation_id

    async def finalize() -> Transfer | None:
        now = await transfers.get(row.known_id)
        if now is not None and not now.ending:
            await transfers.finalize(row.known_id, correlation_id=cid)
        return now

    def ended(transfer: Transfer | None) -> bool:
        run.note(f"the transfer of disk {row.name} is {transfer.phase if transfer else 'over'}")
        if transfer is not None and transfer.phase in (
            "finished_failure",
            "finished_cleanup",
            "finalizing_failure",
            "finalizing_cleanup",
            "cancelled_user",
            "cancelled_system",
        ):
            raise _failed(run, row, "the engine does not take over what was moved")
        # One that is forgotten had its end; whether the disk is ok shows then.
        return transfer is None or transfer.ended

    if row.state == GONE:
        return
    if not ended(await run.insist(finalize)):
        await run.wait(run.engine.watcher.transfer(row.known_id, ended, correlation_id=cid))
    bury_if_unanswered(run, row)
    run.ledger.update_object(row.id, state=GONE)


async def remove_transfer(run: Provisioning, row: Object) -> None:
    """Cancels a transfer of ours, and waits until the engine has let go of the disk; one that has ended, or
    was never opened, is fine. The disk of an upload is illegal afterwards."""
    transfers, cid = run.engine.transfers, run.correlation_id
    if row.state != LATE:
        run.ledger.update_object(row.id, state=REMOVING)

    def ended(transfer: Transfer | None) -> bool:
        if transfer is not None:
            run.note(f"the transfer of disk {row.name} is {transfer.phase}")
        return transfer is None or transfer.ended

    known = [row.known_id] if row.engine_id is not None else [one.id for one in await _ours(run, row)]
    for transfer_id in known:

        async def cancel(transfer_id: str = transfer_id) -> Transfer | None:
            now = await transfers.get(transfer_id)
            if now is not None and not now.ending:
                await transfers.cancel(transfer_id, correlation_id=cid)
            return now

        if not ended(await run.insist(cancel, patience=run.timeouts.destroy)):
            await run.wait(run.engine.watcher.transfer(transfer_id, ended, correlation_id=cid))
    bury_if_unanswered(run, row)
    run.ledger.update_object(row.id, state=GONE)


def _failed(run: Provisioning, row: Object, why: str) -> TransferFailed:
    return TransferFailed(
        direction=row.details["direction"], disk=row.name, why=why, correlation_id=run.correlation_id
    )


class Meter:
    """Tells how far the bytes are, and how fast they come."""

    def __init__(self, run: Provisioning) -> None:
        self._run = run
        self._seen: deque[tuple[float, int]] = deque()

    def show(self, done: int, total: int) -> None:
        """So many bytes of so many are moved; a `total` of 0 is not known."""
        now = self._run.clock.monotonic()
        self._seen.append((now, done))
        while len(self._seen) > 1 and now - self._seen[0][0] > _RATE_OVER:
            self._seen.popleft()
        since, before = self._seen[0]
        rate = int((done - before) / (now - since)) if now > since else 0
        self._run.show_bytes(done, total, rate)
