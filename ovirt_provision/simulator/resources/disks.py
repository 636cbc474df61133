"""`/disks`."""

import operator
from collections.abc import Callable, Mapping, Sequence

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
    reference,
    require_id,
)
from ovirt_provision.simulator.entities import (
    ZERO_ID,
    Attachment,
    Disk,
    StorageDomain,
    Template,
    Vm,
    new_id,
)
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node, reference_of
from ovirt_provision.simulator.resources.lookups import find_domain
from ovirt_provision.simulator.resources.profiles import DISK_PROFILES
from ovirt_provision.simulator.resources.quotas import chosen_quota
from ovirt_provision.simulator.search import Field, Fields, Kind
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = ["copy", "export", "move", "refreshlun", "convert", "sparsify", "reduce"]
LINKS = ["disksnapshots", "permissions", "statistics"]


def fields(world: World) -> Fields:
    return {
        "name": Field(lambda disk: disk.name, free_text=True),
        "alias": Field(lambda disk: disk.name, free_text=True),
        "description": Field(lambda disk: disk.description, free_text=True),
        "id": Field(lambda disk: disk.id, Kind.ID),
        "status": Field(
            lambda disk: disk.status, Kind.STATUS, values=frozenset({"unassigned", "ok", "locked", "illegal"})
        ),
        "provisioned_size": Field(lambda disk: disk.size >> 30, Kind.NUMBER),
        "size": Field(lambda disk: disk.size >> 30, Kind.NUMBER),
        "shareable": Field(lambda disk: disk.shareable, Kind.BOOLEAN),
        "wipe_after_delete": Field(lambda disk: disk.wipe_after_delete, Kind.BOOLEAN),
        "disk_type": Field(lambda _disk: "image", Kind.STATUS, values=frozenset({"image", "lun", "cinder"})),
        "disk_content_type": Field(
            lambda disk: disk.content_type, Kind.STATUS, values=frozenset({"data", "iso"})
        ),
        "number_of_vms": Field(lambda disk: len(world.holders(disk)), Kind.NUMBER),
        "vm_names": Field(lambda disk: [vm.name for vm in world.holders(disk)]),
        "vm.name": Field(lambda disk: [vm.name for vm in world.holders(disk)]),
        "vm.id": Field(lambda disk: [vm.id for vm in world.holders(disk)], Kind.ID),
        "storage.name": Field(lambda disk: [domain.name for domain in disk.domains]),
        "storage": Field(lambda disk: [domain.name for domain in disk.domains]),
        "datacenter": Field(lambda disk: disk.domain.data_center.name),
    }


def render_disk(disk: Disk) -> Element:
    path = f"/disks/{disk.id}"
    center = disk.domain.data_center
    return node(
        "disk",
        None,
        actions(path, ACTIONS),
        node("name", disk.name),
        node("description", disk.description),
        *links(path, LINKS),
        node("actual_size", disk.actual_size),
        node("alias", disk.name),
        node("backup", disk.backup),
        node("content_type", disk.content_type),
        node("format", disk.format),
        node("image_id", disk.image_id),
        node("propagate_errors", disk.propagate_errors),
        node("provisioned_size", disk.size),
        node("qcow_version", "qcow2_v3") if disk.format == "cow" and disk.made else None,
        node("shareable", disk.shareable),
        node("sparse", disk.sparse),
        node("status", disk.status),
        node("storage_type", "image"),
        node("total_size", disk.actual_size),
        node("wipe_after_delete", disk.wipe_after_delete),
        reference("disk_profile", "/diskprofiles", disk.profile_id or disk.domain.profile_id),
        reference("quota", f"/datacenters/{center.id}/quotas", disk.quota_id or center.quota_id),
        node("storage_domains", None, *(_domain(domain) for domain in disk.domains)),
        href=BASE + path,
        id=disk.id,
    )


def _domain(domain: StorageDomain) -> Element:
    return reference("storage_domain", "/storagedomains", domain.id)


