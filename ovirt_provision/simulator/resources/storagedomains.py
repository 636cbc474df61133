"""`/storagedomains`."""

from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    actions,
    collection,
    find_or_404,
    links,
    reference,
)
from ovirt_provision.simulator.entities import StorageDomain
from ovirt_provision.simulator.markup import Element, node
from ovirt_provision.simulator.resources.disks import render_disk
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


def render_domain(world: World, domain: StorageDomain, status: str | None = None) -> Element:
    """`status` is shown where the domain is seen as part of a data center only."""
    path = f"/storagedomains/{domain.id}"
    committed = sum(disk.size for disk in world.disks.values() if disk.domain is domain)
    return node(
        "storage_domain",
        None,
        actions(path, ACTIONS),
        node("name", domain.name),
        node("description", domain.description),
        node("comment", domain.comment),
        *links(path, LINKS),
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
            node("address", "127.0.0.1"),
            node("path", f"/{domain.name}"),
            node("type", "nfs"),
        ),
        node("storage_format", "v5"),
        node("supports_discard", "false"),
        node("supports_discard_zeroes_data", "false"),
        node("type", "data"),
        node("used", domain.used),
        node("warning_low_space_indicator", "10"),
        node("wipe_after_delete", "false"),
        node("data_centers", None, reference("data_center", "/datacenters", domain.data_center.id)),
        href=BASE + path,
        id=domain.id,
    )


@routes.add("GET", "/storagedomains")
def list_domains(request: Request) -> Reply:
    rows = sorted(request.world.domains.values(), key=lambda domain: domain.name.lower())
    return collection(
        request, "storage_domains", rows, lambda domain: render_domain(request.world, domain), FIELDS
    )


@routes.add("GET", "/storagedomains/{domain}")
def show_domain(request: Request, domain: str) -> Reply:
    return Reply(200, render_domain(request.world, find_or_404(request.world.domains, domain)))


@routes.add("GET", "/storagedomains/{domain}/disks")
def list_disks(request: Request, domain: str) -> Reply:
    rows = [disk for disk in request.world.disks.values() if disk.domain.id == domain]
    return collection(request, "disks", rows, render_disk)
