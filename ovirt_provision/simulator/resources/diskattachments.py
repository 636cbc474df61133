"""`/vms/{id}/diskattachments` and `/templates/{id}/diskattachments`."""

from ovirt_provision.simulator import faults, storage
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    complete,
    created,
    find_or_404,
    reference,
    require_id,
)
from ovirt_provision.simulator.entities import Attachment, Disk, Template, Vm
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.resources.disks import (
    change_disk,
    check_not_transferred,
    check_removable,
    read_disk,
)
from ovirt_provision.simulator.resources.lookups import find_domain
from ovirt_provision.simulator.world import World

routes = Routes()

_UNSUPPORTED = ("ide", "spapr_vscsi")
_NEVER_READ_ONLY = {"ide": "IDE", "sata": "SATA"}


def render_attachment(attachment: Attachment, vm_id: str, template_id: str | None = None) -> Element:
    """A template's attachment names the template as its VM too, as the engine does."""
    disk_id = attachment.disk.id
    owner = f"/templates/{template_id}" if template_id is not None else f"/vms/{vm_id}"
    return node(
        "disk_attachment",
        None,
        node("active", attachment.active),
        node("bootable", attachment.bootable),
        node("interface", attachment.interface),
        node("logical_name", attachment.logical_name) if attachment.logical_name is not None else None,
        node("pass_discard", attachment.pass_discard),
        node("read_only", attachment.read_only),
        node("uses_scsi_reservation", attachment.uses_scsi_reservation),
        reference("disk", "/disks", disk_id),
        reference("template", "/templates", template_id) if template_id is not None else None,
        reference("vm", "/vms", vm_id),
        href=f"{BASE}{owner}/diskattachments/{disk_id}",
        id=disk_id,
    )


@routes.add("GET", "/vms/{vm}/diskattachments")
def list_attachments(request: Request, vm: str) -> Reply:
    found: Vm | None = request.world.vms.get(vm)
    rows = found.attachments if found is not None else []
    return collection(request, "disk_attachments", rows, lambda one: render_attachment(one, vm))


@routes.add("GET", "/templates/{template}/diskattachments")
def list_template_attachments(request: Request, template: str) -> Reply:
    found = request.world.templates.get(template)
    rows = found.attachments if found is not None else []
    return collection(
        request, "disk_attachments", rows, lambda one: render_attachment(one, template, template)
    )


@routes.add("POST", "/vms/{vm}/diskattachments")
def add_attachment(request: Request, vm: str) -> Reply:
    world = request.world
    body = request.body("disk_attachment", "add")
    found: Vm = find_or_404(world.vms, vm)
    disk_body = body.find("disk")
    if disk_body is None:
        raise faults.no_signature()
    interface = find_text(body, "interface")
    given = disk_body.get("id")
    attaches = bool(given)
    action = "attach Virtual Disk" if attaches else "add Virtual Disk"
    if attaches:
        disk = world.disks.get(require_id(given or ""))
        if disk is None:
            raise faults.engine_fault("disk missing", action=action)
        check_not_transferred(world, disk, action)
        if disk.status == "locked":
            raise faults.engine_fault("disks locked", action=action, disks=disk.name)
        if any(attachment.disk is disk for attachment in found.attachments):
            raise faults.engine_fault("disk attached here", action=action)
        if world.holders(disk) and not disk.shareable:
            raise faults.engine_fault("disk attached", action=action)
    else:
        disk = _new_disk(request, disk_body, found)
    attachment = Attachment(
        disk,
        interface or "",
        bootable=find_bool(body, "bootable", False),
        active=find_bool(body, "active", False),
        read_only=find_bool(body, "read_only", False),
        pass_discard=find_bool(body, "pass_discard", False),
        uses_scsi_reservation=find_bool(body, "uses_scsi_reservation", False),
    )
    _check(found, attachment, action)
    if found.status == "image_locked":
        raise faults.engine_fault(found.lock or "vm locked", action=action)
    if attaches:
        found.attachments.append(attachment)
        world.log(2016, vm=found, disk=disk, job=None, correlation_id=request.correlation_id)
    else:
        with world.command(f"Adding Disk {disk.name}", request.correlation_id) as job:
            world.execute_job(job)
            world.disks[disk.id] = disk
            found.attachments.append(attachment)
            storage.create(world, disk, job, found)
    return created(render_attachment(attachment, vm))


def _new_disk(request: Request, body: Element, vm: Vm) -> Disk:
    world = request.world
    wanted = body.find("storage_domains/storage_domain")
    domain = find_domain(world, wanted) if wanted is not None else next(iter(world.domains.values()))
    if domain is None:
        raise faults.not_found()
    disk = read_disk(request, body, f"{vm.name}_Disk{len(vm.attachments) + 1}", domain)
    if wanted is None:
        raise faults.engine_fault("domain missing", action="add Virtual Disk")
    return disk


