"""`/imagetransfers`: tickets for the content of disks, and the phases of a transfer.

The bytes themselves go through `images.py`, or through a real ovirt-imageio.
"""

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

from ovirt_provision.simulator import faults, markup
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    actions,
    collection,
    created,
    find_or_404,
    perform,
    reference,
    require_id,
)
from ovirt_provision.simulator.entities import ImageTransfer, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.resources.disks import check_not_transferred
from ovirt_provision.simulator.world import World

log = logging.getLogger(__name__)

routes = Routes()

ACTIONS = ["pause", "extend", "finalize", "resume", "cancel"]
_KEPT = timedelta(minutes=15)
_SOON = 0.4  # seconds from a resume or cancel to the phase after it


def render_transfer(request: Request, transfer: ImageTransfer) -> Element:
    path = f"/imagetransfers/{transfer.id}"
    _look(request.world, transfer)
    url = f"https://{_data_host(request)}/images/{transfer.ticket}"
    return node(
        "image_transfer",
        None,
        actions(path, ACTIONS),
        node("active", transfer.phase == "transferring" and transfer.transferred > 0),
        node("direction", transfer.direction),
        node("format", transfer.format),
        node("inactivity_timeout", transfer.inactivity_timeout),
        node("phase", transfer.phase),
        node("proxy_url", url),
        node("shallow", transfer.shallow),
        node("timeout_policy", transfer.timeout_policy),
        node("transfer_url", url),
        node("transferred", transfer.transferred),
        reference("host", "/hosts", transfer.host.id) if transfer.host is not None else None,
        node("image", id=transfer.disk.id),
        href=BASE + path,
        id=transfer.id,
    )


def _data_host(request: Request) -> str:
    daemon = request.world.images.daemon
    if daemon is None:
        return request.host
    name = urlsplit(f"//{request.host}").hostname or ""
    return f"[{name}]:{daemon.port}" if ":" in name else f"{name}:{daemon.port}"


def _look(world: World, transfer: ImageTransfer) -> None:
    """Learns from the daemon, if there is one, what its client did meanwhile."""
    daemon = world.images.daemon
    if daemon is None or transfer.phase != "transferring":
        return
    try:
        active, transferred = daemon.progress(transfer)
    except OSError as error:
        log.warning("the progress of transfer %s is not known: %s", transfer.id, error)
        return
    if active or transferred > transfer.transferred:
        transfer.touched = world.monotonic
    transfer.transferred = max(transfer.transferred, transferred)


def _enter(world: World, transfer: ImageTransfer, phase: str) -> None:
    """Enters a phase; the daemon, if there is one, knows the ticket during `transferring` alone."""
    _look(world, transfer)
    daemon = world.images.daemon
    before, transfer.phase = transfer.phase, phase
    try:
        if daemon is not None and phase == "transferring":
            daemon.add_ticket(transfer, world.images.path(transfer.disk))
        elif daemon is not None and before == "transferring":
            daemon.remove_ticket(transfer)
    except OSError as error:
        log.warning("transfer %s, %s: %s", transfer.id, phase, error)
        if phase == "transferring":
            _end(world, transfer, ok=False)


def _forget_ended(world: World) -> None:
    for transfer in list(world.transfers.values()):
        if transfer.ended is not None and transfer.ended + _KEPT < world.now:
            del world.transfers[transfer.id]


@routes.add("GET", "/imagetransfers")
def list_transfers(request: Request) -> Reply:
    _forget_ended(request.world)
    rows = list(request.world.transfers.values())
    return collection(request, "image_transfers", rows, lambda one: render_transfer(request, one))


@routes.add("POST", "/imagetransfers")
def add_transfer(request: Request) -> Reply:
    world = request.world
    body = request.body("image_transfer", "add")
    if body.find("snapshot") is not None:
        raise faults.not_simulated("ImageTransfersService.Add of a snapshot", "POST /imagetransfers")
    given = markup.reference_of(body, "disk") or markup.reference_of(body, "image")
    disk = world.disks.get(require_id(given))
    if disk is None:
        raise faults.engine_fault("general")
    action = "transfer Virtual Disk"
    check_not_transferred(world, disk, action)
    if disk.status == "locked":
        raise faults.engine_fault("disks locked", action=action, disks=disk.name)
    center = disk.domain.data_center
    near = (one for one in world.hosts.values() if one.cluster.data_center is center)
    host = next((one for one in near if one.status == "up"), None)
    if host is None:
        raise faults.engine_fault("no host up", action=action)
    running = [vm.name for vm in world.holders(disk) if vm.running]
    if running:
        raise faults.engine_fault("disk of running vm", action=action)
    transfer = ImageTransfer(
        new_id(),
        disk,
        find_text(body, "direction") or "upload",
        find_text(body, "format") or disk.format,
        new_id(),
        host,
        request.correlation_id,
        inactivity_timeout=request.number(body, "inactivity_timeout", "add") or 60,
        timeout_policy=find_text(body, "timeout_policy") or "legacy",
        shallow=find_bool(body, "shallow", False),
    )
    transfer.touched = world.monotonic
    disk.status = "locked"
    world.transfers[transfer.id] = transfer
    _log(world, transfer, 1031)
    if transfer.direction == "download":
        _prepare(world, transfer)
    else:
        _enter(world, transfer, "transferring")
    _watch(world, transfer)
    return created(render_transfer(request, transfer))


