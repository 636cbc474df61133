"""`/storagedomains`, and those that are attached to a data center."""

import copy

from ovirt_provision.simulator import faults, markup
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
)
from ovirt_provision.simulator.entities import StorageDomain, new_id
from ovirt_provision.simulator.faults import Fault
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.resources.disks import render_disk
from ovirt_provision.simulator.resources.lookups import find_domain
from ovirt_provision.simulator.search import Field, Fields, Kind
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = ["isattached", "updateovfstore", "refreshluns", "reduceluns"]
LINKS = ["disksnapshots", "diskprofiles", "disks", "storageconnections", "permissions", "templates", "vms"]

FIELDS: Fields = {
    "name": Field(lambda domain: domain.name, free_text=True),
    "comment": Field(lambda domain: domain.comment, free_text=True),
    "description": Field(lambda domain: domain.description, free_text=True),
    "id": Field(lambda domain: domain.id, Kind.ID),
    "datacenter": Field(lambda domain: domain.data_center.name),
    "status": Field(
        lambda domain: domain.status,
        Kind.STATUS,
        values=frozenset(
            ["unknown", "uninitialized", "unattached", "active", "inactive", "locked", "maintenance"]
        ),
    ),
}


def render_domain(world: World, domain: StorageDomain, *, in_center: bool = False) -> Element:
    """Only where the domain is seen as part of its data center its status there is shown, once attached."""
    path = f"/storagedomains/{domain.id}"
    rels, acts = LINKS, ACTIONS
    if in_center:
        path, rels, acts = (
            f"/datacenters/{domain.data_center.id}{path}",
            ["disks"],
            ["activate", "deactivate"],
        )
    attached = domain.status != "unattached"
    status = domain.status if in_center or not attached else None
    center = reference("data_center", "/datacenters", domain.data_center.id)
    committed = sum(disk.size for disk in world.disks.values() if domain in disk.domains)
    return node(
        "storage_domain",
        None,
        actions(path, acts),
        node("name", domain.name),
        node("description", domain.description),
        node("comment", domain.comment),
        *links(path, rels),
        node("available", domain.available),
        node("backup", domain.backup),
        node("block_size", "512"),
        node("committed", committed),
        node("critical_space_action_blocker", "5"),
        node("discard_after_delete", "false"),
        node("external_status", "ok"),
        node("master", domain.master),
        node("status", status) if status is not None else None,
        node(
            "storage",
            None,
            node("address", domain.address),
            node("path", domain.path or f"/{domain.name}"),
            node("type", domain.storage_type),
        ),
        node("storage_format", "v5"),
        node("supports_discard", "false"),
        node("supports_discard_zeroes_data", "false"),
        node("type", domain.type),
        node("used", domain.used),
        node("warning_low_space_indicator", "10"),
        node("wipe_after_delete", "false"),
        copy.deepcopy(center) if in_center else None,
        node("data_centers", None, center) if attached else None,
        href=BASE + path,
        id=domain.id,
    )


@routes.add("GET", "/storagedomains")
def list_domains(request: Request) -> Reply:
    rows = sorted(request.world.domains.values(), key=lambda domain: domain.name)
    return collection(
        request, "storage_domains", rows, lambda domain: render_domain(request.world, domain), FIELDS
    )


@routes.add("GET", "/storagedomains/{domain}")
def show_domain(request: Request, domain: str) -> Reply:
    return Reply(200, render_domain(request.world, find_or_404(request.world.domains, domain)))


@routes.add("POST", "/storagedomains")
def add_domain(request: Request) -> Reply:
    """A domain is unattached at first; its host says to which data center it may be attached."""
    world = request.world
    body = request.body("storage_domain", "add")
    wanted = body.find("host")
    if wanted is None:
        raise faults.incomplete("StorageDomain", ["host.id|name"])
    given, name = wanted.get("id"), find_text(wanted, "name")
    host = next((one for one in world.hosts.values() if given == one.id or name == one.name), None)
    if host is None:
        raise faults.entity_not_found(given or f"Hosts: name={name}")
    domain = StorageDomain(
        new_id(),
        find_text(body, "name") or "",
        host.cluster.data_center,
        new_id(),
        find_text(body, "description") or "",
        find_text(body, "comment") or "",
        backup=find_bool(body, "backup", False),
        master=False,
        status="unattached",
        storage_type=find_text(body, "storage/type") or "nfs",
        type=find_text(body, "type") or "data",
        address=find_text(body, "storage/address") or "127.0.0.1",
        path=find_text(body, "storage/path") or "",
    )
    if any(one.name == domain.name for one in world.domains.values()):
        raise faults.engine_fault("domain name used", action="add Storage")
    world.domains[domain.id] = domain
    shown = render_domain(world, domain)
    markup.set_text(shown, "status", "unknown")  # nobody has looked yet
    return created(shown)


@routes.add("PUT", "/storagedomains/{domain}")
def update_domain(request: Request, domain: str) -> Reply:
    world = request.world
    found: StorageDomain = find_or_404(world.domains, domain)
    body = request.body("storage_domain", "update")
    backup = find_bool(body, "backup", found.backup)
    if backup and not found.backup and _running(world, found):
        raise faults.engine_fault("domain in use", action="edit Storage")
    found.backup = backup
    found.name = find_text(body, "name") or found.name
    found.description = find_text(body, "description", found.description) or ""
    found.comment = find_text(body, "comment", found.comment) or ""
    return Reply(200, render_domain(world, found))


