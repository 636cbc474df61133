"""`/datacenters` and what belongs to a data center."""

from ovirt_provision.simulator import faults
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
)
from ovirt_provision.simulator.entities import DataCenter, Network, VnicProfile, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.resources.clusters import render_cluster
from ovirt_provision.simulator.resources.networks import add_to_data_center, render_network
from ovirt_provision.simulator.search import Field, Fields, Kind
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = ["setmaster", "cleanfinishedtasks"]
LINKS = ["iscsibonds", "quotas", "qoss", "clusters", "networks", "storagedomains", "permissions"]


def fields(world: World) -> Fields:
    return {
        "name": Field(lambda center: center.name, free_text=True),
        "description": Field(lambda center: center.description, free_text=True),
        "id": Field(lambda center: center.id, Kind.ID),
        "status": Field(
            lambda center: _status(world, center),
            Kind.STATUS,
            values=frozenset({"uninitialized", "up", "maintenance"}),
        ),
        "clusters.name": Field(
            lambda center: [one.name for one in world.clusters.values() if one.data_center is center]
        ),
        "storage.name": Field(
            lambda center: [one.name for one in world.domains.values() if one.data_center is center]
        ),
    }


def _version(minor: str) -> Element:
    return node("version", None, node("major", "4"), node("minor", minor))


def _status(world: World, center: DataCenter) -> str:
    """A data center is up by its master domain."""
    masters = [domain for domain in world.domains.values() if domain.data_center is center and domain.master]
    if not masters:
        return "uninitialized"
    return "up" if masters[0].status in ("active", "locked") else "maintenance"


def render_data_center(world: World, center: DataCenter) -> Element:
    path = f"/datacenters/{center.id}"
    pool = next(pool for pool in world.mac_pools.values() if pool.default)
    status = _status(world, center)
    return node(
        "data_center",
        None,
        actions(path, ACTIONS),
        node("name", center.name),
        node("description", center.description),
        *links(path, LINKS),
        node("local", center.local),
        node("quota_mode", center.quota_mode),
        node("status", status),
        node("storage_format", "v5") if status != "uninitialized" else None,
        node("supported_versions", None, _version("8")),
        _version(center.minor),
        reference("mac_pool", "/macpools", pool.id),
        href=BASE + path,
        id=center.id,
    )


@routes.add("GET", "/datacenters")
def list_data_centers(request: Request) -> Reply:
    world = request.world
    rows = sorted(world.data_centers.values(), key=lambda center: center.name)
    return collection(
        request, "data_centers", rows, lambda center: render_data_center(world, center), fields(world)
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


@routes.add("POST", "/datacenters/{center}/networks")
def add_network(request: Request, center: str) -> Reply:
    found = find_or_404(request.world.data_centers, center)
    return add_to_data_center(request, request.body("network", "add"), found)


@routes.add("GET", "/datacenters/{center}/networks/{network}")
def show_network(request: Request, center: str, network: str) -> Reply:
    found: Network = find_or_404(request.world.networks, network)
    if found.data_center.id != center:
        raise faults.not_found()
    return Reply(200, render_network(found, path=f"/datacenters/{center}/networks/{network}"))


@routes.add("POST", "/datacenters")
def add_data_center(request: Request) -> Reply:
    world = request.world
    body = request.body("data_center", "add")
    name = find_text(body, "name") or ""
    if any(center.name == name for center in world.data_centers.values()):
        raise faults.engine_fault("data center name used", action="add Data Center")
    center = DataCenter(new_id(), name, find_text(body, "description") or "")
    center.local = find_bool(body, "local", False)
    center.quota_mode = find_text(body, "quota_mode") or center.quota_mode
    center.minor = find_text(body, "version/minor") or center.minor
    world.data_centers[center.id] = center
    network = Network(new_id(), "ovirtmgmt", center, "Management Network")
    network.usages = ["management", "display", "migration", "vm", "default_route"]
    world.networks[network.id] = network
    profile = VnicProfile(new_id(), "ovirtmgmt", network)
    world.profiles[profile.id] = profile
    return created(render_data_center(world, center))


@routes.add("PUT", "/datacenters/{center}")
def update_data_center(request: Request, center: str) -> Reply:
    found: DataCenter = find_or_404(request.world.data_centers, center)
    body = request.body("data_center", "update")
    found.name = find_text(body, "name") or found.name
    found.description = find_text(body, "description", found.description) or ""
    found.quota_mode = find_text(body, "quota_mode") or found.quota_mode
    found.minor = find_text(body, "version/minor") or found.minor
    return Reply(200, render_data_center(request.world, found))


@routes.add("DELETE", "/datacenters/{center}")
def remove_data_center(request: Request, center: str) -> Reply:
    world = request.world
    found: DataCenter = find_or_404(world.data_centers, center)
    if _status(world, found) == "up":
        raise faults.engine_fault("data center active", action="remove")
    del world.data_centers[center]
    for network in [one for one in world.networks.values() if one.data_center is found]:
        del world.networks[network.id]
        for profile in [one for one in world.profiles.values() if one.network is network]:
            del world.profiles[profile.id]
    return complete()