def _prepare(world: World, transfer: ImageTransfer) -> None:
    """Has the guests bring out the content of a disk; until then nothing can be read."""
    work = world.guests.read_disk(transfer.disk.volume, world.images.path(transfer.disk), transfer.format)

    def ready(error: str | None) -> None:
        if error is not None:
            _end(world, transfer, ok=False)
        elif transfer.phase == "initializing":
            path = world.images.path(transfer.disk)
            if transfer.format == "raw" and path.stat().st_size < transfer.disk.size:
                os.truncate(path, transfer.disk.size)  # what was never written reads as zeros
            _enter(world, transfer, "transferring")

    if not work.done:
        world.after(0.0, ready, work=work)
    else:
        ready(work.error)


def _log(world: World, transfer: ImageTransfer, code: int) -> None:
    world.log(
        code,
        job=None,
        correlation_id=transfer.correlation_id,
        disk=transfer.disk,
        domain=transfer.disk.domain,
        direction=transfer.direction.capitalize(),
    )


def _watch(world: World, transfer: ImageTransfer) -> None:
    """Ends the patience of the engine with a client that is silent for too long."""
    if not transfer.inactivity_timeout:
        return
    due = transfer.touched + transfer.inactivity_timeout

    def look(_error: str | None) -> None:
        if transfer.ended is not None or transfer.phase.startswith("finalizing"):
            return
        _look(world, transfer)
        # The same sum as above: their difference may be the least bit smaller than the time-out, for ever.
        silent = world.monotonic >= transfer.touched + transfer.inactivity_timeout
        if transfer.phase == "transferring" and silent:
            if transfer.timeout_policy == "cancel" or (
                transfer.timeout_policy == "legacy" and transfer.direction == "download"
            ):
                _cancel(world, transfer, "cancelled_system")
                return
            _enter(world, transfer, "paused_system")
        elif not silent:
            _watch(world, transfer)

    world.after(max(0.0, due - world.monotonic), look)


def _end(world: World, transfer: ImageTransfer, *, ok: bool) -> None:
    transfer.phase = "finished_success" if ok else "finished_failure"
    transfer.ended = world.now
    transfer.disk.status = "ok" if ok else "illegal"
    _log(world, transfer, 1032 if ok else 1034)


def _finalize(world: World, transfer: ImageTransfer) -> None:
    """Has the guests take over what was uploaded."""
    if transfer.phase == "finalizing_success":
        return
    _enter(world, transfer, "finalizing_success")
    work = None
    path = world.images.path(transfer.disk)
    if transfer.direction == "upload":
        work = world.guests.write_disk(transfer.disk.volume, path, transfer.format)

    def done(error: str | None) -> None:
        if error is None and transfer.direction == "upload":
            transfer.disk.actual_size = max(transfer.disk.actual_size, transfer.transferred)
        world.images.drop(transfer.disk)
        _end(world, transfer, ok=error is None)

    world.after(world.timing.launch, done, work=work)


def _cancel(world: World, transfer: ImageTransfer, phase: str) -> None:
    _enter(world, transfer, phase)

    def clean(_error: str | None) -> None:
        transfer.phase = "finalizing_cleanup"
        world.after(world.timing.launch, finished)

    def finished(_error: str | None) -> None:
        transfer.phase = "finished_cleanup"
        transfer.ended = world.now
        # What was half written is of no use.
        transfer.disk.status = "illegal" if transfer.direction == "upload" else "ok"
        world.images.drop(transfer.disk)
        _log(world, transfer, 1033)

    world.after(_SOON, clean)


@routes.add("GET", "/imagetransfers/{transfer}")
def show_transfer(request: Request, transfer: str) -> Reply:
    _forget_ended(request.world)
    return Reply(200, render_transfer(request, find_or_404(request.world.transfers, transfer)))


def _act(request: Request, transfer: str, method: str, run: Callable[[ImageTransfer], None]) -> Reply:
    """An action, which answers without its envelope when it fails; too late it does nothing."""
    found: ImageTransfer = find_or_404(request.world.transfers, transfer)

    def act(_body: Element) -> list[Element]:
        if found.ended is None:
            run(found)
        return []

    try:
        return perform(request, method, act)
    finally:
        found.touched = request.world.monotonic


@routes.add("POST", "/imagetransfers/{transfer}/extend")
def extend_transfer(request: Request, transfer: str) -> Reply:
    return _act(request, transfer, "extend", lambda _found: None)


@routes.add("POST", "/imagetransfers/{transfer}/pause")
def pause_transfer(request: Request, transfer: str) -> Reply:
    def pause(found: ImageTransfer) -> None:
        _enter(request.world, found, "paused_user")

    return _act(request, transfer, "pause", pause)


@routes.add("POST", "/imagetransfers/{transfer}/resume")
def resume_transfer(request: Request, transfer: str) -> Reply:
    world = request.world

    def resumed(found: ImageTransfer) -> None:
        if found.phase == "resuming":
            found.touched = world.monotonic
            _enter(world, found, "transferring")
            _watch(world, found)

    def resume(found: ImageTransfer) -> None:
        if not found.phase.startswith("paused"):
            fault = faults.engine_fault("transfer not paused")
            fault.bare = True
            raise fault
        found.phase = "resuming"
        _log(world, found, 1074)
        world.after(_SOON, lambda _error: resumed(found))

    return _act(request, transfer, "resume", resume)


@routes.add("POST", "/imagetransfers/{transfer}/finalize")
def finalize_transfer(request: Request, transfer: str) -> Reply:
    return _act(request, transfer, "finalize", lambda found: _finalize(request.world, found))


@routes.add("POST", "/imagetransfers/{transfer}/cancel")
def cancel_transfer(request: Request, transfer: str) -> Reply:
    return _act(request, transfer, "cancel", lambda found: _cancel(request.world, found, "cancelled_user"))
