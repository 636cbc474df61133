"""Actions on a disk: copy, move, convert, sparsify, reduce."""

from collections.abc import Callable

from ovirt_provision.simulator import faults, storage
from ovirt_provision.simulator.api import BASE, Reply, Request, Routes, actions, find_or_404, links, perform
from ovirt_provision.simulator.entities import Disk, Job, StorageDomain, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.resources.disks import ACTIONS, LINKS
from ovirt_provision.simulator.resources.lookups import find_domain
from ovirt_provision.simulator.world import World

routes = Routes()


def _act(request: Request, disk: str, method: str, run: Callable[[Disk, Element], Job | None]) -> Reply:
    """An action on a disk, which comes back with the disk, and with the job if there is one to be seen."""
    found: Disk = find_or_404(request.world.disks, disk)

    def act(body: Element) -> list[Element]:
        job = run(found, body)
        path = f"/disks/{found.id}"
        shown = node("disk", None, actions(path, ACTIONS), *links(path, LINKS), href=BASE + path, id=found.id)
        if job is None:
            return [shown]
        return [shown, node("job", href=f"{BASE}/jobs/{job.id}", id=job.id)]

    return perform(request, method, act)


def _target(world: World, body: Element) -> StorageDomain:
    wanted = body.find("storage_domain")
    assert wanted is not None, "the router has checked it"
    domain = find_domain(world, wanted)
    if domain is None:
        raise faults.entity_not_found(wanted.get("id") or find_text(wanted, "name") or "")
    return domain


def _check_free(disk: Disk, action: str) -> None:
    if disk.copying is not None:
        raise faults.engine_fault("disk moved or copied", action=action, disk=disk.copying)
    if disk.status == "locked":
        raise faults.engine_fault("disks locked unnamed", action=action)


@routes.add("POST", "/disks/{disk}/copy")
def copy_disk(request: Request, disk: str) -> Reply:
    def run(found: Disk, body: Element) -> Job:
        world = request.world
        action = "copy Virtual Disk"
        domain = _target(world, body)
        name = find_text(body, "disk/name") or find_text(body, "disk/alias") or found.name
        with world.command(f"Copying Disk {found.name} to {domain.name}", request.correlation_id) as job:
            _check_free(found, action)
            of_template = world.template_of(found) is not None
            if of_template and domain in found.domains:
                raise faults.engine_fault("disk is there", action=action)
            world.execute_job(job)
            if of_template:
                storage.copy_template_disk(world, found, domain, job)
                return job
            copy = Disk(
                new_id(),
                name,
                found.size,
                domain,
                description=found.description,
                format=found.format,
                sparse=found.sparse,
                propagate_errors=found.propagate_errors,
                wipe_after_delete=found.wipe_after_delete,
                content_type=found.content_type,
                backup=found.backup,
            )
            storage.copy_disk(world, found, copy, job)
        return job

    return _act(request, disk, "copy", run)


@routes.add("POST", "/disks/{disk}/move")
def move_disk(request: Request, disk: str) -> Reply:
    def run(found: Disk, body: Element) -> None:
        world = request.world
        action = "move Virtual Disk"
        domain = _target(world, body)
        with world.command(f"Moving Disk {found.name}", request.correlation_id) as job:
            _check_free(found, action)
            if world.template_of(found) is not None:
                raise faults.engine_fault("disk of no vm", action=action, disks=found.name)
            if domain is found.domain:
                raise faults.engine_fault("same domain", action=action)
            world.execute_job(job)
            storage.move_disk(world, found, domain, job)

    return _act(request, disk, "move", run)


@routes.add("POST", "/disks/{disk}/convert")
def convert_disk(request: Request, disk: str) -> Reply:
    def run(found: Disk, body: Element) -> Job:
        world = request.world
        with world.command(f"Converting Disk {found.name}", request.correlation_id) as job:
            _check_free(found, "convert Virtual Disk")
            world.execute_job(job)
            disk_format = find_text(body, "disk/format") or found.format
            sparse = find_bool(body, "disk/sparse", found.sparse)
            storage.convert_disk(world, found, disk_format, sparse, job)
        return job

    return _act(request, disk, "convert", run)


@routes.add("POST", "/disks/{disk}/sparsify")
def sparsify_disk(request: Request, disk: str) -> Reply:
    def run(found: Disk, _body: Element) -> Job:
        world = request.world
        action = "sparsify Virtual Disk"
        with world.command(f"Sparsifying Disk {found.name}", request.correlation_id) as job:
            running = [vm.name for vm in world.holders(found) if vm.running]
            if running:
                vms = ", ".join(running)
                raise faults.engine_fault("disk plugged to running", action=action, disk=found.name, vms=vms)
            _check_free(found, action)
            if found.format == "cow":
                raise faults.engine_fault("sparsify qcow2", action=action, disk=found.name)
            if not found.sparse:
                raise faults.engine_fault("sparsify preallocated", action=action, disk=found.name)
            snapshots = (one for vm in world.holders(found) for one in vm.snapshots)
            if any(one.disk.id == found.id for snapshot in snapshots for one in snapshot.attachments):
                raise faults.engine_fault("disk has snapshots", action=action)
            derived = sorted(one.name for one in world.disks.values() if one.source == found.id)
            if derived:
                raise faults.engine_fault(
                    "disk has derived", action=action, disk=found.name, disks=", ".join(derived)
                )
            world.execute_job(job)
            storage.sparsify(world, found, job)
        return job

    return _act(request, disk, "sparsify", run)


@routes.add("POST", "/disks/{disk}/reduce")
def reduce_disk(request: Request, disk: str) -> Reply:
    """Only block storage has volumes to reduce; there it goes on in the background, an action of its own."""
    world = request.world
    found: Disk = find_or_404(world.disks, disk)
    if not found.domain.is_block:

        def refuse(_found: Disk, _body: Element) -> None:
            raise faults.engine_fault("reduce on files")

        return _act(request, disk, "reduce", refuse)
    with world.command(f"Reducing Disk {found.name}", request.correlation_id) as job:
        _check_free(found, "reduce Virtual Disk")
        world.execute_job(job)
        storage.edit(world, found, world.timing.edit_disk)
    parent, action_id = f"{BASE}/disks/{disk}", new_id()
    shown = node(
        "action",
        None,
        node("link", href=parent, rel="parent"),
        node("link", href=f"{parent}/reduce", rel="replay"),
        node("async", "true"),
        node("job", href=f"{BASE}/jobs/{job.id}", id=job.id),
        node("status", "pending"),
        href=f"{parent}/reduce/{action_id}",
        id=action_id,
    )
    return Reply(202, shown)
