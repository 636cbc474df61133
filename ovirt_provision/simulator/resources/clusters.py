"""`/clusters` and the networks of a cluster."""

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
    reference,
    require_id,
)
from ovirt_provision.simulator.entities import Cluster, new_id
from ovirt_provision.simulator.markup import Element, find_bool, find_text, node
from ovirt_provision.simulator.resources.lookups import find_data_center
from ovirt_provision.simulator.resources.networks import render_network
from ovirt_provision.simulator.search import Field, Fields, Kind

routes = Routes()

ACTIONS = ["upgrade", "resetemulatedmachine", "syncallnetworks", "refreshglusterhealstatus"]
LINKS = [
    "externalnetworkproviders",
    "glusterhooks",
    "glustervolumes",
    "enabledfeatures",
    "affinitygroups",
    "cpuprofiles",
    "networkfilters",
    "networks",
    "permissions",
]

FIELDS: Fields = {
    "name": Field(lambda cluster: cluster.name, free_text=True),
    "comment": Field(lambda cluster: cluster.comment, free_text=True),
    "description": Field(lambda cluster: cluster.description, free_text=True),
    "id": Field(lambda cluster: cluster.id, Kind.ID),
    "datacenter": Field(lambda cluster: cluster.data_center.name),
    "datacenter.name": Field(lambda cluster: cluster.data_center.name),
}

_REST = b"""
<cluster>
  <ballooning_enabled>true</ballooning_enabled>
  <bios_type>q35_ovmf</bios_type>
  <cpu><architecture>x86_64</architecture><type>Intel Skylake Server Family</type></cpu>
  <custom_scheduling_policy_properties>
    <property><name>HighUtilization</name><value>80</value></property>
    <property><name>CpuOverCommitDurationMinutes</name><value>2</value></property>
  </custom_scheduling_policy_properties>
  <error_handling><on_error>migrate</on_error></error_handling>
  <fencing_policy>
    <enabled>true</enabled>
    <skip_if_connectivity_broken><enabled>false</enabled><threshold>50</threshold></skip_if_connectivity_broken>
    <skip_if_gluster_bricks_up>false</skip_if_gluster_bricks_up>
    <skip_if_gluster_quorum_not_met>false</skip_if_gluster_quorum_not_met>
    <skip_if_sd_active><enabled>false</enabled></skip_if_sd_active>
  </fencing_policy>
  <fips_mode>disabled</fips_mode>
  <firewall_type>firewalld</firewall_type>
  <gluster_service>false</gluster_service>
  <ha_reservation>false</ha_reservation>
  <ksm><enabled>true</enabled><merge_across_nodes>true</merge_across_nodes></ksm>
  <log_max_memory_used_threshold>95</log_max_memory_used_threshold>
  <log_max_memory_used_threshold_type>percentage</log_max_memory_used_threshold_type>
  <memory_policy>
    <over_commit><percent>100</percent></over_commit>
    <transparent_hugepages><enabled>true</enabled></transparent_hugepages>
  </memory_policy>
  <migration>
    <auto_converge>inherit</auto_converge>
    <bandwidth><assignment_method>auto</assignment_method></bandwidth>
    <compressed>inherit</compressed>
    <encrypted>inherit</encrypted>
    <parallel_migrations_policy>disabled</parallel_migrations_policy>
    <policy id="80554327-0569-496b-bdeb-fcbbf52b827b"/>
  </migration>
  <required_rng_sources><required_rng_source>urandom</required_rng_source></required_rng_sources>
  <switch_type>legacy</switch_type>
  <threads_as_cores>false</threads_as_cores>
  <trusted_service>false</trusted_service>
  <tunnel_migration>false</tunnel_migration>
  <upgrade_in_progress>false</upgrade_in_progress>
  <upgrade_percent_complete>0</upgrade_percent_complete>
  <version><major>4</major><minor>8</minor></version>
  <virt_service>true</virt_service>
  <vnc_encryption>false</vnc_encryption>
</cluster>
"""

