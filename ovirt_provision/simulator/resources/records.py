"""Collections whose members are kept as they were sent and mean nothing to the rest of the engine.

A member has an id, a link to its owner and what the client gave it; its name is unique in the collection.
Sources: the operations and types of the API model.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from ovirt_provision.simulator import faults, markup, surface
from ovirt_provision.simulator.api import (
    BASE,
    Reply,
    Request,
    Routes,
    collection,
    complete,
    created,
    find_or_404,
    reference,
)
from ovirt_provision.simulator.entities import new_id
from ovirt_provision.simulator.markup import Element, find_text, node
from ovirt_provision.simulator.model import TYPES
from ovirt_provision.simulator.surface import Operation
from ovirt_provision.simulator.world import World

routes = Routes()

KEPT = (
    "/bookmarks",
    "/clusters/{id}/enabledfeatures",
    "/datacenters/{id}/iscsibonds",
    "/datacenters/{id}/qoss",
    "/datacenters/{id}/quotas/{id}/quotaclusterlimits",
    "/groups",
    "/hosts/{id}/fenceagents",
    "/hosts/{id}/nics/{id}/networklabels",
    "/hosts/{id}/storageconnectionextensions",
    "/instancetypes/{id}/watchdogs",
    "/networks/{id}/networklabels",
    "/storageconnections",
    "/templates/{id}/mediateddevices",
    "/templates/{id}/watchdogs",
    "/users/{id}/eventsubscriptions",
    "/users/{id}/options",
    "/users/{id}/sshpublickeys",
    "/vms/{id}/hostdevices",
    "/vms/{id}/mediateddevices",
)
"""Collections that clients fill."""

EMPTY = {
    "/clusterlevels/{id}/clusterfeatures": "cluster_features",
    "/clusters/{id}/networkfilters": "network_filters",
    "/disks/{id}/disksnapshots": "disk_snapshots",
    "/hosts/{id}/cpuunits": "host_cpu_units",
    "/hosts/{id}/devices": "host_devices",
    "/hosts/{id}/hooks": "hooks",
    "/hosts/{id}/nics/{id}/linklayerdiscoveryprotocolelements": "link_layer_discovery_protocol_elements",
    "/hosts/{id}/numanodes": "host_numa_nodes",
    "/hosts/{id}/storage": "host_storages",
    "/hosts/{id}/unmanagednetworks": "unmanaged_networks",
    "/instancetypes/{id}/nics": "nics",
    "/storagedomains/{id}/disksnapshots": "disk_snapshots",
    "/storagedomains/{id}/images": "images",
    "/users/{id}/groups": "groups",
    "/vms/{id}/applications": "applications",
    "/vms/{id}/katelloerrata": "katello_errata",
    "/vms/{id}/sessions": "sessions",
}
"""Collections of what simulated hosts and guests do not have, by path: the name of the list."""


def _owners(world: World) -> Mapping[str, Mapping[str, Any]]:
    return {
        "clusters": world.clusters,
        "datacenters": world.data_centers,
        "disks": world.disks,
        "hosts": world.hosts,
        "networks": world.networks,
        "storagedomains": world.domains,
        "templates": world.templates,
        "users": world.users,
        "vms": world.vms,
    }


def _check_owner(request: Request) -> None:
    first, *rest = request.path.strip("/").split("/")
    table = _owners(request.world).get(first)
    if table is not None and len(rest) > 1:
        find_or_404(table, rest[0].lower())


def _pattern(path: str) -> str:
    """The path with a name of its own for each id."""
    numbers = iter(range(len(path)))
    return re.sub(r"\{id\}", lambda _match: f"{{id{next(numbers)}}}", path)


class _Kept:
    """The operations of one collection."""

    def __init__(self, path: str, element: str) -> None:
        self._element = element
        self._path = path

    def _members(self, request: Request, *, below: bool = False) -> tuple[str, dict[str, Element]]:
        """The collection's path and members; with `below` the request is about one of them."""
        path = "/" + request.path.strip("/")
        path = path.rpartition("/")[0] if below else path
        return path, request.world.records.setdefault(path.lower(), {})

    def _render(self, path: str, member: Element) -> Element:
        shown = copy.deepcopy(member)
        shown.set("href", f"{BASE}{path}/{member.get('id')}")
        first, *rest = path.strip("/").split("/")
        owner = first.removesuffix("s")
        if len(rest) > 1 and shown.find(owner) is None and owner in TYPES.get(self._element, {}):
            shown.append(reference(owner, f"/{first}", rest[0]))
        return shown

    def list(self, request: Request, **_ids: str) -> Reply:
        path, members = self._members(request)
        return collection(
            request, f"{self._element}s", list(members.values()), lambda one: self._render(path, one)
        )

    def add(self, request: Request, **_ids: str) -> Reply:
        _check_owner(request)
        path, members = self._members(request)
        body = request.body(self._element, "add")
        name = find_text(body, "name")
        if name and any(find_text(one, "name") == name for one in members.values()):
            kind = self._element.replace("_", " ").title()
            raise faults.engine_fault("name in use", action=f"add {kind}", type=kind)
        member = copy.deepcopy(body)
        # The id of a label or feature is what it is; other ids are the engine's.
        kept = self._element in ("network_label", "cluster_feature") and body.get("id")
        member.set("id", str(kept or new_id()))
        members[member.get("id", "")] = member
        return created(self._render(path, member))

    def show(self, request: Request, **ids: str) -> Reply:
        path, members = self._members(request, below=True)
        return Reply(200, self._render(path, find_or_404(members, list(ids.values())[-1])))

    def update(self, request: Request, **ids: str) -> Reply:
        path, members = self._members(request, below=True)
        found = find_or_404(members, list(ids.values())[-1])
        markup.merge(found, request.body(self._element, "update"))
        return Reply(200, self._render(path, found))

    def remove(self, request: Request, **ids: str) -> Reply:
        _, members = self._members(request, below=True)
        key = list(ids.values())[-1]
        find_or_404(members, key)
        del members[key]
        return complete()

    def handlers(self) -> Mapping[str, Callable[..., Reply]]:
        return {
            "List": self.list,
            "Add": self.add,
            "Get": self.show,
            "Update": self.update,
            "Remove": self.remove,
        }


def _operations(path: str) -> Mapping[str, Operation]:
    """The operations of a collection and its members by name."""
    found = (*surface.PATHS.find(path).values(), *surface.PATHS.find(f"{path}/{{id}}").values())
    return {operation.name: operation for _, operation in found}


def _add_kept(path: str) -> None:
    operations = _operations(path)
    kept = _Kept(path, operations["Add"].root)
    for name, handler in kept.handlers().items():
        if name in operations:
            routes.add(operations[name].method, _pattern(operations[name].path))(handler)


def _add_empty(path: str, tag: str) -> None:
    @routes.add("GET", _pattern(path))
    def list_nothing(request: Request, **_ids: str) -> Reply:
        return collection(request, tag, [], lambda one: node(str(one)))

    @routes.add("GET", _pattern(f"{path}/{{id}}"))
    def show_nothing(_request: Request, **_ids: str) -> Reply:
        raise faults.not_found()


for _path in KEPT:
    _add_kept(_path)
for _path, _tag in EMPTY.items():
    _add_empty(_path, _tag)
