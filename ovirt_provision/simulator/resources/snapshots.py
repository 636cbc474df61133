"""`/vms/{id}/snapshots`."""

import copy
from dataclasses import replace

from ovirt_provision.simulator import faults, storage
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    actions,
    collection,
    complete,
    created,
    find_or_404,
    links,
    perform,
    reference,
    require_id,
)
from ovirt_provision.simulator.entities import Disk, Nic, Snapshot, Vm, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node, without, without_addresses
from ovirt_provision.simulator.resources.disks import render_disk
from ovirt_provision.simulator.resources.nics import render_nic
from ovirt_provision.simulator.resources.vms import check_at_rest, check_idle, render_vm

routes = Routes()

LINKS = ["cdroms", "nics", "disks"]
ACTIONS = ["restore"]


def render_snapshot(vm: Vm, snapshot: Snapshot, *, new: bool = False) -> Element:
    """A reply to its creation only refers to the VM; later the VM is shown as it was."""
    path = f"/vms/{vm.id}/snapshots/{snapshot.id}"
    return node(
        "snapshot",
        None,
        actions(path, ACTIONS),
        node("description", snapshot.description),
        *links(path, LINKS),
        node("date", snapshot.created),
        node("persist_memorystate", snapshot.with_memory),
        node("snapshot_status", snapshot.status),
        node("snapshot_type", snapshot.type),
        reference("vm", "/vms", vm.id) if new else copy.deepcopy(snapshot.shown),
        href=BASE + path,
        id=snapshot.id,
    )


def render_active(vm: Vm) -> Element:
    """The snapshot that every VM has: its present state."""
    path = f"/vms/{vm.id}/snapshots/{vm.active_snapshot_id}"
    return node(
        "snapshot",
        None,
        actions(path, ACTIONS),
        node("description", "Active VM"),
        node("date", vm.created),
        node("persist_memorystate", "false"),
        node("snapshot_status", "ok"),
        node("snapshot_type", "active"),
        href=BASE + path,
        id=vm.active_snapshot_id,
    )


def new_snapshot(
    request: Request,
    vm: Vm,
    description: str,
    *,
    wanted: frozenset[str] = frozenset(),
    with_memory: bool = False,
) -> Snapshot:
    """The VM as it is now, with the disks of these ids, by default all. Shareable disks are left out.

    Its volumes are still to be made.
    """
    world = request.world
    shown = without_addresses(render_vm(request, vm))
    attachments = [
        replace(one, disk=replace(one.disk, volume=one.disk.image_id))
        for one in vm.attachments
        if not one.disk.shareable and (not wanted or one.disk.id in wanted)
    ]
    return Snapshot(
        new_id(),
        description,
        world.now,
        copy.deepcopy(vm.config),
        without(shown, ("actions", "link")),
        attachments,
        [replace(nic) for nic in vm.nics],
        with_memory=with_memory,
    )


@routes.add("GET", "/vms/{vm}/snapshots")
def list_snapshots(request: Request, vm: str) -> Reply:
    found: Vm | None = request.world.vms.get(vm)
    if found is None:
        return Reply(200, node("snapshots"))
    rendered = [render_active(found), *(render_snapshot(found, one) for one in found.snapshots)]
    return collection(request, "snapshots", rendered, lambda one: one)


@routes.add("POST", "/vms/{vm}/snapshots")
def add_snapshot(request: Request, vm: str) -> Reply:
    world = request.world
    body = request.body("snapshot", "add")
    description = find_text(body, "description") or ""
    found: Vm = find_or_404(world.vms, vm)
    action = "create Snapshot"
    disks = body.iterfind("disk_attachments/disk_attachment/disk")
    wanted = frozenset(require_id(disk.get("id", "")) for disk in disks)
    if wanted - world.disks.keys():
        raise faults.engine_fault("disk missing", action=action)
    with world.command(
        f"Creating VM Snapshot {description} for VM {found.name}", request.correlation_id
    ) as job:
        request.hold("vm", found.id, action)
        check_idle(found, action)
        _check_no_preview(found, action)
        world.execute_job(job)
        with_memory = found.running and find_bool(body, "persist_memorystate", True)
        snapshot = new_snapshot(request, found, description, wanted=wanted, with_memory=with_memory)
        world.log(45, vm=found, job=job, snapshot=description)
        found.lock = "vm snapshotted"

        def end(error: str | None) -> None:
            found.lock = None
            world.log(68 if error is None else 69, vm=found, job=job, snapshot=description)
            world.end_job(job, ok=error is None)

        storage.take_snapshot(world, found, snapshot, job, end)
        return created(render_snapshot(found, snapshot, new=True))


