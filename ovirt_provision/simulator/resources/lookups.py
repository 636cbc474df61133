"""Finding what a request's body refers to, with the engine's faults when it is not there."""

from ovirt_provision.simulator import faults
from ovirt_provision.simulator.api import require_id
from ovirt_provision.simulator.entities import Cluster, DataCenter, StorageDomain, Template, VnicProfile
from ovirt_provision.simulator.markup import Element, find_text
from ovirt_provision.simulator.world import World


def find_cluster(world: World, element: Element) -> Cluster:
    given = element.get("id")
    if given:
        cluster = world.clusters.get(require_id(given))
        if cluster is None:
            raise faults.entity_not_found("GetClusterById")
        return cluster
    name = find_text(element, "name")
    for cluster in world.clusters.values():
        if cluster.name == name:
            return cluster
    raise faults.entity_not_found(f"Cluster: name={name}")


def find_data_center(world: World, element: Element) -> DataCenter:
    given, name = element.get("id"), find_text(element, "name")
    for center in world.data_centers.values():
        if center.id == given or (not given and center.name == name):
            return center
    raise faults.entity_not_found(given or f"DataCenter: name={name}")


def find_template(world: World, element: Element) -> Template:
    """By id, or by name: then the newest version."""
    given = element.get("id")
    if given:
        template = world.templates.get(require_id(given))
    else:
        template = next(iter(world.templates_named(find_text(element, "name") or "")), None)
    if template is None:
        raise faults.entity_not_found("GetVmTemplate")
    return template


def find_domain(world: World, element: Element) -> StorageDomain | None:
    """By id or name; None when there is no such domain."""
    given = element.get("id")
    if given:
        return world.domains.get(require_id(given))
    name = find_text(element, "name")
    return next((domain for domain in world.domains.values() if domain.name == name), None)


def resolve_hosts(world: World, body: Element) -> None:
    """Gives the hosts of a placement policy that are named their ids instead."""
    for element in body.iterfind("placement_policy/hosts/host"):
        name = element.find("name")
        if name is None or element.get("id"):
            continue
        host = next((host for host in world.hosts.values() if host.name == name.text), None)
        if host is None:
            raise faults.entity_not_found(name.text or "")
        element.set("id", host.id)
        element.remove(name)


def find_profile(world: World, nic: Element, action: str) -> VnicProfile | None:
    """The vNIC profile of a NIC's body; one given by its name alone is ignored, as the engine does."""
    element = nic.find("vnic_profile")
    given = element.get("id") if element is not None else None
    if not given:
        return None
    profile = world.profiles.get(require_id(given))
    if profile is None:
        raise faults.engine_fault("nic profile missing", action=action)
    return profile