def _running(world: World, domain: StorageDomain) -> bool:
    return any(
        vm.running and any(a.disk.domain is domain for a in vm.attachments) for vm in world.vms.values()
    )


@routes.add("DELETE", "/storagedomains/{domain}")
def remove_domain(request: Request, domain: str) -> Reply:
    world = request.world
    found: StorageDomain = find_or_404(world.domains, domain)
    if not request.query.get("host"):
        raise Fault(400, None, "host parameter is missing")
    if found.status != "unattached":
        raise faults.engine_fault("domain status", action="remove Storage", status=_status(found))
    del world.domains[domain]
    for disk in [disk for disk in world.disks.values() if found in disk.domains]:
        left = [one for one in disk.domains if one is not found]
        if left:
            disk.domain, disk.copies = left[0], left[1:]
        else:
            del world.disks[disk.id]
    return complete()


def _status(domain: StorageDomain) -> str:
    return domain.status.capitalize()


# In a data center


@routes.add("GET", "/datacenters/{center}/storagedomains")
def list_attached(request: Request, center: str) -> Reply:
    world = request.world
    rows = [
        one for one in world.domains.values() if one.data_center.id == center and one.status != "unattached"
    ]
    return collection(request, "storage_domains", rows, lambda one: render_domain(world, one, in_center=True))


@routes.add("POST", "/datacenters/{center}/storagedomains")
def attach_domain(request: Request, center: str) -> Reply:
    world = request.world
    found_center = find_or_404(world.data_centers, center)
    body = request.body("storage_domain", "add")
    domain = find_domain(world, body)
    if domain is None:
        raise faults.entity_not_found(body.get("id") or f"StorageDomain: name={find_text(body, 'name')}")
    if domain.status != "unattached":
        raise faults.engine_fault("domain status", action="attach Storage", status=_status(domain))
    others = [one for one in world.domains.values() if one.data_center is found_center and one.master]
    domain.data_center = found_center
    domain.master = not others
    domain.status = "active"
    return created(render_domain(world, domain, in_center=True))


def _find_attached(request: Request, center: str, domain: str) -> StorageDomain:
    found: StorageDomain = find_or_404(request.world.domains, domain)
    if found.data_center.id != center or found.status == "unattached":
        raise faults.not_found()
    return found


@routes.add("GET", "/datacenters/{center}/storagedomains/{domain}")
def show_attached(request: Request, center: str, domain: str) -> Reply:
    found = _find_attached(request, center, domain)
    return Reply(200, render_domain(request.world, found, in_center=True))


@routes.add("DELETE", "/datacenters/{center}/storagedomains/{domain}")
def detach_domain(request: Request, center: str, domain: str) -> Reply:
    found = _find_attached(request, center, domain)
    if found.status != "maintenance":
        raise faults.engine_fault("domain status", action="detach Storage", status=_status(found))
    found.status = "unattached"
    found.master = False
    return complete()


@routes.add("POST", "/datacenters/{center}/storagedomains/{domain}/activate")
def activate_domain(request: Request, center: str, domain: str) -> Reply:
    found = _find_attached(request, center, domain)

    def activate(_body: Element) -> list[Element]:
        if found.status == "active":
            raise faults.engine_fault("domain status", action="activate Storage", status=_status(found))
        found.status = "active"
        return []

    return perform(request, "activate", activate)


@routes.add("POST", "/datacenters/{center}/storagedomains/{domain}/deactivate")
def deactivate_domain(request: Request, center: str, domain: str) -> Reply:
    """It is locked while its list of VMs is written to it."""
    world = request.world
    found = _find_attached(request, center, domain)

    def deactivate(_body: Element) -> list[Element]:
        if found.status != "active":
            raise faults.engine_fault("domain status", action="deactivate Storage", status=_status(found))
        if _running(world, found):
            raise faults.engine_fault("domain has running vms", action="deactivate Storage")
        found.status = "locked"
        world.after(world.timing.edit_disk, lambda _error: rest())
        return []

    def rest() -> None:
        found.status = "maintenance"

    return perform(request, "deactivate", deactivate)


# What is on a domain


@routes.add("GET", "/storagedomains/{domain}/disks")
def list_disks(request: Request, domain: str) -> Reply:
    rows = [disk for disk in request.world.disks.values() if any(one.id == domain for one in disk.domains)]
    return collection(request, "disks", rows, render_disk)


@routes.add("GET", "/storagedomains/{domain}/files")
def list_files(request: Request, domain: str) -> Reply:
    """The images of an ISO domain. Source: `FileMapper` of the engine; none of it is recorded."""
    found: StorageDomain = find_or_404(request.world.domains, domain)

    def render(name: str) -> Element:
        path = f"{BASE}/storagedomains/{found.id}/files/{name}"
        return node(
            "file",
            None,
            node("name", name),
            reference("storage_domain", "/storagedomains", found.id),
            node("type", "iso"),
            href=path,
            id=name,
        )

    return collection(request, "files", found.files, render)
