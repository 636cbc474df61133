"""`/datacenters` and what belongs to a data center."""

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
from ovirt_provision.simulator.entities import DataCenter
from ovirt_provision.simulator.markup import Element, node
from ovirt_provision.simulator.resources.clusters import render_cluster
from ovirt_provision.simulator.resources.networks import render_network
from ovirt_provision.simulator.resources.storagedomains import render_domain
from ovirt_provision.simulator.search import Field, Fields, Kind
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = ["setmaster", "cleanfinishedtasks"]
LINKS = ["iscsibonds", "quotas", "qoss", "clusters", "networks", "storagedomains", "permissions"]

FIELDS: Fields = {
    "name": Field(lambda center: center.name, free_text=True),
    "description": Field(lambda center: center.description, free_text=True),
    "id": Field(lambda center: center.id, Kind.ID),
    "status": Field(
        lambda _center: "up", Kind.STATUS, values=frozenset({"uninitialized", "up", "maintenance"})
    ),
}


def _version(tag: str) -> Element:
    return node(tag, None, node("major", "4"), node("minor", "8"))


def render_data_center(world: World, center: DataCenter) -> Element:
    path = f"/datacenters/{center.id}"
    pool = next(pool for pool in world.mac_pools.values() if pool.default)
    return node(
        "data_center",
        None,
        actions(path, ACTIONS),
        node("name", center.name),
        node("description", center.description),
        *links(path, LINKS),
        node("local", "false"),
        node("quota_mode", "disabled"),
        node("status", "up"),
        node("storage_format", "v5"),
        node("supported_versions", None, _version("version")),
        _version("version"),
        reference("mac_pool", "/macpools", pool.id),
        href=BASE + path,
        id=center.id,
    )


@routes.add("GET", "/datacenters")
def list_data_centers(request: Request) -> Reply:
    rows = sorted(request.world.data_centers.values(), key=lambda center: center.name.lower())
    return collection(
        request, "data_centers", rows, lambda center: render_data_center(request.world, center), FIELDS
    )


@routes.add("GET", "/datacenters/{center}")
def show_data_center(request: Request, center: str) -> Reply:
    return Reply(200, render_data_center(request.world, find_or_404(request.world.data_centers, center)))


@routes.add("GET", "/datacenters/{center}/clusters")
def list_clusters(request: Request, center: str) -> Reply:
    rows = [cluster for cluster in request.world.clusters.values() if cluster.data_center.id == center]
    return collection(request, "clusters", rows, render_cluster)


@routes.add("GET", "/datacenters/{center}/networks")
def list_networks(request: Request, center: str) -> Reply:
    rows = [network for network in request.world.networks.values() if network.data_center.id == center]
    return collection(request, "networks", rows, lambda one: render_network(one, linked=False))


@routes.add("GET", "/datacenters/{center}/storagedomains")
def list_domains(request: Request, center: str) -> Reply:
    rows = [domain for domain in request.world.domains.values() if domain.data_center.id == center]
    return collection(
        request,
        "storage_domains",
        rows,
        lambda domain: render_domain(request.world, domain, status=domain.status),
    )
