"""`/hosts`."""

import ipaddress
import uuid
from collections.abc import Callable, Sequence

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
from ovirt_provision.simulator.entities import Host, Job, new_id
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.resources.lookups import find_cluster
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
  <os>
    <custom_kernel_cmdline/>
    <description>Simulated</description>
    <reported_kernel_cmdline/>
    <type>RHEL</type>
    <version><full_version>9 - 1</full_version><major>9</major></version>
  </os>
  <port>54321</port>
  <power_management><automatic_pm_enabled>true</automatic_pm_enabled><enabled>false</enabled>
    <kdump_detection>true</kdump_detection><pm_proxies/></power_management>
  <protocol>stomp</protocol> <reinstallation_required>false</reinstallation_required>
  <spm><priority>5</priority><status>none</status></spm>
  <transparent_hugepages><enabled>true</enabled></transparent_hugepages> <type>rhel</type>
  <update_available>false</update_available> <vgpu_placement>consolidated</vgpu_placement>
</host>
"""


def _is_spm(world: World, host: Host) -> bool:
    """One host of a data center with an active domain manages its storage."""
    center = host.cluster.data_center
    active = any(one.data_center is center and one.status == "active" for one in world.domains.values())
    up = [one for one in world.hosts.values() if one.cluster.data_center is center and one.status == "up"]
    return active and up[:1] == [host]


def render_host(world: World, host: Host) -> Element:
    path = f"/hosts/{host.id}"
    running = [vm for vm in world.vms.values() if vm.running and vm.host is host]
    element = markup.parse(_REST.strip())
    element.set("href", BASE + path)
    element.set("id", host.id)
    for tag in ("custom_kernel_cmdline", "reported_kernel_cmdline"):
        markup.set_text(element, f"os/{tag}", "")  # clients split it: not an element without text
    if host.status == "unassigned":
        element.append(node("network_operation_in_progress", "false"))
    if _is_spm(world, host):
        markup.set_text(element, "spm/status", "spm")
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
    rows = sorted(request.world.hosts.values(), key=lambda host: host.name)
    return collection(request, "hosts", rows, lambda host: render_host(request.world, host), FIELDS)


@routes.add("GET", "/hosts/{host}")
def show_host(request: Request, host: str) -> Reply:
    return Reply(200, render_host(request.world, find_or_404(request.world.hosts, host)))


@routes.add("POST", "/hosts")
def add_host(request: Request) -> Reply:
    """A new host is up after a while, without an installation."""
    world = request.world
    body = request.body("host", "add")
    cluster = find_cluster(world, markup.required(body, "cluster"))
    name = find_text(body, "name") or ""
    if any(host.name == name for host in world.hosts.values()):
        raise faults.engine_fault("host name used", action="add Host")
    host = Host(new_id(), name, cluster, find_text(body, "address") or "", "unassigned")
    host.comment = find_text(body, "comment") or ""
    with world.command(f"Adding new Host {name} to Cluster {cluster.name}", request.correlation_id) as job:
        world.hosts[host.id] = host
        world.log(42, host=host, job=job)
        shown = render_host(world, host)
        world.after(world.timing.shutdown, lambda _error: world.host_up(host, "unassigned"))
    return created(shown)


@routes.add("PUT", "/hosts/{host}")
def update_host(request: Request, host: str) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)
    body = request.body("host", "update")
    found.name = find_text(body, "name") or found.name
    found.comment = find_text(body, "comment", found.comment) or ""
    return Reply(200, render_host(request.world, found))


@routes.add("DELETE", "/hosts/{host}")
def remove_host(request: Request, host: str) -> Reply:
    world = request.world
    found: Host = find_or_404(world.hosts, host)
    with world.command(f"Removing Host {found.name}", request.correlation_id) as job:
        if found.status != "maintenance":
            raise faults.engine_fault("host operational", action="remove Host")
        del world.hosts[host]
    return complete(job.id)


def _act(request: Request, host: str, method: str, title: str, run: Callable[[Host, Job], None]) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)

    def act(_body: Element) -> Sequence[Element]:
        with request.world.command(f"{title} Host {found.name}", request.correlation_id) as job:
            run(found, job)
        path = f"/hosts/{found.id}"
        shown = node("host", None, actions(path, ACTIONS), *links(path, LINKS), href=BASE + path, id=found.id)
        return [node("job", href=f"{BASE}/jobs/{job.id}", id=job.id), shown]

    return perform(request, method, act)


def _do_nothing(_host: Host, _job: Job) -> None:
    """The job and its end are all that is seen."""


@routes.add("POST", "/hosts/{host}/activate")
def activate_host(request: Request, host: str) -> Reply:
    world = request.world

    def activate(found: Host, _job: Job) -> None:
        if found.status == "up":
            raise faults.engine_fault("host up", action="activate Host")
        found.status = "unassigned"
        world.after(world.timing.launch, lambda _error: world.host_up(found, "unassigned"))

    return _act(request, host, "activate", "Activating", activate)


@routes.add("POST", "/hosts/{host}/deactivate")
def deactivate_host(request: Request, host: str) -> Reply:
    world = request.world

    def deactivate(found: Host, _job: Job) -> None:
        if found.status == "maintenance":
            raise faults.engine_fault("host in maintenance", action="switch Host to Maintenance mode")
        if any(job.status == "started" and any(s.on_host for s in job.steps) for job in world.jobs.values()):
            raise faults.engine_fault("host has tasks", action="switch Host to Maintenance mode")
        running = [vm for vm in world.vms.values() if vm.running and vm.host is found]
        others = [one for one in world.hosts.values() if one.cluster is found.cluster and one is not found]
        if running and not any(one.status == "up" for one in others):
            raise faults.engine_fault("host cannot be emptied", hosts=found.name, clusters=found.cluster.name)
        found.status = "preparing_for_maintenance"
        for vm in running:
            vm.host = next(one for one in others if one.status == "up")
        world.after(world.timing.launch, lambda _error: _rest(found))

    def _rest(found: Host) -> None:
        found.status = "maintenance"

    return _act(request, host, "deactivate", "Moving to Maintenance", deactivate)


@routes.add("POST", "/hosts/{host}/upgradecheck")
def check_upgrade(request: Request, host: str) -> Reply:
    return _act(request, host, "upgrade_check", "Checking for updates of", _do_nothing)


@routes.add("POST", "/hosts/{host}/upgrade")
def upgrade_host(request: Request, host: str) -> Reply:
    def upgrade(_host: Host, _job: Job) -> None:
        raise faults.engine_fault("no updates", action="upgrade Host")

    return _act(request, host, "upgrade", "Upgrading", upgrade)


@routes.add("POST", "/hosts/{host}/refresh")
def refresh_host(request: Request, host: str) -> Reply:
    return _act(request, host, "refresh", "Refreshing capabilities of", _do_nothing)


# The networks of a host. It has two NICs: eth0 carries all networks but those that are set up on eth1.

_NICS = ("eth0", "eth1")


def _nic_id(host: Host, nic: str) -> str:
    return f"{host.id[:-4]}e{_NICS.index(nic):03d}"


def _attachment_id(host: Host, network_id: str) -> str:
    return str(uuid.uuid5(uuid.UUID(host.id), network_id))


def _network_of(host: Host, attachment: str) -> str:
    """The id of the network that an attachment of the host carries."""
    return str(find_or_404({_attachment_id(host, one): one for one in _attached(host)}, attachment))


def _render_nic(host: Host, nic: str) -> Element:
    path = f"/hosts/{host.id}/nics/{_nic_id(host, nic)}"
    first = nic == _NICS[0]
    networks = host.cluster.networks
    management = next((network for network in networks if "management" in network.usages), None)
    mac = f"52:54:00:aa:cc:{_NICS.index(nic) + 1:02x}"
    rels = ["networklabels", "networkattachments", "linklayerdiscoveryprotocolelements", "statistics"]
    return node(
        "host_nic",
        None,
        node("actions"),
        node("name", nic),
        *links(path, rels),
        node("boot_protocol", "static" if first else "none"),
        node("bridged", first),
        node("custom_configuration", "false") if first else None,
        _ip("ip", host.address, "v4") if first else None,
        node("ipv6_boot_protocol", "none"),
        node("mac", None, node("address", mac)),
        node("mtu", 1500),
        node("speed", 10_000_000_000),
        node("status", "up"),
        reference("host", "/hosts", host.id),
        reference("network", "/networks", management.id) if first and management is not None else None,
        href=BASE + path,
        id=_nic_id(host, nic),
    )


def _ip(tag: str, address: str, version: str) -> Element:
    return node(tag, None, node("address", address), node("netmask", "255.0.0.0"), node("version", version))


@routes.add("GET", "/hosts/{host}/nics")
def list_nics(request: Request, host: str) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)
    return collection(request, "host_nics", _NICS, lambda nic: _render_nic(found, nic))


@routes.add("GET", "/hosts/{host}/nics/{nic}")
def show_nic(request: Request, host: str, nic: str) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)
    return Reply(200, _render_nic(found, find_or_404({_nic_id(found, one): one for one in _NICS}, nic)))


def _render_attachment(
    host: Host, network_id: str, name_servers: Sequence[str], *, below_nic: bool
) -> Element:
    """Reading a single one shows it below its NIC."""
    attachment = _attachment_id(host, network_id)
    nic = _nic_id(host, _NICS[0])
    place = f"/hosts/{host.id}/nics/{nic}" if below_nic else f"/hosts/{host.id}"
    servers = [node("name_server", one) for one in name_servers]
    return node(
        "network_attachment",
        None,
        node("dns_resolver_configuration", None, node("name_servers", None, *servers)) if servers else None,
        node("in_sync", not servers),
        node(
            "ip_address_assignments",
            None,
            node(
                "ip_address_assignment",
                None,
                node("assignment_method", "static"),
                _ip("ip", host.address, "v4"),
            ),
        ),
        reference("host", "/hosts", host.id),
        reference("host_nic", f"/hosts/{host.id}/nics", nic),
        reference("network", "/networks", network_id),
        href=f"{BASE}{place}/networkattachments/{attachment}",
        id=attachment,
    )


def _attached(host: Host) -> dict[str, Sequence[str]]:
    """The name servers of the attachments, by network."""
    return {
        network.id: host.name_servers.get(network.id, ())
        for network in host.cluster.networks
        if network.id not in host.missing
    }


@routes.add("GET", "/hosts/{host}/networkattachments")
def list_attachments(request: Request, host: str) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)
    rows = list(_attached(found).items())
    return collection(
        request, "network_attachments", rows, lambda one: _render_attachment(found, *one, below_nic=False)
    )


@routes.add("GET", "/hosts/{host}/networkattachments/{attachment}")
def show_attachment(request: Request, host: str, attachment: str) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)
    network = _network_of(found, attachment)
    return Reply(200, _render_attachment(found, network, _attached(found)[network], below_nic=True))


def _read_name_servers(body: Element) -> list[str] | None:
    element = body.find("dns_resolver_configuration/name_servers")
    if element is None:
        return None
    servers = [server.text or "" for server in element]
    for number, server in enumerate(servers):
        if not _is_address(server):
            raise faults.engine_fault("name server format", server=server, number=number)
    if not 1 <= len(servers) <= _MOST_NAME_SERVERS:
        raise faults.engine_fault("name servers")
    return servers


_MOST_NAME_SERVERS = 3


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@routes.add("PUT", "/hosts/{host}/networkattachments/{attachment}")
def update_attachment(request: Request, host: str, attachment: str) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)
    network = _network_of(found, attachment)
    servers = _read_name_servers(request.body("network_attachment", "update"))
    if servers is not None:
        found.name_servers[network] = servers
    return Reply(200, _render_attachment(found, network, _attached(found)[network], below_nic=True))


def _attach(host: Host, body: Element) -> str:
    """Has the host carry a network of its cluster; returns the network's id."""
    nic = find_text(body, "host_nic/name")
    nic_id = markup.reference_of(body, "host_nic")
    if nic not in _NICS and nic_id not in {_nic_id(host, one) for one in _NICS}:
        raise faults.engine_fault("host nic missing", id=nic_id or "null", name=nic or "null")
    given, name = markup.reference_of(body, "network"), find_text(body, "network/name")
    for network in host.cluster.networks:
        if network.id == given or (not given and network.name == name):
            host.missing.discard(network.id)
            return network.id
    raise faults.engine_fault("network not in cluster")