_OWN = {"name", "description", "comment", "data_center", "mac_pool", "management_network", "actions", "link"}

# What a new cluster has otherwise than the one that comes with the engine.
_NEW = b"""
<cluster>
  <fips_mode>undefined</fips_mode>
  <memory_policy>
    <over_commit><percent>100</percent></over_commit>
    <transparent_hugepages><enabled>false</enabled></transparent_hugepages>
  </memory_policy>
  <migration>
    <auto_converge>inherit</auto_converge>
    <bandwidth><assignment_method>auto</assignment_method></bandwidth>
    <compressed>inherit</compressed>
    <encrypted>inherit</encrypted>
    <parallel_migrations_policy>disabled</parallel_migrations_policy>
  </migration>
  <vnc_encryption>true</vnc_encryption>
</cluster>
"""


def render_cluster(cluster: Cluster, path: str | None = None) -> Element:
    path = path or f"/clusters/{cluster.id}"
    element = copy.deepcopy(cluster.config) if cluster.config is not None else markup.parse(_REST.strip())
    element.set("href", BASE + path)
    element.set("id", cluster.id)
    element.extend(
        [
            actions(path, ACTIONS),
            node("name", cluster.name),
            node("description", cluster.description),
            node("comment", cluster.comment),
            *links(path, LINKS),
            reference("data_center", "/datacenters", cluster.data_center.id),
            reference("mac_pool", "/macpools", cluster.mac_pool.id),
            reference("scheduling_policy", "/schedulingpolicies", "b4ed2332-a7ac-4d5f-9596-99a439cb2812"),
        ]
    )
    return element


@routes.add("GET", "/clusters")
def list_clusters(request: Request) -> Reply:
    rows = sorted(request.world.clusters.values(), key=lambda cluster: cluster.name)
    return collection(request, "clusters", rows, render_cluster, FIELDS)


@routes.add("GET", "/clusters/{cluster}")
def show_cluster(request: Request, cluster: str) -> Reply:
    return Reply(200, render_cluster(find_or_404(request.world.clusters, cluster)))


@routes.add("POST", "/clusters")
def add_cluster(request: Request) -> Reply:
    world = request.world
    body = request.body("cluster", "add")
    center = find_data_center(world, markup.required(body, "data_center"))
    name = find_text(body, "name") or ""
    action = "add Cluster"
    if any(cluster.name == name for cluster in world.clusters.values()):
        raise faults.engine_fault("cluster name used", action=action)
    pool_id = markup.reference_of(body, "mac_pool")
    pool = world.mac_pools.get(require_id(pool_id)) if pool_id else None
    pool = pool or next(pool for pool in world.mac_pools.values() if pool.default)
    cluster = Cluster(new_id(), name, center, pool)
    cluster.config = markup.parse(_REST.strip())
    for element in markup.parse(_NEW.strip()):
        cluster.config.replace(markup.required(cluster.config, element.tag), element)
    _apply(cluster, body)
    networks = [one for one in world.networks.values() if one.data_center is center]
    cluster.networks = [one for one in networks if "management" in one.usages]
    world.clusters[cluster.id] = cluster
    path = f"/datacenters/{center.id}/clusters/{cluster.id}"
    shown = render_cluster(cluster, path)
    for network in cluster.networks:
        shown.append(reference("management_network", f"{path}/networks", network.id))
    return created(shown)


def _apply(cluster: Cluster, body: Element) -> None:
    cluster.name = find_text(body, "name") or cluster.name
    cluster.description = find_text(body, "description", cluster.description) or ""
    cluster.comment = find_text(body, "comment", cluster.comment) or ""
    if cluster.config is None:
        cluster.config = node("cluster")
    own = {
        "name",
        "description",
        "comment",
        "data_center",
        "mac_pool",
        "management_network",
        "actions",
        "link",
    }
    markup.merge(cluster.config, markup.without(body, own))


