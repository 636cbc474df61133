"""`/networks`."""

import re

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
from ovirt_provision.simulator.entities import Cluster, DataCenter, Network, VnicProfile, new_id
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.resources.lookups import find_data_center
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


def render_network(
    network: Network, cluster: Cluster | None = None, *, path: str | None = None, linked: bool = True
) -> Element:
    """The network; as part of `cluster` if given. `path` is where it is shown, by default its own."""
    path = path or (
        f"/networks/{network.id}" if cluster is None else f"/clusters/{cluster.id}/networks/{network.id}"
    )
    rels = LINKS if cluster is None else LINKS[:2]
    usages = network.usages if cluster is not None else [one for one in network.usages if one == "vm"]
    return node(
        "network",
        None,
        node("name", network.name),
        node("description", network.description),
        node("comment", network.comment),
        *(links(path, rels) if linked else []),
        node("mtu", network.mtu),
        node("port_isolation", "false"),
        node("stp", "false"),
        node("usages", None, *(node("usage", usage) for usage in usages)),
        node("vdsm_name", _vdsm_name(network)),
        node("vlan", id=network.vlan) if network.vlan is not None else None,
        *(
            [
                node("display", "display" in network.usages),
                node("required", network.id not in cluster.optional),
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


def _vdsm_name(network: Network) -> str:
    """A name that a bridge can have: the network's own, or one made of its id."""
    if re.fullmatch(r"[A-Za-z0-9_]{1,15}", network.name):
        return network.name
    return f"on{network.id.replace('-', '')[:13]}"


@routes.add("GET", "/networks")
def list_networks(request: Request) -> Reply:
    rows = sorted(request.world.networks.values(), key=lambda network: network.name)
    return collection(request, "networks", rows, render_network, FIELDS)


@routes.add("POST", "/networks")
def add_network(request: Request) -> Reply:
    body = request.body("network", "add")
    center = body.find("data_center")
    if center is None:
        raise faults.incomplete("Network", ["dataCenter.name|id"])
    return add_to_data_center(request, body, find_data_center(request.world, center))


def add_to_data_center(request: Request, body: Element, center: DataCenter) -> Reply:
    """A new network, with a vNIC profile of the same name."""
    world = request.world
    name = find_text(body, "name")
    if not name:
        raise faults.incomplete("Network", ["name"])
    if any(one.name == name and one.data_center is center for one in world.networks.values()):
        raise faults.engine_fault("network name used", action="add Network", name=name)
    vlan = body.find("vlan")
    usages = [usage.text or "" for usage in body.iterfind("usages/usage")]
    network = Network(
        new_id(),
        name,
        center,
        find_text(body, "description") or "",
        find_text(body, "comment") or "",
        vlan.get("id") if vlan is not None else None,
        request.number(body, "mtu", "add") or 0,
        usages if body.find("usages") is not None else ["vm"],
    )
    world.networks[network.id] = network
    if "vm" in network.usages:
        profile = VnicProfile(new_id(), name, network)
        world.profiles[profile.id] = profile
    path = f"/datacenters/{center.id}/networks/{network.id}"
    return created(render_network(network, path=path))


@routes.add("GET", "/networks/{network}")
def show_network(request: Request, network: str) -> Reply:
    return Reply(200, render_network(find_or_404(request.world.networks, network)))


@routes.add("PUT", "/networks/{network}")
def update_network(request: Request, network: str) -> Reply:
    world = request.world
    found: Network = find_or_404(world.networks, network)
    body = request.body("network", "update")
    name = find_text(body, "name") or found.name
    alike = [one for one in world.networks.values() if one.name == name and one is not found]
    if any(one.data_center is found.data_center for one in alike):
        raise faults.engine_fault("network name used", action="edit Network", name=name)
    found.name = name
    found.description = find_text(body, "description", found.description) or ""
    found.comment = find_text(body, "comment", found.comment) or ""
    vlan, mtu = body.find("vlan"), request.number(body, "mtu", "update")
    found.vlan = vlan.get("id") if vlan is not None else found.vlan
    found.mtu = mtu if mtu is not None else found.mtu
    return Reply(200, render_network(found))


@routes.add("DELETE", "/networks/{network}")
def remove_network(request: Request, network: str) -> Reply:
    world = request.world
    found: Network = find_or_404(world.networks, network)
    if "management" in found.usages:
        raise faults.engine_fault("management network", action="remove Network", network=found.name)
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