@routes.add("POST", "/hosts/{host}/networkattachments")
def add_attachment(request: Request, host: str) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)
    body = request.body("network_attachment", "add")
    if _read_name_servers(body) is not None:
        raise faults.engine_fault("internal")  # recorded; only the default route may have name servers
    network = _attach(found, body)
    return created(_render_attachment(found, network, (), below_nic=False))


@routes.add("DELETE", "/hosts/{host}/networkattachments/{attachment}")
def remove_attachment(request: Request, host: str, attachment: str) -> Reply:
    found: Host = find_or_404(request.world.hosts, host)
    found.missing.add(_network_of(found, attachment))
    return complete()


@routes.add("POST", "/hosts/{host}/setupnetworks")
def set_up_networks(request: Request, host: str) -> Reply:
    world = request.world
    found: Host = find_or_404(world.hosts, host)

    def set_up(body: Element) -> Sequence[Element]:
        with world.command(f"Configuring networks on Host {found.name}", request.correlation_id) as job:
            for attachment in body.iterfind("modified_network_attachments/network_attachment"):
                _attach(found, attachment)
            for attachment in body.iterfind("removed_network_attachments/network_attachment"):
                found.missing.add(_network_of(found, attachment.get("id", "").lower()))
        return [node("job", href=f"{BASE}/jobs/{job.id}", id=job.id)]

    return perform(request, "setup_networks", set_up)


@routes.add("POST", "/hosts/{host}/commitnetconfig")
def commit_net_config(request: Request, host: str) -> Reply:
    return _act(request, host, "commit_net_config", "Saving network configuration of", _do_nothing)