def _find(request: Request, vm: str, snapshot: str) -> tuple[Vm, Snapshot]:
    found: Vm = find_or_404(request.world.vms, vm)
    return found, find_or_404({one.id: one for one in found.snapshots}, snapshot)


@routes.add("GET", "/vms/{vm}/snapshots/{snapshot}")
def show_snapshot(request: Request, vm: str, snapshot: str) -> Reply:
    found: Vm = find_or_404(request.world.vms, vm)
    if snapshot == found.active_snapshot_id:
        return Reply(200, render_active(found))
    return Reply(200, render_snapshot(*_find(request, vm, snapshot)))


@routes.add("DELETE", "/vms/{vm}/snapshots/{snapshot}")
def remove_snapshot(request: Request, vm: str, snapshot: str) -> Reply:
    world = request.world
    holder: Vm = find_or_404(world.vms, vm)
    action = "remove Snapshot"
    if snapshot == holder.active_snapshot_id:
        raise faults.engine_fault("snapshot not regular", action=action)
    found, one = _find(request, vm, snapshot)
    with world.command(
        f"Removing Snapshot {one.description} of VM {found.name}", request.correlation_id
    ) as job:
        request.hold("vm", found.id, action)
        check_idle(found, action)
        _check_no_preview(found, action)
        world.execute_job(job)
        world.log(342, vm=found, job=job, snapshot=one.description)
        job.in_background = True

        def gone() -> None:
            world.log(356, vm=found, job=job, snapshot=one.description)
            world.end_job(job)

        storage.remove_snapshot(world, found, one, gone)
    return complete(job.id)


@routes.add("POST", "/vms/{vm}/snapshots/{snapshot}/restore")
def restore_snapshot(request: Request, vm: str, snapshot: str) -> Reply:
    world = request.world
    found, one = _find(request, vm, snapshot)

    def restore(_body: Element) -> list[Element]:
        action = "preview Snapshot"
        _check_no_preview(found, action)
        # The engine replaces the correlation id of the request by this.
        with world.command(
            f"Restoring VM Snapshot {one.description} of VM {found.name}", "RestoreSnapshot"
        ) as job:
            request.hold("vm", found.id, action)
            check_at_rest(found, action)
            world.execute_job(job)
            world.log(1190, vm=found, job=job)
            found.config = copy.deepcopy(one.config)
            storage.restore(world, found, one, job, lambda: _log_restored(request, found))
        return [node("job", href=f"{BASE}/jobs/{job.id}", id=job.id)]

    return perform(request, "restore", restore)


def _saved(vm: Vm) -> Snapshot | None:
    """The VM as it was before its preview, if it is in one."""
    return next((one for one in vm.snapshots if one.type == "preview"), None)


def _check_no_preview(vm: Vm, action: str) -> None:
    if _saved(vm) is not None:
        raise faults.engine_fault("vm in preview", action=action)


@routes.add("POST", "/vms/{vm}/previewsnapshot")
def preview_snapshot(request: Request, vm: str) -> Reply:
    """Not recorded: judged after the engine's two steps, a snapshot of the present and a restoration."""
    world = request.world
    find_or_404(world.vms, vm)

    def preview(body: Element) -> list[Element]:
        action = "preview Snapshot"
        wanted = body.find("snapshot")
        assert wanted is not None  # it is mandatory
        found, one = _find(request, vm, require_id(wanted.get("id", "")))
        with world.command(
            f"Previewing Snapshot {one.description} of VM {found.name}", request.correlation_id
        ) as job:
            request.hold("vm", found.id, action)
            check_at_rest(found, action)
            _check_no_preview(found, action)
            world.execute_job(job)
            before = new_snapshot(request, found, "Active VM before the preview")
            before.type = "preview"

            def go_back(error: str | None) -> None:
                if error is not None:
                    world.end_job(job, ok=False)
                    return
                found.config = copy.deepcopy(one.config)
                storage.restore(world, found, one, job, stay)

            def stay() -> None:
                one.status = "in_preview"

            storage.take_snapshot(world, found, before, job, go_back)
        return [node("job", href=f"{BASE}/jobs/{job.id}", id=job.id)]

    return perform(request, "previewsnapshot", preview)


