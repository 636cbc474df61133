"""`/api`: the entry point, which names the collections."""

from ovirt_provision.simulator.api import BASE, Reply, Request, Routes, reference
from ovirt_provision.simulator.entities import ZERO_ID
from ovirt_provision.simulator.markup import node

routes = Routes()

COLLECTIONS = [
    "clusters",
    "clusters/search",
    "datacenters",
    "datacenters/search",
    "events",
    "events/search",
    "hosts",
    "hosts/search",
    "networks",
    "networks/search",
    "roles",
    "storagedomains",
    "storagedomains/search",
    "tags",
    "bookmarks",
    "icons",
    "templates",
    "templates/search",
    "instancetypes",
    "instancetypes/search",
    "users",
    "users/search",
    "groups",
    "groups/search",
    "domains",
    "vmpools",
    "vmpools/search",
    "vms",
    "vms/search",
    "disks",
    "disks/search",
    "jobs",
    "storageconnections",
    "vnicprofiles",
    "diskprofiles",
    "cpuprofiles",
    "schedulingpolicyunits",
    "schedulingpolicies",
    "permissions",
    "macpools",
    "networkfilters",
    "operatingsystems",
    "externalhostproviders",
    "openstackimageproviders",
    "openstackvolumeproviders",
    "openstacknetworkproviders",
    "katelloerrata",
    "affinitylabels",
    "clusterlevels",
    "imagetransfers",
    "externalvmimports",
    "externaltemplateimports",
]


def _href(rel: str, base: str = BASE) -> str:
    name, _, search = rel.partition("/")
    if not search:
        return f"{base}/{name}"
    return f"{base}/{name}{';from={event_id}' if name == 'events' else ''}?search={{query}}"


@routes.add("GET", "/")
def show(request: Request) -> Reply:
    world = request.world
    up = sum(1 for host in world.hosts.values() if host.status == "up")
    counts = {
        "hosts": (up, len(world.hosts)),
        "storage_domains": (len(world.domains), len(world.domains)),
        "users": (len(world.users), len(world.users)),
        "vms": (sum(1 for vm in world.vms.values() if vm.running), len(world.vms)),
    }
    user_id = (request.user or world.admin).id
    user = f"{BASE}/users/{user_id}"
    element = node(
        "api",
        None,
        *(node("link", href=_href(rel), rel=rel) for rel in COLLECTIONS),
        node("engine_backup") if request.view is None else None,
        node(
            "product_info",
            None,
            node("instance_id", world.instance_id),
            node(
                "version",
                None,
                node("build", "0"),
                node("full_version", "4.4.0.0"),
                node("major", "4"),
                node("minor", "4"),
                node("revision", "0"),
            ),
        ),
        node(
            "special_objects",
            None,
            reference("blank_template", "/templates", ZERO_ID),
            reference("root_tag", "/tags", ZERO_ID),
        ),
        node(
            "summary",
            None,
            *(
                node(name, None, node("active", active), node("total", total))
                for name, (active, total) in counts.items()
            ),
        )
        if request.view is None
        else None,
        node("time", world.now),
        node("authenticated_user", href=user, id=user_id),
        node("effective_user", href=user, id=user_id),
    )
    # The engine sorts the whole of them, `;` before `>`.
    base = f"https://{request.host}{BASE}"
    header = ",".join(sorted(f"<{_href(rel, base)}>; rel={rel}" for rel in COLLECTIONS))
    return Reply(200, element, headers={"Link": header})
