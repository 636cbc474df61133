"""`/hosts`."""

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
from ovirt_provision.simulator.entities import Host
from ovirt_provision.simulator.markup import Element, node
from ovirt_provision.simulator.search import Field, Fields, Kind
from ovirt_provision.simulator.world import World

routes = Routes()

ACTIONS = [
    "install",
    "activate",
    "deactivate",
    "setupnetworks",
    "upgrade",
    "approve",
    "commitnetconfig",
    "enrollcertificate",
    "fence",
    "forceselectspm",
    "iscsidiscover",
    "discoveriscsi",
    "iscsilogin",
    "unregisteredstoragedomainsdiscover",
    "upgradecheck",
    "copyhostnetworks",
    "syncallnetworks",
    "refresh",
]
LINKS = [
    "fenceagents",
    "devices",
    "numanodes",
    "hooks",
    "nics",
    "storage",
    "networkattachments",
    "storageconnectionextensions",
    "unmanagednetworks",
    "externalnetworkproviderconfigurations",
    "cpuunits",
    "katelloerrata",
    "permissions",
    "tags",
    "affinitylabels",
    "statistics",
]

FIELDS: Fields = {
    "name": Field(lambda host: host.name, free_text=True),
    "comment": Field(lambda host: host.comment, free_text=True),
    "address": Field(lambda host: host.address, free_text=True),
    "id": Field(lambda host: host.id, Kind.ID),
    "cluster": Field(lambda host: host.cluster.name),
    "datacenter": Field(lambda host: host.cluster.data_center.name),
    "status": Field(
        lambda host: host.status,
        Kind.STATUS,
        values=frozenset(
            [
                "unassigned",
                "down",
                "maintenance",
                "up",
                "nonresponsive",
                "error",
                "installing",
                "nonoperational",
            ]
        ),
    ),
}

_REST = b"""
<host>
  <auto_numa_status>enable</auto_numa_status>
  <cpu>
    <name>Simulated</name>
    <speed>2600</speed>
    <topology><cores>8</cores><sockets>2</sockets><threads>2</threads></topology>
    <type>Intel Skylake Server Family</type>
  </cpu>
  <device_passthrough><enabled>false</enabled></device_passthrough>
  <external_status>ok</external_status>
  <kdump_status>disabled</kdump_status>
  <ksm><enabled>false</enabled></ksm>
  <max_scheduling_memory>67108864000</max_scheduling_memory>
  <memory>68719476736</memory>
  <numa_supported>false</numa_supported>
  <port>54321</port>
  <power_management><automatic_pm_enabled>true</automatic_pm_enabled><enabled>false</enabled>
    <kdump_detection>true</kdump_detection><pm_proxies/></power_management>
  <protocol>stomp</protocol> <reinstallation_required>false</reinstallation_required>
  <spm><priority>5</priority><status>spm</status></spm>
  <transparent_hugepages><enabled>true</enabled></transparent_hugepages> <type>rhel</type>
  <update_available>false</update_available> <vgpu_placement>consolidated</vgpu_placement>
</host>
"""


def render_host(world: World, host: Host) -> Element:
    path = f"/hosts/{host.id}"
    running = [vm for vm in world.vms.values() if vm.running and vm.host is host]
    element = markup.parse(_REST.strip())
    element.set("href", BASE + path)
    element.set("id", host.id)
    element.extend(
        [
            actions(path, ACTIONS),
            node("name", host.name),
            node("comment", host.comment),
            *links(path, LINKS),
            node("address", host.address),
            node("status", host.status),
            node(
                "summary",
                None,
                node("active", sum(1 for vm in running if vm.status == "up")),
                node("migrating", 0),
                node("total", len(running)),
            ),
            reference("cluster", "/clusters", host.cluster.id),
        ]
    )
    return element


@routes.add("GET", "/hosts")
def list_hosts(request: Request) -> Reply:
    rows = sorted(request.world.hosts.values(), key=lambda host: host.name.lower())
    return collection(request, "hosts", rows, lambda host: render_host(request.world, host), FIELDS)


@routes.add("GET", "/hosts/{host}")
def show_host(request: Request, host: str) -> Reply:
    return Reply(200, render_host(request.world, find_or_404(request.world.hosts, host)))