def _check(vm: Vm, attachment: Attachment, action: str) -> None:
    interface = attachment.interface
    if not interface:
        raise faults.engine_fault("interface required")
    if attachment.read_only and interface in _NEVER_READ_ONLY:
        raise faults.engine_fault("read-only interface", action=action, interface=_NEVER_READ_ONLY[interface])
    if interface == "virtio_scsi" and not find_bool(vm.config, "virtio_scsi/enabled", True):
        raise faults.engine_fault("virtio-scsi disabled", action=action)
    if interface in _UNSUPPORTED:
        raise faults.engine_fault("interface unsupported", action=action, os="Other OS")
    if attachment.bootable:
        for other in vm.attachments:
            if other is not attachment and other.bootable and other.disk is not attachment.disk:
                raise faults.engine_fault("second boot disk", action=action, disk=other.disk.name, vm=vm.name)


def _find(request: Request, vm: str, disk: str) -> tuple[Vm, Attachment]:
    found: Vm = find_or_404(request.world.vms, vm)
    return found, find_or_404({one.disk.id: one for one in found.attachments}, disk)


@routes.add("GET", "/vms/{vm}/diskattachments/{disk}")
def show_attachment(request: Request, vm: str, disk: str) -> Reply:
    return Reply(200, render_attachment(_find(request, vm, disk)[1], vm))


@routes.add("GET", "/templates/{template}/diskattachments/{disk}")
def show_template_attachment(request: Request, template: str, disk: str) -> Reply:
    found = find_or_404(request.world.templates, template)
    attachment = find_or_404({one.disk.id: one for one in found.attachments}, disk)
    return Reply(200, render_attachment(attachment, template, template))


@routes.add("PUT", "/vms/{vm}/diskattachments/{disk}")
def update_attachment(request: Request, vm: str, disk: str) -> Reply:
    found, attachment = _find(request, vm, disk)
    body = request.body("disk_attachment", "update")
    interface = find_text(body, "interface")
    active = find_bool(body, "active", attachment.active)
    if attachment.disk.status == "locked":
        action = "edit Virtual Disk"
        if active != attachment.active:
            action = "hot plug Virtual Disk" if active else "hot unplug Virtual Disk"
        raise faults.engine_fault("disks locked unnamed", action=action)
    changed = Attachment(
        attachment.disk,
        interface or attachment.interface,
        bootable=find_bool(body, "bootable", attachment.bootable),
        active=active,
        read_only=find_bool(body, "read_only", attachment.read_only),
        pass_discard=find_bool(body, "pass_discard", attachment.pass_discard),
        uses_scsi_reservation=find_bool(body, "uses_scsi_reservation", attachment.uses_scsi_reservation),
        logical_name=find_text(body, "logical_name", attachment.logical_name),
    )
    if found.running and (changed.interface, changed.read_only) != (
        attachment.interface,
        attachment.read_only,
    ):
        raise faults.engine_fault("disk of running vm", action="edit Virtual Disk")
    _check(found, changed, "edit Virtual Disk")
    disk_body = body.find("disk")
    if disk_body is None:
        disk_body = node("disk")
    attachment.active = active  # plugging is a command of its own, done at once

    def apply() -> None:
        if attachment in found.attachments:
            found.attachments[found.attachments.index(attachment)] = changed

    size = request.number(disk_body, "provisioned_size", "update")
    change_disk(request, attachment.disk, disk_body, size, apply)
    return Reply(200, render_attachment(attachment, vm))


@routes.add("DELETE", "/vms/{vm}/diskattachments/{disk}")
def remove_attachment(request: Request, vm: str, disk: str) -> Reply:
    world = request.world
    found, attachment = _find(request, vm, disk)
    if request.flag("detach_only", default=True):
        detach(world, found, attachment, request.correlation_id)
        return complete()
    with world.command(f"Removing Disk {attachment.disk.name}", request.correlation_id) as job:
        check_removable(world, attachment.disk)
        world.execute_job(job)
        found.attachments.remove(attachment)
        storage.remove(world, [attachment.disk], job)
    return complete(job.id)


@routes.add("DELETE", "/templates/{template}/diskattachments/{disk}")
def remove_template_copy(request: Request, template: str, disk: str) -> Reply:
    """The copy on `storage_domain` goes. Source: `RemoveDiskCommand` of the engine."""
    world = request.world
    found: Template = find_or_404(world.templates, template)
    copied: Disk = find_or_404({one.disk.id: one.disk for one in found.attachments}, disk)
    action = "remove Virtual Disk"
    given = request.query.get("storage_domain")
    with world.command(f"Removing Disk {copied.name}", request.correlation_id) as job:
        if not given:
            raise faults.engine_fault("copy of no domain", action=action)
        domain = next((one for one in copied.domains if one.id == given), None)
        if domain is None:
            raise faults.engine_fault("copy elsewhere", action=action)
        if copied.status == "locked":
            raise faults.engine_fault("object locked", action=action)
        if not copied.copies:
            raise faults.engine_fault("last copy", action=action)
        based = [one for one in world.disks.values() if one.source == copied.id and one.domain is domain]
        users = [vm.name for vm in world.vms.values() if any(one.disk in based for one in vm.attachments)]
        if users:
            raise faults.engine_fault("template used", vms=",".join(sorted(users)))
        world.execute_job(job)
        storage.remove_template_copy(world, copied, domain, job)
    return complete(job.id)


def detach(world: World, vm: Vm, attachment: Attachment, correlation_id: str) -> None:
    """Takes a disk from a VM, whatever state they are in; the disk stays."""
    vm.attachments.remove(attachment)
    world.log(2018, vm=vm, disk=attachment.disk, job=None, correlation_id=correlation_id)
