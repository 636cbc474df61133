"""`/networks`."""

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    complete,
    created,
    find_or_404,
    links,
    reference,
)
from ovirt_provision.simulator.entities import Cluster, Network, VnicProfile, new_id
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.search import Field, Fields, Kind

routes = Routes()

LINKS = ["networklabels", "permissions", "vnicprofiles"]

FIELDS: Fields = {
    "name": Field(lambda network: network.name, free_text=True),
    "comment": Field(lambda network: network.comment, free_text=True),
    "description": Field(lambda network: network.description, free_text=True),
    "id": Field(lambda network: network.id, Kind.ID),
    "datacenter": Field(lambda network: network.data_center.name),
    "vlanid": Field(lambda network: int(network.vlan) if network.vlan else None, Kind.NUMBER),
}


def render_network(network: Network, cluster: Cluster | None = None) -> Element:
    """The network; as part of `cluster` if given."""
    path = f"/networks/{network.id}" if cluster is None else f"/clusters/{cluster.id}/networks/{network.id}"
    return node(
        "network",
        None,
        node("name", network.name),
        node("description", network.description),
        node("comment", network.comment),
        *links(path, LINKS if cluster is None else LINKS[:2]),
        node("mtu", network.mtu),
        node("port_isolation", "false"),
        node("stp", "false"),
        node("usages", None, *(node("usage", usage) for usage in network.usages)),
        node("vdsm_name", network.name),
        node("vlan", id=network.vlan) if network.vlan is not None else None,
        *(
            [
                node("display", "display" in network.usages),
                node("required", "true"),
                node("status", "operational"),
                reference("cluster", "/clusters", cluster.id),
            ]
            if cluster is not None
            else []
        ),
        reference("data_center", "/datacenters", network.data_center.id),
        href=BASE + path,
        id=network.id,
    )


@routes.add("GET", "/networks")
def list_networks(request: Request) -> Reply:
    rows = sorted(request.world.networks.values(), key=lambda network: network.name.lower())
    return collection(request, "networks", rows, render_network, FIELDS)


@routes.add("POST", "/networks")
def add_network(request: Request) -> Reply:
    world = request.world
    body = request.body("network", "add")
    center = body.find("data_center")
    if center is None:
        raise faults.incomplete("Network", ["dataCenter.name|id"])
    name = find_text(body, "name")
    if not name:
        raise faults.incomplete("Network", ["name"])
    wanted = (center.get("id"), find_text(center, "name"))
    found = next(
        (one for one in world.data_centers.values() if one.id == wanted[0] or one.name == wanted[1]), None
    )
    if found is None:
        raise faults.entity_not_found(f"DataCenter: name={wanted[1]}")
    if any(one.name == name and one.data_center is found for one in world.networks.values()):
        raise faults.engine_fault("network name used", action="add Network", name=name)
    vlan = body.find("vlan")
    network = Network(
        new_id(),
        name,
        found,
        find_text(body, "description") or "",
        find_text(body, "comment") or "",
        vlan.get("id") if vlan is not None else None,
        request.number(body, "mtu", "add") or 0,
    )
    world.networks[network.id] = network
    profile = VnicProfile(new_id(), name, network)
    world.profiles[profile.id] = profile
    return created(render_network(network))


@routes.add("GET", "/networks/{network}")
def show_network(request: Request, network: str) -> Reply:
    return Reply(200, render_network(find_or_404(request.world.networks, network)))


@routes.add("DELETE", "/networks/{network}")
def remove_network(request: Request, network: str) -> Reply:
    world = request.world
    found: Network = find_or_404(world.networks, network)
    users = [
        vm.name
        for vm in world.vms.values()
        if any(nic.profile is not None and nic.profile.network is found for nic in vm.nics)
    ]
    if users:
        raise faults.engine_fault("network in use", action="remove Network", vms=", ".join(users))
    del world.networks[network]
    for profile in [profile for profile in world.profiles.values() if profile.network is found]:
        del world.profiles[profile.id]
    for cluster in world.clusters.values():
        cluster.networks = [one for one in cluster.networks if one is not found]
    return complete()
