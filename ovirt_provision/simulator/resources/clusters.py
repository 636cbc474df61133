"""`/clusters` and the networks of a cluster."""

from ovirt_provision.simulator import markup
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
from ovirt_provision.simulator.entities import Cluster
from ovirt_provision.simulator.markup import Element, node
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


def render_cluster(cluster: Cluster) -> Element:
    path = f"/clusters/{cluster.id}"
    element = markup.parse(_REST.strip())
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
    rows = sorted(request.world.clusters.values(), key=lambda cluster: cluster.name.lower())
    return collection(request, "clusters", rows, render_cluster, FIELDS)


@routes.add("GET", "/clusters/{cluster}")
def show_cluster(request: Request, cluster: str) -> Reply:
    return Reply(200, render_cluster(find_or_404(request.world.clusters, cluster)))


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