def read_disk(request: Request, body: Element, name: str, domain: StorageDomain) -> Disk:
    """A new disk as the body asks for it; it is checked, but not yet in the world."""
    world = request.world
    missing = [
        label
        for label, tag in (("provisionedSize", "provisioned_size"), ("format", "format"))
        if find_text(body, tag) is None
    ]
    if missing:
        raise faults.incomplete("Disk", missing)
    size = request.number(body, "provisioned_size", "add") or 0
    disk_format = find_text(body, "format") or ""
    sparse = find_bool(body, "sparse", True)
    shareable = find_bool(body, "shareable", False)
    backup = find_text(body, "backup") or "none"
    action = "add Virtual Disk"
    if size == 0:
        raise faults.engine_fault("disk size zero", action=action)
    if shareable and disk_format == "cow":
        raise faults.engine_fault("disk not shareable", action=action)
    unfit = not sparse if disk_format == "cow" else backup == "incremental" or (sparse and domain.is_block)
    if unfit:
        what = f"{disk_format.upper()} {'Sparse' if sparse else 'Preallocated'} backup-{backup.capitalize()}"
        raise faults.engine_fault("disk configuration", action=action, what=what)
    quota = chosen_quota(world, body, domain, size, action)
    profile = _chosen_profile(world, body, domain, action)
    storage.check_room(world, domain, action, 0 if sparse else size)
    return Disk(
        new_id(),
        find_text(body, "name") or find_text(body, "alias") or name,
        size,
        domain,
        description=find_text(body, "description") or "",
        format=disk_format,
        sparse=sparse,
        shareable=shareable,
        backup=backup,
        propagate_errors=find_bool(body, "propagate_errors", False),
        wipe_after_delete=find_bool(body, "wipe_after_delete", False),
        content_type=find_text(body, "content_type") or "data",
        quota_id=quota,
        profile_id=profile,
    )


def _chosen_profile(world: World, body: Element, domain: StorageDomain, action: str) -> str | None:
    given = reference_of(body, "disk_profile")
    if not given:
        return None
    found = DISK_PROFILES.all(world).get(require_id(given))
    if found is None:
        raise faults.engine_fault("profile unknown", action=action)
    if found.owner is not domain:
        raise faults.engine_fault(
            "profile elsewhere", action=action, profile=found.name, id=found.id, domain=domain.name
        )
    return found.id


def copy_disks(
    world: World,
    target: Vm | Template,
    attachments: Sequence[Attachment],
    overrides: Mapping[str, Element],
    *,
    thin: bool = False,
    suffix: str = "",
) -> list[Disk]:
    """Attaches to `target` new disks like those of `attachments`, and returns the latter.

    `overrides` says by their ids what the request wants different; `suffix` is put behind the names. The
    content is still to be copied.
    """
    sources = []
    for attachment in attachments:
        source = attachment.disk
        changes = overrides.get(source.id, node("disk"))
        domain = changes.find("storage_domains/storage_domain")
        disk = Disk(
            new_id(),
            find_text(changes, "name") or find_text(changes, "alias") or source.name + suffix,
            source.size,
            (find_domain(world, domain) if domain is not None else None) or source.domain,
            description=source.description,
            format="cow" if thin else find_text(changes, "format") or source.format,
            sparse=True if thin else find_bool(changes, "sparse", source.sparse),
            actual_size=1_048_576 if isinstance(target, Vm) else source.actual_size,
            propagate_errors=source.propagate_errors,
            wipe_after_delete=source.wipe_after_delete,
            source=source.id if thin else None,
            quota_id=reference_of(changes, "quota") or None,
        )
        target.attachments.append(
            Attachment(
                disk, attachment.interface, attachment.bootable, attachment.active, attachment.read_only
            )
        )
        sources.append(source)
    return sources


def change_disk(
    request: Request, disk: Disk, body: Element, size: int | None, then: Callable[[], None] = lambda: None
) -> None:
    """Takes a PUT on a disk. It stays locked for a while, also when nothing changes; only then do its changes
    hold, and `then` is called.
    """
    world = request.world
    action = "edit Virtual Disk"
    if body.get("id", disk.id) != disk.id:
        raise faults.Fault(
            409, "Attempt to set immutable field: id", "Broken immutability constraint", bare=True
        )
    extends = size is not None and size > disk.size

    def apply() -> None:
        disk.name = find_text(body, "name") or find_text(body, "alias") or disk.name
        disk.description = find_text(body, "description", disk.description) or ""
        disk.shareable = find_bool(body, "shareable", disk.shareable)
        disk.propagate_errors = find_bool(body, "propagate_errors", disk.propagate_errors)
        disk.wipe_after_delete = find_bool(body, "wipe_after_delete", disk.wipe_after_delete)
        disk.backup = find_text(body, "backup") or disk.backup
        if size is not None:
            disk.size = size
        then()

    holders = world.holders(disk)
    names = ", ".join(sorted(vm.name for vm in holders)) or "N/A"
    description = f"Updating Disk {disk.name} properties for VMs: {names}"
    with world.command(description, request.correlation_id) as job:
        if disk.status == "locked":
            raise faults.engine_fault("disks locked unnamed", action=action)
        if size is not None and size < disk.size:
            raise faults.engine_fault("disk shrinks", action=action)
        if find_bool(body, "shareable", disk.shareable) and disk.format == "cow":
            raise faults.engine_fault("disk not shareable", action=action)
        world.execute_job(job)
        if extends or not any(vm.running for vm in holders):
            seconds = world.timing.extend_disk if extends else world.timing.edit_disk
            storage.edit(world, disk, seconds, apply, job)
        else:
            apply()


