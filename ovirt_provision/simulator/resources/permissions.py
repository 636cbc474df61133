"""The permissions of an object: the one that the administrator has on everything."""

from ovirt_provision.simulator.api import BASE, Reply, Request, Routes, reference
from ovirt_provision.simulator.markup import node

routes = Routes()

_SUPER_USER = "00000000-0000-0000-0000-000000000001"
_OWNERS = {
    "vms": "vm",
    "templates": "template",
    "disks": "disk",
    "clusters": "cluster",
    "datacenters": "data_center",
    "storagedomains": "storage_domain",
}


@routes.add("GET", "/{owners}/{owner}/permissions")
def list_permissions(request: Request, owners: str, owner: str) -> Reply:
    user = request.world.user_id
    path = f"/{owners}/{owner}/permissions"
    permission = node(
        "permission",
        None,
        reference("role", "/roles", _SUPER_USER),
        reference(_OWNERS[owners], f"/{owners}", owner) if owners in _OWNERS else None,
        reference("user", "/users", user),
        href=f"{BASE}{path}/{user}",
        id=user,
    )
    return Reply(200, node("permissions", None, permission))