@routes.add("POST", "/vms/{vm}/commitsnapshot")
def commit_snapshot(request: Request, vm: str) -> Reply:
    """The VM stays as it is in its preview."""
    return _end_preview(request, vm, "commitsnapshot", "commit Snapshot", undo=False)


@routes.add("POST", "/vms/{vm}/undosnapshot")
def undo_snapshot(request: Request, vm: str) -> Reply:
    """The VM becomes what it was before its preview."""
    return _end_preview(request, vm, "undosnapshot", "undo Snapshot", undo=True)


def _end_preview(request: Request, vm: str, method: str, action: str, *, undo: bool) -> Reply:
    world = request.world
    found: Vm = find_or_404(world.vms, vm)

    def end(_body: Element) -> list[Element]:
        with world.command(f"Ending the preview of VM {found.name}", request.correlation_id) as job:
            request.hold("vm", found.id, action)
            check_at_rest(found, action)
            before = _saved(found)
            if before is None:
                raise faults.engine_fault("vm not in preview", action=action)
            world.execute_job(job)

            def ended() -> None:
                storage.forget_snapshot(world, found, before)
                for one in found.snapshots:
                    one.status = "ok"

            if undo:
                found.config = copy.deepcopy(before.config)
                storage.restore(world, found, before, job, ended)
            else:
                ended()
        return [node("job", href=f"{BASE}/jobs/{job.id}", id=job.id)]

    return perform(request, method, end)


def _log_restored(request: Request, vm: Vm) -> None:
    request.world.log(100, vm=vm, job=None, correlation_id="RestoreSnapshot")


def _render_part(snapshot: Snapshot, element: Element) -> Element:
    """What belongs to a snapshot has no address of its own and says which snapshot it is of."""
    bare = without_addresses(without(element, ("actions", "link")))
    bare.append(node("snapshot", id=snapshot.id))
    return bare


@routes.add("GET", "/vms/{vm}/snapshots/{snapshot}/disks")
def list_disks(request: Request, vm: str, snapshot: str) -> Reply:
    _, one = _find(request, vm, snapshot)
    rows = [attachment.disk for attachment in one.attachments]
    return collection(request, "disks", rows, lambda disk: _render_part(one, render_disk(disk)))


@routes.add("GET", "/vms/{vm}/snapshots/{snapshot}/disks/{disk}")
def show_disk(request: Request, vm: str, snapshot: str, disk: str) -> Reply:
    _, one = _find(request, vm, snapshot)
    found: Disk = find_or_404({a.disk.id: a.disk for a in one.attachments}, disk)
    return Reply(200, _render_part(one, render_disk(found)))


@routes.add("GET", "/vms/{vm}/snapshots/{snapshot}/nics")
def list_nics(request: Request, vm: str, snapshot: str) -> Reply:
    _, one = _find(request, vm, snapshot)
    return collection(
        request, "nics", one.nics, lambda nic: without(render_nic(nic, vm), ("actions", "link"))
    )


@routes.add("GET", "/vms/{vm}/snapshots/{snapshot}/nics/{nic}")
def show_nic(request: Request, vm: str, snapshot: str, nic: str) -> Reply:
    _, one = _find(request, vm, snapshot)
    found = find_or_404({each.id: each for each in one.nics}, nic)
    return Reply(200, _render_nic(found, vm))


def _render_nic(nic: Nic, vm: str) -> Element:
    return without(render_nic(nic, vm), ("actions", "link"))


@routes.add("GET", "/vms/{vm}/snapshots/{snapshot}/cdroms")
def list_cdroms(request: Request, vm: str, snapshot: str) -> Reply:
    _find(request, vm, snapshot)
    return Reply(200, node("cdroms"))