def check_not_transferred(world: World, disk: Disk, action: str) -> None:
    """Refuses what cannot be done to a disk while its content is being transferred."""
    for transfer in world.transfers.values():
        if transfer.disk is disk and transfer.ended is None:
            raise faults.engine_fault("disk transferred", action=action, disk=disk.name)


def check_removable(world: World, disk: Disk) -> None:
    action = "remove Virtual Disk"
    if any(vm.running for vm in world.holders(disk)):
        raise faults.engine_fault("disk of running vm", action=action)
    check_not_transferred(world, disk, action)
    if disk.status == "locked":
        raise faults.engine_fault("object locked", action=action)
    if world.template_of(disk) is not None:
        raise faults.engine_fault("disk of template", action=action)


@routes.add("GET", "/disks")
def list_disks(request: Request) -> Reply:
    world = request.world
    return collection(
        request,
        "disks",
        world.disks.values(),
        render_disk,
        fields(world),
        order=operator.attrgetter("name"),
    )


@routes.add("POST", "/disks")
def add_disk(request: Request) -> Reply:
    world = request.world
    body = request.body("disk", "add")
    if body.find("lun_storage") is not None:
        if body.find("lun_storage/logical_units") is None:
            raise faults.Fault(400, "LogicalUnit  required for add", "Incomplete parameters")
        if body.find("lun_storage/logical_units/logical_unit") is None:
            raise faults.Fault(400, "LogicalUnit  required for add", "Incomplete parameters", bare=True)
        raise faults.not_simulated("DisksService.Add of a LUN", "POST /disks")
    wanted = body.find("storage_domains/storage_domain")
    domain = next(iter(world.domains.values()))
    if wanted is not None:
        found = find_domain(world, wanted)
        if found is None:
            raise faults.entity_not_found(wanted.get("id") or find_text(wanted, "name") or "")
        domain = found
    disk = read_disk(request, body, "_Disk1", domain)
    if wanted is None:
        raise faults.engine_fault("domain missing", action="add Virtual Disk")
    chosen = body.get("id")
    if chosen and require_id(chosen) != ZERO_ID:
        disk.id = disk.volume = chosen.lower()
        holder = world.disks.get(disk.id)
        if holder is not None:
            raise faults.engine_fault(
                "disk id in use", action="add Virtual Disk", id=disk.id, disk=holder.name
            )
    with world.command(f"Adding Disk {disk.name}", request.correlation_id) as job:
        world.execute_job(job)
        world.disks[disk.id] = disk
        storage.create(world, disk, job, None)
    return created(render_disk(disk))


@routes.add("POST", "/storagedomains/{domain}/disks")
def add_disk_to_domain(request: Request, domain: str) -> Reply:
    """On this domain, whatever the body says."""
    find_or_404(request.world.domains, domain)
    body = request.body("disk", "add")
    for said in body.findall("storage_domains"):
        body.remove(said)
    body.append(node("storage_domains", None, node("storage_domain", id=domain)))
    return add_disk(request)


@routes.add("GET", "/disks/{disk}")
def show_disk(request: Request, disk: str) -> Reply:
    return Reply(200, render_disk(find_or_404(request.world.disks, disk)))


@routes.add("PUT", "/disks/{disk}")
def update_disk(request: Request, disk: str) -> Reply:
    found: Disk = find_or_404(request.world.disks, disk)
    body = request.body("disk", "update")
    change_disk(request, found, body, request.number(body, "provisioned_size", "update"))
    holders = [reference("vm", "/vms", vm.id) for vm in request.world.holders(found)]
    element = render_disk(found)
    if holders:
        element.append(node("vms", None, *holders))
    return Reply(200, element)


@routes.add("DELETE", "/disks/{disk}")
def remove_disk(request: Request, disk: str) -> Reply:
    world = request.world
    found: Disk = find_or_404(world.disks, disk)
    with world.command(f"Removing Disk {found.name}", request.correlation_id) as job:
        check_removable(world, found)
        world.execute_job(job)
        storage.remove(
            world,
            [found],
            job,
            lambda: _log_removed(world, found, job.correlation_id),
        )
    return complete(job.id)


def _log_removed(world: World, disk: Disk, correlation_id: str) -> None:
    world.log(2014, disk=disk, domain=disk.domain, job=None, correlation_id=correlation_id)


def check_unlocked(vm: Vm, action: str) -> None:
    """Raises the fault for a VM with locked disks."""
    locked = [one.disk.name for one in vm.attachments if one.disk.status == "locked"]
    if locked:
        raise faults.engine_fault("disks locked", action=action, disks=", ".join(locked))


def check_legal(vm: Vm, action: str) -> None:
    """Raises the fault for a VM with illegal disks."""
    illegal = [one.disk.name for one in vm.attachments if one.disk.status == "illegal"]
    if illegal:
        raise faults.engine_fault("disks illegal", action=action, disks=", ".join(illegal))