@routes.add("PUT", "/clusters/{cluster}")
def update_cluster(request: Request, cluster: str) -> Reply:
    world = request.world
    found: Cluster = find_or_404(world.clusters, cluster)
    body = request.body("cluster", "update")
    name = find_text(body, "name")
    if any(one.name == name and one is not found for one in world.clusters.values()):
        raise faults.engine_fault("cluster name used", action="edit Cluster")
    pool_id = markup.reference_of(body, "mac_pool")
    found.mac_pool = world.mac_pools.get(require_id(pool_id), found.mac_pool) if pool_id else found.mac_pool
    _apply(found, body)
    return Reply(200, render_cluster(found))


@routes.add("DELETE", "/clusters/{cluster}")
def remove_cluster(request: Request, cluster: str) -> Reply:
    world = request.world
    found: Cluster = find_or_404(world.clusters, cluster)
    reasons = [
        text
        for text, table in (
            ("cluster has hosts", world.hosts),
            ("cluster has vms", world.vms),
            ("cluster has templates", world.templates),
        )
        if any(one.cluster is found for one in table.values())
    ]
    if reasons:
        raise faults.engine_fault(*reasons, action="remove Cluster")
    del world.clusters[cluster]
    return complete()


@routes.add("GET", "/clusters/{cluster}/networks")
def list_networks(request: Request, cluster: str) -> Reply:
    found = request.world.clusters.get(cluster)
    rows = sorted(found.networks, key=lambda network: network.name) if found is not None else []
    return collection(request, "networks", rows, lambda network: render_network(network, cluster=found))


@routes.add("GET", "/clusters/{cluster}/networks/{network}")
def show_network(request: Request, cluster: str, network: str) -> Reply:
    found = find_or_404(request.world.clusters, cluster)
    return Reply(
        200, render_network(find_or_404({one.id: one for one in found.networks}, network), cluster=found)
    )


@routes.add("POST", "/clusters/{cluster}/networks")
def attach_network(request: Request, cluster: str) -> Reply:
    """Puts a network into the cluster; its hosts get it by being set up."""
    world = request.world
    found: Cluster = find_or_404(world.clusters, cluster)
    body = request.body("network", "add")
    given, name = body.get("id"), find_text(body, "name")
    network = next(
        (
            one
            for one in world.networks.values()
            if one.data_center is found.data_center and (one.id == given or (not given and one.name == name))
        ),
        None,
    )
    if network is None:
        raise faults.entity_not_found(given or f"Network: name={name}")
    if network in found.networks:
        raise faults.engine_fault("network attached", action="attach Network")
    found.networks.append(network)
    if not find_bool(body, "required", True):
        found.optional.add(network.id)
    for host in world.hosts.values():
        if host.cluster is found:
            host.missing.add(network.id)
    return created(render_network(network, cluster=found, linked=False))


@routes.add("PUT", "/clusters/{cluster}/networks/{network}")
def update_cluster_network(request: Request, cluster: str, network: str) -> Reply:
    found: Cluster = find_or_404(request.world.clusters, cluster)
    one = find_or_404({one.id: one for one in found.networks}, network)
    if find_bool(request.body("network", "update"), "required", network not in found.optional):
        found.optional.discard(network)
    else:
        found.optional.add(network)
    return Reply(200, render_network(one, cluster=found))


@routes.add("DELETE", "/clusters/{cluster}/networks/{network}")
def detach_network(request: Request, cluster: str, network: str) -> Reply:
    found: Cluster = find_or_404(request.world.clusters, cluster)
    one = find_or_404({one.id: one for one in found.networks}, network)
    if "management" in one.usages:
        raise faults.engine_fault("management network", action="detach Network", network=one.name)
    found.networks.remove(one)
    for host in request.world.hosts.values():
        host.missing.discard(network)
    return complete()
